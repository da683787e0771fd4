"""Numbers of the software fitted to whole measured runs, and how far predictions lie from runs nobody fitted.

Two questions, one model (hierarchy). Which numbers of the software fit its runs best: only they are moved, cards and
links have measured kernels and collectives of their own. How well is every number known, after that: the errors of all
runs are shared out among the numbers that they rest on, by what each does to a run (influences), and what a source has
of its own.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log, log1p, sqrt
from typing import Any, Literal

import numpy as np

from perfsim.calibration.hierarchy import Effects, effects
from perfsim.calibration.influences import Influence, influences
from perfsim.calibration.runs import MeasuredRun
from perfsim.calibration.validate import Replayed, Report, replay
from perfsim.core.calibration import Calibration
from perfsim.core.spreads import Spreads
from perfsim.search.sensitivity import UNLIKE, Knob

LeftOut = Literal["source", "gpu", "software"]
KEYS: dict[LeftOut, Callable[[MeasuredRun], str]] = {
    "source": lambda run: run.collection,
    "gpu": lambda run: run.gpu_key,
    "software": lambda run: run.software.key if run.software else "",
}
SOFTWARE = "software."  # where the paths of the software's numbers begin
SOURCE = "sources"  # the kind of what a source has of its own
RULE, FITTED = ", rule", ", fitted"  # at the end of kinds
NOTHING = 1e-4  # an influence below it is none
PASSES = 2  # with the numbers that the runs identify: influences move with the numbers
KNOWN_SHARE = 0.9  # of the prior spread; a number that stays less certain than this is not identified
HELD, HELD_OF_SOURCE = 0.90, 0.80  # share of all runs, and of a source with many, that intervals hold
MANY = 20
FAR = 1.5  # times as long or as short as predicted, beyond which something else than the software is wrong
FEWEST = 5  # runs that can tell anything
MEMORY_PRIOR_COUNT = 4.0  # runs that what is known of all software counts for


@dataclass(frozen=True)
class Moved:
    """A number of the software as its runs have it: `value`, known to `error` (of its log), to `prior` before."""

    software: str
    name: str
    value: float
    factor: float
    error: float
    prior: float
    runs: int

    @property
    def is_identified(self) -> bool:
        """Whether the runs say more about it than its prior does."""
        return self.error < KNOWN_SHARE * self.prior


@dataclass(frozen=True)
class Left:
    """Predictions of runs that no fit has seen: seconds, and the standard deviation of their log."""

    seconds: np.ndarray
    spread: np.ndarray


@dataclass(frozen=True)
class RunFit:
    """What whole runs say. runs: the fitted ones, with the software as it was moved; left_out: by what was left out.

    memory_spreads: standard deviation of log(needed / predicted) bytes of a GPU, of each software with peaks measured.
    """

    runs: tuple[MeasuredRun, ...]
    predicted_seconds: np.ndarray
    moved: tuple[Moved, ...]
    spreads: Spreads
    left_out: Mapping[LeftOut, Left]
    memory_spreads: Mapping[str, float]


def fit_runs(
    runs: Sequence[MeasuredRun], calibration: Calibration, known: Spreads, report: Report | None = None,
    leaves_out: bool = True,
) -> RunFit:  # fmt: skip
    """Fit the software's numbers to the step times of `runs`, and find how well all numbers are known.

    known: what earlier runs have shown; where there are such, the spreads of kinds stay as they are.
    Raises: ValueError where the runs cannot tell anything, with the reason.
    """
    replayed = replay(runs, calibration)
    kept = [one.run for one in replayed if one.time_error is not None]
    if len(kept) < FEWEST:
        raise ValueError(f"{len(kept)} runs have a step time and can be replayed; at least {FEWEST} are needed")
    study = _Study(kept, calibration, known)
    study.move(report)
    moved = study.moved()
    if not any(one.is_identified for one in moved):
        raise ValueError(_why_nothing([one.time_error or 0.0 for one in replayed if one.time_error is not None]))
    unknown = [one for one in moved if not one.is_identified]
    for _ in range(PASSES):
        study.move(report, without={f"{one.software} {one.name}" for one in unknown})
    moved = (*study.moved(), *(replace(one, value=one.value / one.factor, factor=1.0) for one in unknown))
    return RunFit(study.runs, study.predicted, moved, *study.spreads(leaves_out), memory_spreads(replayed))


def _why_nothing(errors: Sequence[float]) -> str:
    """Why runs with these errors of their step times tell nothing."""
    ratio = float(np.median(1.0 / (1.0 + np.array(errors))))
    if not 1.0 / FAR < ratio < FAR:
        return (
            f"the runs take {ratio:.2g} times as long as predicted (median), more than numbers of the software explain;"
            " look for what the table says and the runs did not do: card, precision, batch, attention, recomputation"
        )
    return (
        "the runs tell no number of their software better than it is known; measure other batches, sequence lengths or"
        " models, in which other kernels take the time"
    )


def memory_spreads(replayed: Sequence[Replayed]) -> dict[str, float]:
    """Of each software with at least FEWEST peaks; its own squares beside MEMORY_PRIOR_COUNT of all runs together."""
    squares: dict[str, list[float]] = defaultdict(list)
    for one in replayed:
        if one.memory_error is not None and one.run.software:
            squares[one.run.software.key].append(log1p(one.memory_error) ** 2)
    everyone = [square for own in squares.values() for square in own]
    prior = MEMORY_PRIOR_COUNT * sum(everyone) / max(len(everyone), 1)
    return {
        key: sqrt((sum(own) + prior) / (len(own) + MEMORY_PRIOR_COUNT))
        for key, own in squares.items()
        if len(own) >= FEWEST
    }


class _Study:
    """The state of a fit: the runs with their present software, and how far each number was moved."""

    def __init__(self, runs: Sequence[MeasuredRun], calibration: Calibration, known: Spreads) -> None:
        self.first, self.runs = tuple(runs), tuple(runs)
        self.calibration, self.known = calibration, known
        cells = [_cell(run) for run in runs]
        counts = Counter(cells)
        self.weights = np.array([counts[cell] ** -0.5 for cell in cells])  # between one run a cell and all of them
        self.measured = np.array([run.measured_step_seconds for run in runs])
        self.predicted = np.array([one.predicted_step_seconds for one in replay(runs, calibration)])
        self.shifts: dict[str, float] = {}  # of the log, by the key of the software's number

    def move(self, report: Report | None, without: Collection[str] = ()) -> None:
        """One pass: influences where the numbers now are, the software's numbers but some fitted, and moved."""
        found = influences(self.runs, self.calibration, report)
        is_held = self.known.runs > 0
        of_entries = [tuple(replace(one, knob=_of_entry(one.knob)) for one in own) for own in found]
        self.own = _Levels(
            of_entries, self.known, is_held, lambda knob: knob.paths[0].startswith(SOFTWARE) and knob.key not in without
        )
        self.all = _Levels(found, self.known, is_held, sources=[run.collection for run in self.runs])
        before = np.array([self.shifts.get(key.replace(UNLIKE, ""), 0.0) for key in self.all.keys])
        self.residuals = np.log(self.measured / self.predicted) + self.all.design @ before  # from the files' numbers
        self.fitted = self.own.effects(self.residuals, self.weights)
        self.shifts = dict(zip(self.own.keys, self.fitted.mean.tolist(), strict=True))
        self.runs = tuple(self._with_shifts(run) for run in self.first)
        self.predicted = np.array([one.predicted_step_seconds for one in replay(self.runs, self.calibration)])

    def _with_shifts(self, run: MeasuredRun) -> MeasuredRun:
        software: Any = run.software
        knobs = [knob for knob in map(_of_entry, run.knobs) if knob.key in self.shifts]
        factors = {path: exp(self.shifts[knob.key]) for knob in knobs for path in knob.paths}
        names = {path.removeprefix(SOFTWARE): factor for path, factor in factors.items()}
        return replace(run, software=replace(software, **{k: getattr(software, k) * f for k, f in names.items()}))

    def moved(self) -> tuple[Moved, ...]:
        """The numbers of the software, and how many runs it has."""
        ran = [run.software for run in self.first if run.software]
        counts = Counter(software.key for software in ran)
        entries = {software.key: software for software in ran}
        found = []
        for j, key in enumerate(self.own.keys):
            software, _, _ = key.rpartition(" ")
            for path in self.own.knobs[key].paths:
                name, factor = path.removeprefix(SOFTWARE), exp(self.shifts[key])
                error, prior = float(self.fitted.error[j]), float(self.fitted.spreads[self.own.kinds[j]])
                value = factor * float(getattr(entries[software], name))
                found.append(Moved(software, name, value, factor, error, prior, counts[software]))
        return tuple(sorted(found, key=lambda one: (one.software, one.name)))

    def spreads(self, leaves_out: bool) -> tuple[Spreads, dict[LeftOut, Left]]:
        """How well all numbers are known, and the runs predicted without their source, card or software."""
        levels, found = self.all, self.all.effects(self.residuals, self.weights)
        of_source = levels.kind_spread(SOURCE, found)
        rest = (of_source**2 + found.noise**2) if not self.known.runs else self.known.source**2 + self.known.noise**2
        left = {what: self._left(what, found, rest) for what in KEYS} if leaves_out else {}
        reach = self.known.reach
        if "source" in left:
            distances = np.abs(np.log(self.measured / left["source"].seconds)) / left["source"].spread
            reach = self._reach(distances)
        numbers = {key: float(found.error[j]) for j, key in enumerate(levels.keys) if key in levels.knobs}
        if self.known.runs:
            return replace(self.known, numbers={**self.known.numbers, **numbers}), left
        kinds = {kind: levels.kind_spread(kind, found) for kind in levels.kind_names if kind != SOURCE}
        return Spreads(
            of_source, found.noise, self.known.energy_noise, reach, len(self.runs), _ordered(kinds), numbers
        ), left

    def _reach(self, distances: np.ndarray) -> float:
        """What holds HELD of all runs and HELD_OF_SOURCE of every source with MANY; distances: in standard deviations.

        Quantiles of what was left out, nothing assumed normal: conformal prediction, all runs together and by group
        (Vovk 2013, arXiv 1209.2673).
        """
        sources = np.array([run.collection for run in self.runs])
        many = [name for name, count in Counter(sources.tolist()).items() if count >= MANY]
        least = [np.quantile(distances[sources == name], HELD_OF_SOURCE, method="higher") for name in many]
        return float(max([np.quantile(distances, HELD, method="higher"), *least]))

    def _left(self, what: LeftOut, whole: Effects, rest: float) -> Left:
        """Each group of runs predicted without it, in the logs from where the numbers now are."""
        names = np.array([KEYS[what](run) for run in self.runs])
        now = np.array([self.shifts[key] for key in self.own.keys])
        seconds, spread = self.predicted.copy(), np.zeros(len(names))
        for name in sorted(set(names)):
            own, others = names == name, names != name
            fitted = self.own.effects(self.residuals, self.weights, self.fitted, others)
            seconds[own] *= np.exp(self.own.design[own] @ (fitted.mean - now))
            known = self.all.effects(self.residuals, self.weights, whole, others)
            variances = np.where(self.all.is_source, 0.0, known.error**2)
            spread[own] = np.sqrt(self.all.design[own] ** 2 @ variances + rest)
        return Left(seconds, spread)


