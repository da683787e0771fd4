"""How far predictions lie from measurements, by group: source, card, model, software, and sets that have a name."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np

from perfsim.calibration.runs import MeasuredRun
from perfsim.calibration.validate import Replayed

By = Literal["source", "gpu", "model", "software"]
WORST_ROWS = 5
LEFT_OUT = ("source", "gpu", "software")  # of a run, from every fit that its prediction rests on

NAMES: dict[By, Callable[[Replayed], str]] = {  # of the groups that an account is made up by
    "source": lambda r: r.run.collection,
    "gpu": lambda r: r.run.gpu_key,
    "model": lambda r: r.run.model_key,
    "software": lambda r: r.run.software.key if r.run.software else "none",
}


@dataclass(frozen=True)
class Accuracy:
    """Shares of one: how far predictions lie from measurements. None stands for "nothing to compare"."""

    count: int
    mean: float | None  # of |predicted / measured - 1|
    median: float | None
    ninetieth: float | None  # percentile
    bias: float | None  # mean of predicted / measured - 1
    coverage: float | None = None  # share of the measurements that lie inside their intervals


@dataclass(frozen=True)
class Group:
    """The runs that share a card, source, model or software, or that a set names.

    left_out: the step time predicted with each run's "source", "gpu" or "software" left out of every fit.
    """

    name: str
    runs: int
    time: Accuracy
    baseline: Accuracy
    memory: Accuracy
    left_out: Mapping[str, Accuracy]
    fits_right: int  # verdicts "fits" on runs that did fit
    fits_wrong: int  # verdicts "does not fit" on runs that did
    oom_right: int
    oom_wrong: int
    reasons: dict[str, int]  # why runs were not replayed, and how many
    worst: tuple[Replayed, ...]


@dataclass(frozen=True)
class NamedSet:
    """Runs that are quoted together: a shell pattern for each fact that decides; gpus is "1" or "several"."""

    name: str
    patterns: Mapping[str, str] = field(default_factory=dict)

    def holds(self, run: MeasuredRun) -> bool:
        """Whether the run is one of the set."""
        gpus = int(run.plan.gpus) if run.plan else 0
        facts = {
            "source": run.collection, "stack": run.stack, "gpu": run.gpu_key, "model": run.model_key,
            "format": run.workload.precision.matmul if run.workload else "",
            "gpus": "several" if gpus > 1 else str(gpus),
        }  # fmt: skip
        return all(fnmatchcase(facts[name], pattern) for name, pattern in self.patterns.items())


@dataclass(frozen=True)
class Rival:
    """What another program's step times are off by on a named set [share of one], and who says so."""

    set_name: str
    name: str
    mape: float
    rows: int
    remark: str
    source: str


def summary(replayed: Sequence[Replayed], by: By = "source") -> list[Group]:
    """The accuracy of each group, most runs first, after that of all runs, called "all"."""
    groups: dict[str, list[Replayed]] = defaultdict(list)
    for one in replayed:
        groups[NAMES[by](one)].append(one)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [_group("all", replayed), *(_group(name, members) for name, members in ordered)]


def summary_of_sets(replayed: Sequence[Replayed], sets: Iterable[NamedSet]) -> list[Group]:
    """The accuracy of each set that has runs, in the order of the sets, after that of all runs, called "all"."""
    members = ((one.name, [r for r in replayed if one.holds(r.run)]) for one in sets)
    return [_group("all", replayed), *(_group(name, found) for name, found in members if found)]


def summaries(replayed: Sequence[Replayed], sets: Iterable[NamedSet]) -> dict[str, list[Group]]:
    """All of these accounts: "set", then "source", "gpu", "model", "software"."""
    return {"set": summary_of_sets(replayed, sets), **{by: summary(replayed, by) for by in NAMES}}


def _group(name: str, members: Sequence[Replayed]) -> Group:
    verdicts = Counter((one.run.outcome, one.is_fit_right) for one in members)
    timed = [one for one in members if one.time_error is not None]
    worst = sorted(timed, key=lambda one: (-abs(one.time_error or 0.0), one.run.run_id))[:WORST_ROWS]
    return Group(
        name=name,
        runs=len(members),
        time=_accuracy([one.time_error for one in members], [one.is_time_inside for one in members]),
        baseline=_accuracy([one.baseline_error for one in members]),
        memory=_accuracy([one.memory_error for one in members], [one.is_memory_inside for one in members]),
        left_out={kind: _accuracy([one.left_out_error(kind) for one in members]) for kind in LEFT_OUT},
        fits_right=verdicts["ok", True],
        fits_wrong=verdicts["ok", False],
        oom_right=verdicts["oom", True],
        oom_wrong=verdicts["oom", False],
        reasons=dict(Counter(one.problem for one in members if one.problem).most_common()),
        worst=tuple(worst),
    )


def _accuracy(errors: Iterable[float | None], inside: Iterable[bool | None] = ()) -> Accuracy:
    found = np.array([error for error in errors if error is not None])
    held = [one for one in inside if one is not None]
    if not found.size:
        return Accuracy(0, None, None, None, None)
    size = np.abs(found)
    return Accuracy(
        count=len(found),
        mean=float(size.mean()),
        median=float(np.median(size)),
        ninetieth=float(np.percentile(size, 90)),
        bias=float(found.mean()),
        coverage=float(np.mean(held)) if held else None,
    )
