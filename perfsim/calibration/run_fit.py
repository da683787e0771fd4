"""Numbers of the software fitted to whole measured runs, and how far predictions lie from runs nobody fitted.

The errors of a run's prediction are shared out among the numbers it rests on, by what each does to it (influences): the
card's, the links', the software's, those that all share, and the source. Only the software's numbers are moved; cards and
links have measured kernels and collectives of their own, and what is found for them says how well they are known.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from typing import Literal

import numpy as np

from perfsim.calibration.hierarchy import Effects, effects
from perfsim.calibration.influences import Influence, influences
from perfsim.calibration.runs import MeasuredRun
from perfsim.calibration.validate import Report, replay
from perfsim.core.calibration import Calibration
from perfsim.core.spreads import Spreads

LeftOut = Literal["source", "gpu", "software"]
KEYS: dict[LeftOut, Callable[[MeasuredRun], str]] = {
    "source": lambda run: run.collection,
    "gpu": lambda run: run.gpu_key,
    "software": lambda run: run.software.key if run.software else "",
}
SOFTWARE = "software."  # where the paths of the software's numbers begin
SOURCE = "sources"  # the kind of what a source has of its own
SOURCE_PRIOR = 0.08
NOTHING = 1e-4  # an influence below it is none
PASSES = 2  # of fit and prediction: influences move a little with the numbers
FARTHEST = log(4.0)  # from its file, that a number is moved
KNOWN_SHARE = 0.9  # of the prior spread; a number that stays less certain than this is not identified
HELD = 0.90  # share of the runs that an interval holds
FEWEST = 5  # runs that can tell anything


@dataclass(frozen=True)
class Moved:
    """A number of the software as the runs have it: times `factor`, known to `error` (of the log), `prior` before."""

    software: str
    name: str
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
    """Predictions of runs that no fit has seen: seconds, and the standard deviation of their log without the noise."""

    seconds: np.ndarray
    spread: np.ndarray


@dataclass(frozen=True)
class RunFit:
    """What whole runs say. runs: those fitted, in their order, with the moved software; left_out: by what was left out."""

    runs: tuple[MeasuredRun, ...]
    predicted_seconds: np.ndarray
    moved: tuple[Moved, ...]
    spreads: Spreads
    left_out: Mapping[LeftOut, Left]


def fit_runs(
    runs: Sequence[MeasuredRun], calibration: Calibration, known: Spreads, report: Report | None = None,
    leaves_out: bool = True,
) -> RunFit:  # fmt: skip
    """Fit the software's numbers to the step times of `runs`.

    known: what earlier runs have shown; where it is of none, the spreads of all kinds are found as well.
    Raises: ValueError where the runs cannot tell anything, with the reason.
    """
    kept = [one.run for one in replay(runs, calibration) if one.time_error is not None]
    if len(kept) < FEWEST:
        raise ValueError(
            f"{len(kept)} runs with a measured step time that perfsim can replay; at least {FEWEST} are needed"
        )
    study = _Study(kept, calibration, known)
    for _ in range(PASSES):
        study.fit(report)
    return study.result(leaves_out)


class _Study:
    """The state of a fit: the runs with their present software, and how far each number was moved."""

    def __init__(self, runs: Sequence[MeasuredRun], calibration: Calibration, known: Spreads) -> None:
        self.first, self.runs = tuple(runs), tuple(runs)
        self.calibration, self.known = calibration, known
        cells = [_cell(run) for run in runs]
        counts = Counter(cells)
        self.weights = np.array([1.0 / counts[cell] for cell in cells])
        self.measured = np.array([run.measured_step_seconds for run in runs])
        self.shifts: dict[str, float] = {}  # of the log, by the key of the software's number

    def fit(self, report: Report | None) -> None:
        """One pass: influences where the numbers now are, all effects, and the numbers moved."""
        found = influences(self.runs, self.calibration, report)
        self.levels = _Levels(found, [run.collection for run in self.runs], self.known)
        predicted = np.array([one.predicted_step_seconds for one in replay(self.runs, self.calibration)])
        before = np.array([self.shifts.get(key, 0.0) for key in self.levels.keys])
        self.residuals = np.log(self.measured / predicted) + self.levels.design @ before
        self.effects = self.levels.effects(self.residuals, self.weights)
        self.shifts = {
            key: float(np.clip(mean, -FARTHEST, FARTHEST))
            for key, mean, path in zip(self.levels.keys, self.effects.mean, self.levels.paths, strict=True)
            if path.startswith(SOFTWARE)
        }
        self.runs = tuple(self._moved(run, own) for run, own in zip(self.first, found, strict=True))
        self.predicted = np.array([one.predicted_step_seconds for one in replay(self.runs, self.calibration)])

    def _moved(self, run: MeasuredRun, own: Sequence[Influence]) -> MeasuredRun:
        software = run.software
        for one in own:
            for path in one.knob.paths if one.knob.key in self.shifts else ():
                name = path.removeprefix(SOFTWARE)
                software = replace(software, **{name: getattr(software, name) * exp(self.shifts[one.knob.key])})  # type: ignore[type-var]
        return replace(run, software=software)

    def result(self, leaves_out: bool) -> RunFit:
        """The fit, and the intervals that hold runs of sources left out."""
        levels, found = self.levels, self.effects
        left = {what: self._left(what) for what in KEYS} if leaves_out else {}
        of_source = SOURCE_PRIOR if self.known.runs else float(found.spreads[levels.kinds_of[SOURCE]])
        reach = self.known.reach
        if "source" in left:
            distance = np.abs(np.log(self.measured / left["source"].seconds))
            reach = float(
                np.quantile(distance / np.sqrt(left["source"].spread ** 2 + of_source**2 + found.noise**2), HELD)
            )
        numbers = {
            key: float(error)
            for key, error, kind in zip(levels.keys, found.error, levels.kinds, strict=True)
            if kind != levels.kinds_of[SOURCE]
        }
        spreads = Spreads(
            source=of_source, noise=found.noise, energy_noise=self.known.energy_noise, reach=reach, runs=len(self.runs),
            kinds={kind: float(found.spreads[i]) for kind, i in levels.kinds_of.items() if kind != SOURCE}, numbers=numbers,
        )  # fmt: skip
        return RunFit(self.runs, self.predicted, tuple(self._numbers()), spreads, left)

    def _numbers(self) -> list[Moved]:
        counts = Counter(run.software.key for run in self.runs if run.software)
        found = []
        for j, (key, path) in enumerate(zip(self.levels.keys, self.levels.paths, strict=True)):
            software, _, name = key.rpartition(" ")
            if path.startswith(SOFTWARE) and software in counts:
                error, prior = float(self.effects.error[j]), float(self.levels.spread(j, self.effects))
                found.append(Moved(software, name, exp(self.shifts[key]), error, prior, counts[software]))
        return found

    def _left(self, what: LeftOut) -> Left:
        """Each group of runs predicted without it; in the logs, where the numbers now are."""
        names = np.array([KEYS[what](run) for run in self.runs])
        levels = self.levels
        is_software = np.array([path.startswith(SOFTWARE) for path in levels.paths])
        is_source = levels.kinds == levels.kinds_of[SOURCE]
        now = np.array([self.shifts.get(key, 0.0) for key in levels.keys])
        seconds, spread = self.predicted.copy(), np.zeros(len(names))
        for name in sorted(set(names)):
            own = names == name
            others = levels.effects(self.residuals[~own], self.weights[~own], self.effects, ~own)
            moves = np.where(is_software, np.clip(others.mean, -FARTHEST, FARTHEST) - now, 0.0)
            seconds[own] *= np.exp(levels.design[own] @ moves)
            spread[own] = np.sqrt(levels.design[own] ** 2 @ np.where(is_source, 0.0, others.error**2))
        return Left(seconds, spread)


class _Levels:
    """The numbers that runs rest on as columns, those that matter to any; the source last."""

    def __init__(self, found: Sequence[tuple[Influence, ...]], sources: Sequence[str], known: Spreads) -> None:
        knobs = {one.knob.key: one.knob for own in found for one in own if abs(one.seconds) > NOTHING}
        names = sorted(set(sources))
        self.keys = [*knobs, *(f"source {name}" for name in names)]
        self.paths = [*(knob.paths[0] for knob in knobs.values()), *("" for _ in names)]
        kind_names = [*dict.fromkeys(knob.kind for knob in knobs.values()), SOURCE]
        self.kinds_of = {kind: i for i, kind in enumerate(kind_names)}
        self.kinds = np.array(
            [*(self.kinds_of[knob.kind] for knob in knobs.values()), *(self.kinds_of[SOURCE] for _ in names)]
        )
        column = {key: j for j, key in enumerate(self.keys)}
        self.design = np.zeros((len(found), len(self.keys)))
        for i, own in enumerate(found):
            for one in own:
                if one.knob.key in knobs:
                    self.design[i, column[one.knob.key]] = one.seconds
            self.design[i, column[f"source {sources[i]}"]] = 1.0
        self.is_held = known.runs > 0
        self.priors = np.array([known.kinds.get(kind) or _mean(knobs.values(), kind) for kind in kind_names])

    def effects(
        self, residuals: np.ndarray, weights: np.ndarray, start: Effects | None = None, which: np.ndarray | None = None
    ) -> Effects:
        """Of all runs or of some."""
        design = self.design if which is None else self.design[which]
        return effects(design, self.kinds, residuals, weights, self.priors, start, self.is_held)

    def spread(self, level: int, found: Effects) -> float:
        """Of the level's kind."""
        return float(found.spreads[self.kinds[level]])


def _mean(knobs, kind: str) -> float:  # type: ignore[no-untyped-def]
    spreads = [knob.spread for knob in knobs if knob.kind == kind]
    return float(np.mean(spreads)) if spreads else SOURCE_PRIOR


def _cell(run: MeasuredRun) -> tuple[object, ...]:
    """Runs that measure the same thing again."""
    precision = run.workload.precision.key if run.workload else ""
    gpus = int(run.plan.gpus) if run.plan is not None else 0
    return (run.collection, run.gpu_key, run.model_key, run.stack, precision, gpus)