class _Levels:
    """Numbers that runs rest on, those that matter to any, as the columns of a design; sources last."""

    def __init__(
        self, found: Sequence[tuple[Influence, ...]], known: Spreads, is_held: bool,
        is_chosen: Callable[[Knob], bool] = lambda knob: True, sources: Sequence[str] = (),
    ) -> None:  # fmt: skip
        chosen = (one for own in found for one in own if abs(one.seconds) > NOTHING and is_chosen(one.knob))
        self.knobs = {one.knob.key: one.knob for one in chosen}
        names = sorted(set(sources))
        self.keys = [*self.knobs, *names]
        kinds = [*(knob.kind for knob in self.knobs.values()), *(SOURCE for _ in names)]
        self.kind_names = list(dict.fromkeys(kinds))
        self.kinds = np.array([self.kind_names.index(kind) for kind in kinds])
        self.is_source = np.array([kind == SOURCE for kind in kinds])
        self._is_held = is_held
        limits = [(log(knob.least), log(knob.most)) for knob in self.knobs.values()]
        least, most = np.array([*limits, *((-np.inf, np.inf) for _ in names)]).T
        self._bounds = (least, most)
        self._priors = np.array([self._prior(kind, known) for kind in self.kind_names])
        column = {key: j for j, key in enumerate(self.keys)}
        self.design = np.zeros((len(found), len(self.keys)))
        for i, own in enumerate(found):
            for one in own:
                if one.knob.key in self.knobs:
                    self.design[i, column[one.knob.key]] = one.seconds
            if names:
                self.design[i, column[sources[i]]] = 1.0

    def effects(
        self, residuals: np.ndarray, weights: np.ndarray, start: Effects | None = None, which: np.ndarray | None = None
    ) -> Effects:
        """Of all runs or of some."""
        at = slice(None) if which is None else which
        return effects(
            self.design[at], self.kinds, residuals[at], weights[at], self._priors, self._bounds, start, self._is_held
        )

    def kind_spread(self, kind: str, found: Effects) -> float:
        """From one number of a kind to the next."""
        return float(found.spreads[self.kind_names.index(kind)])

    def _prior(self, kind: str, known: Spreads) -> float:
        return known.source if kind == SOURCE else known.kinds.get(kind, _mean_spread(self.knobs.values(), kind))


def _ordered(kinds: Mapping[str, float]) -> dict[str, float]:
    """The same, where what a rule tells is known no better than what was fitted."""
    fitted = {kind: kinds.get(kind.removesuffix(RULE) + FITTED, 0.0) for kind in kinds if kind.endswith(RULE)}
    return {kind: max(spread, fitted.get(kind, 0.0)) for kind, spread in kinds.items()}


def _of_entry(knob: Knob) -> Knob:
    """The number of the entry that stood in for the software that ran."""
    return replace(knob, key=knob.key.replace(UNLIKE, ""))


def _mean_spread(knobs: Iterable[Knob], kind: str) -> float:
    return float(np.mean([knob.spread for knob in knobs if knob.kind == kind]))


def _cell(run: MeasuredRun) -> tuple[object, ...]:
    """Runs that differ in batch, length or date alone, whose errors are much the same."""
    workload: Any = run.workload
    plan: Any = run.plan
    return (run.collection, run.gpu_key, run.software, run.model_key, workload.precision.key, int(plan.gpus))
