"""Measured runs beside their predictions, and how far apart they are.

Runs that differ only in numbers are stacked and costed in one call of the estimate: a thousand rows take seconds.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np

from perfsim.calibration.runs import NO_RECOMPUTATION, MeasuredRun
from perfsim.core.arrays import stack
from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.plan import Plan, Problem, Recompute
from perfsim.core.results import Estimate
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.estimate import estimate as perfsim_estimate
from perfsim.formulas.fits import HARDLY_CHANCE, SURE_CHANCE, fit_probability
from perfsim.formulas.roofline import peak_flops_per_s

By = Literal["gpu", "source", "model", "software"]
Report = Callable[[int, int], None]
WORST_ROWS = 5
ROWS_AT_ONCE = 4096
TOLERATED = Problem.MEMORY | Problem.LAYERS  # memory is a prediction; uneven chunks are costed as even ones
UNEVEN_STAGES = "layers spread evenly over the pipeline's chunks"
_STACKED = ("seq_len", "global_batch_size", "head_positions", "decoder_seq_len")


class Estimator(Protocol):
    """What predicts: perfsim.estimate.estimate, or something to compare it with."""

    def __call__(  # noqa: D102 (the class says it)
        self, workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration
    ) -> Estimate: ...


@dataclass(frozen=True)
class Replayed:
    """A run and its prediction; the numbers are 0 where `problem` says why there is none.

    baseline_step_seconds: the step at the mean utilisation of the other runs of the same source and precision; 0 for
    a run without such company.
    """

    run: MeasuredRun
    predicted_step_seconds: float = 0.0
    predicted_peak_memory_bytes: float = 0.0
    fit_probability: float = 1.0
    hardware_flops: float = 0.0  # of one step, all GPUs
    peak_flops_per_s: float = 0.0  # of all GPUs
    baseline_step_seconds: float = 0.0
    assumptions: tuple[str, ...] = ()
    problem: str = ""

    @property
    def time_error(self) -> float | None:
        """predicted / measured - 1 of the step; None without a measurement or prediction."""
        return _error(self.predicted_step_seconds, self.run.measured_step_seconds)

    @property
    def baseline_error(self) -> float | None:
        """The same for the constant-utilisation baseline."""
        return _error(self.baseline_step_seconds, self.run.measured_step_seconds)

    @property
    def memory_error(self) -> float | None:
        """predicted / measured - 1 of the peak memory."""
        return _error(self.predicted_peak_memory_bytes, self.run.measured_peak_memory_bytes)

    @property
    def is_fit_right(self) -> bool | None:
        """Whether the verdict on memory agrees with what happened; None for a run that was not replayed.

        A run that fitted must not be called impossible, one that did not must not be called safe.
        """
        if self.problem:
            return None
        chance = self.fit_probability
        return chance > HARDLY_CHANCE if self.run.outcome == "ok" else chance < SURE_CHANCE


NAMES: dict[By, Callable[[Replayed], str]] = {  # of the groups that an account is made up by
    "gpu": lambda r: r.run.gpu_key,
    "source": lambda r: r.run.collection,
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


@dataclass(frozen=True)
class Group:
    """The runs that share a card, source, model or software."""

    name: str
    runs: int
    time: Accuracy
    baseline: Accuracy
    memory: Accuracy
    fits_right: int  # verdicts "fits" on runs that did fit
    fits_wrong: int  # verdicts "does not fit" on runs that did
    oom_right: int
    oom_wrong: int
    reasons: dict[str, int]  # why runs were not replayed, and how many
    worst: tuple[Replayed, ...]


def replay(
    runs: Sequence[MeasuredRun],
    calibration: Calibration,
    estimate: Estimator = perfsim_estimate,
    report: Report | None = None,
) -> list[Replayed]:
    """Predict every run that can be replayed, and its constant-utilisation baseline; the order stays.

    Raises: nothing on runs.
    """
    found: dict[int, Replayed] = {i: Replayed(run, problem=run.problem) for i, run in enumerate(runs) if run.problem}
    for chosen in stacks(runs):
        found |= zip(chosen, _replay_stack([runs[i] for i in chosen], calibration, estimate), strict=True)
        if report:
            report(len(found), len(runs))
    return _with_baseline([found[i] for i in range(len(runs))])


def replay_one(run: MeasuredRun, calibration: Calibration, estimate: Estimator = perfsim_estimate) -> Replayed:
    """Predict one run by itself, without its baseline."""
    if run.problem:
        return Replayed(run, problem=run.problem)
    return _replay_stack([run], calibration, estimate)[0]


def summary(replayed: Sequence[Replayed], by: By = "source") -> list[Group]:
    """The accuracy of each group, most runs first, after that of all runs, called "all"."""
    groups: dict[str, list[Replayed]] = defaultdict(list)
    for one in replayed:
        groups[NAMES[by](one)].append(one)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [_group("all", replayed), *(_group(name, members) for name, members in ordered)]


def _error(predicted: float, measured: float) -> float | None:
    return predicted / measured - 1.0 if predicted > 0 and measured > 0 else None


def stacks(runs: Sequence[MeasuredRun]) -> list[list[int]]:
    """Indices of runs that may be costed together: alike in all that is no number of a formula."""
    found: dict[Hashable, list[int]] = defaultdict(list)
    for i, run in enumerate(runs):
        if not run.problem and run.workload and run.software and run.system:
            numbers: Any = dict.fromkeys(_STACKED, 0)
            shape = replace(run.workload, **numbers)
            formats = tuple(name for name, peak in run.system.gpu.peak_flops_per_s.items() if peak)
            found[shape, run.software, formats].append(i)
    return [chosen[at : at + ROWS_AT_ONCE] for chosen in found.values() for at in range(0, len(chosen), ROWS_AT_ONCE)]


def _replay_stack(runs: Sequence[MeasuredRun], calibration: Calibration, estimate: Estimator) -> list[Replayed]:
    """Predictions of runs that share everything but numbers, from one call."""
    first = runs[0]
    if first.workload is None or first.software is None:
        raise ValueError(f"{first.run_id} cannot be replayed")
    workload: Any = first.workload
    system: Any = first.system
    plan: Any = first.plan
    if len(runs) > 1:
        columns: Any = {name: np.array([getattr(run.workload, name) for run in runs]) for name in _STACKED}
        workload = replace(first.workload, **columns)
        system, plan = stack([run.system for run in runs]), stack([run.plan for run in runs])
    answer = estimate(workload, system, plan, first.software, calibration)
    column = partial(_column, count=len(runs))
    memory = answer.memory
    peak = column(plan.gpus * peak_flops_per_s(system.gpu, workload.precision.matmul))
    chance = _fit_probability(answer)
    is_open = np.array([NO_RECOMPUTATION in run.assumptions for run in runs])
    if np.any(is_open):  # a run whose recomputation is unknown may have it
        again = estimate(workload, system, replace(plan, recompute=Recompute.FULL), first.software, calibration)
        chance = np.where(is_open, _fit_probability(again), chance)
    figures = (
        answer.time.total_seconds, memory.allocated_bytes, memory.total_bytes, memory.reserved_bytes, answer.problems,
        answer.hardware_flops, chance,
    )  # fmt: skip
    by_run = zip(*(column(figure) for figure in figures), peak, strict=True)
    return [_replayed(run, *values) for run, values in zip(runs, by_run, strict=True)]


def _column(values: Any, count: int) -> list[Any]:
    return list(np.broadcast_to(np.asarray(values).reshape(-1), (count,)).tolist())


def _replayed(
    run: MeasuredRun, seconds: float, allocated: float, total: float, reserved: float, problems: int, flops: float,
    chance: float, peak: float,
) -> Replayed:  # fmt: skip
    bits = Problem(problems)
    if blocking := bits & ~TOLERATED:
        return Replayed(run, problem="; ".join(bit.text for bit in blocking))
    memory = {"allocated": allocated, "reserved": reserved}.get(run.memory_kind, total)
    assumptions = (*run.assumptions, UNEVEN_STAGES) if Problem.LAYERS in bits else run.assumptions
    return Replayed(run, seconds, memory, chance, flops, peak, assumptions=assumptions)


def _fit_probability(answer: Estimate) -> Any:
    return fit_probability(answer.memory.total_bytes, answer.memory_capacity_bytes, answer.memory_spread)


def _with_baseline(replayed: list[Replayed]) -> list[Replayed]:
    """Each run with the step that the mean utilisation of its company, itself left out, would give."""
    company: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, one in enumerate(replayed):
        if one.run.workload and one.run.measured_step_seconds > 0 and one.peak_flops_per_s > 0:
            company[one.run.collection, one.run.workload.precision.key].append(i)
    for members in company.values():
        shares = [_utilisation(replayed[i]) for i in members]
        total = sum(shares)
        for i, own in zip(members, shares, strict=True):
            if len(members) > 1:
                one = replayed[i]
                mean = (total - own) / (len(members) - 1)
                seconds = one.hardware_flops / (one.peak_flops_per_s * mean)
                replayed[i] = replace(one, baseline_step_seconds=seconds)
    return replayed


def _utilisation(one: Replayed) -> float:
    return one.hardware_flops / (one.peak_flops_per_s * one.run.measured_step_seconds)


def _group(name: str, members: Sequence[Replayed]) -> Group:
    verdicts = Counter((one.run.outcome, one.is_fit_right) for one in members)
    timed = [one for one in members if one.time_error is not None]
    worst = sorted(timed, key=lambda one: (-abs(one.time_error or 0.0), one.run.run_id))[:WORST_ROWS]
    return Group(
        name=name,
        runs=len(members),
        time=_accuracy(one.time_error for one in members),
        baseline=_accuracy(one.baseline_error for one in members),
        memory=_accuracy(one.memory_error for one in members),
        fits_right=verdicts["ok", True],
        fits_wrong=verdicts["ok", False],
        oom_right=verdicts["oom", True],
        oom_wrong=verdicts["oom", False],
        reasons=dict(Counter(one.problem for one in members if one.problem).most_common()),
        worst=tuple(worst),
    )


def _accuracy(errors: Iterable[float | None]) -> Accuracy:
    found = np.array([error for error in errors if error is not None])
    if not found.size:
        return Accuracy(0, None, None, None, None)
    size = np.abs(found)
    return Accuracy(
        len(found), float(size.mean()), float(np.median(size)), float(np.percentile(size, 90)), float(found.mean())
    )
