"""Which uncertain number decides between two plans, how likely the choice is wrong, and what that would cost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from math import exp, hypot, inf, log, sqrt
from statistics import NormalDist
from typing import TypeVar

import numpy as np

from perfsim.core.arrays import Lookup
from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.plan import Plan
from perfsim.core.results import Estimate
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.estimate import estimate

R = TypeVar("R")
UNLIKE = " and unlike it"  # in the key of a number of software that is not the one that ran, but the nearest to it
WIDEST = 4.0  # times and a fraction of, how far a number is turned in search of a flip
LEAST_STEP = 0.01  # of its log, by which a number is turned at least to see what it does
SAME = 1e-9  # what rounding may change in the log of a prediction
REACH = 1.645  # standard deviations to either side that hold 90 %
_normal = NormalDist()


@dataclass(frozen=True)
class Inputs:
    """What one prediction is made of."""

    workload: Workload
    system: System
    plan: Plan
    software: Software
    calibration: Calibration

    def estimate(self) -> Estimate:
        """The prediction."""
        return estimate(self.workload, self.system, self.plan, self.software, self.calibration)


@dataclass(frozen=True)
class Knob:
    """A number that predictions rest on and that is not known exactly.

    key: two plans with the same key share the number, and so its error; name: for people; spread: standard deviation
    of its log; paths: where it lies in `Inputs`, e.g. "software.host_seconds", "*" for every part of a record; kind:
    the numbers that are known alike; least, most: the factors between which it means something.
    """

    key: str
    name: str
    spread: float
    paths: tuple[str, ...]
    kind: str = ""
    least: float = 1.0 / WIDEST
    most: float = WIDEST

    def turned(self, inputs: Inputs, factor: float) -> Inputs:
        """The inputs with the number times `factor`."""
        for path in self.paths:
            inputs = scaled(inputs, path, factor)
        return inputs


@dataclass(frozen=True)
class Lever:
    """What a knob does to each plan's time: d log T / d log(number), 0 where a plan does not use it.

    flip: the factor at which the knob alone makes the plans equal, None where none within its limits does.
    """

    knob: Knob
    elasticities: tuple[float, float]
    flip: float | None

    @property
    def share(self) -> float:
        """What the knob's spread does to log(T_B/T_A)."""
        return abs(self.elasticities[1] - self.elasticities[0]) * self.knob.spread

    @property
    def sigmas(self) -> float:
        """How many of its own spreads the knob is from the flip."""
        if self.flip is None or not self.knob.spread:
            return inf
        return abs(log(self.flip)) / self.knob.spread


@dataclass(frozen=True)
class Sensitivity:
    """log(T_B/T_A) of two plans and the knobs that it rests on, those nearest to a flip first.

    noise: standard deviation of the log of what remains of a run, whatever is known of its numbers; reach: of the
    interval, in standard deviations.
    """

    gap: float
    levers: tuple[Lever, ...]
    noise: float = 0.0
    reach: float = REACH

    @property
    def spread(self) -> float:
        """Standard deviation of the gap: √(Σ((e_B - e_A)·σ)² + 2·noise²); errors that the plans share cancel."""
        rest = sqrt(2.0) * self.noise if self.gap else 0.0
        return hypot(rest, *(lever.share for lever in self.levers))

    @property
    def half_width(self) -> float:
        """Of the gap's 90 % interval, to either side."""
        return self.reach * self.spread

    @property
    def wrong_chance(self) -> float:
        """The chance that the plan that looks slower is the faster one."""
        return wrong_chance(abs(self.gap), self.spread)

    @property
    def expected_regret(self) -> float:
        """How much longer the plan that looks faster is expected to take than the better of the two."""
        return expected_regret(abs(self.gap), self.spread)


def wrong_chance(gap: float, spread: float) -> float:
    """P(L > 0) for L = log of the chosen plan's time over the other's, normal around -gap: Φ(-gap/spread).

    >>> wrong_chance(0.04, 0.04) == wrong_chance(1.0, 1.0), wrong_chance(0.04, 0.0), wrong_chance(0.0, 0.1)
    (True, 0.0, 0.5)
    """
    if not spread:
        return 0.0 if gap else 0.5
    return _normal.cdf(-gap / spread)


def expected_regret(gap: float, spread: float) -> float:
    """E[max(0, T_chosen/T_other - 1)] for the same L ~ N(-g, s²): exp(s²/2 - g)·Φ(s - g/s) - Φ(-g/s).

    E[(e^L - 1)·1(L > 0)], and E[e^L·1(L > 0)] = exp(s²/2 - g)·P(L + s² > 0): weighing a normal density with e^L moves
    its mean by s². The same sum prices an option (Black and Scholes 1973).

    >>> round(expected_regret(0.04, 0.04), 4), expected_regret(0.04, 0.0)
    (0.0034, 0.0)
    """
    if not spread:
        return 0.0
    moved = exp(0.5 * spread * spread - gap) * _normal.cdf(spread - gap / spread)
    return max(0.0, moved - _normal.cdf(-gap / spread))


def sensitivity(a: Inputs, b: Inputs, knobs_of_a: Sequence[Knob], knobs_of_b: Sequence[Knob]) -> Sensitivity:
    """The gap between two plans that run, and what each knob does to it.

    T: hours where both jobs' lengths are known, else seconds a sample. Elasticities are differences over one spread to
    either side, so that they see what only begins within it, such as an exchange that no longer hides.
    """
    has_jobs = min(float(a.workload.steps), float(b.workload.steps)) > 1.0
    measure: Callable[[Inputs], float] = _log_hours if has_jobs else _log_sample_seconds
    plans = (a, b)
    at_rest = (measure(a), measure(b))
    gap = at_rest[1] - at_rest[0]
    owned = tuple({knob.key: knob for knob in knobs} for knobs in (knobs_of_a, knobs_of_b))
    levers = []
    for key in dict.fromkeys([*owned[0], *owned[1]]):
        mine = (owned[0].get(key), owned[1].get(key))
        knob = mine[0] or mine[1]
        assert knob is not None  # noqa: S101  the key is of one of the two

        def logs(shift: float, mine: tuple[Knob | None, Knob | None] = mine) -> tuple[float, float]:
            first, second = (
                measure(one.turned(inputs, exp(shift))) if one and shift else rest
                for one, inputs, rest in zip(mine, plans, at_rest, strict=True)
            )
            return first, second

        lever = _lever(knob, gap, logs)
        if lever.flip or any(abs(e) > SAME for e in lever.elasticities):
            levers.append(lever)
    return Sensitivity(gap, tuple(sorted(levers, key=lambda lever: (lever.sigmas, -lever.share))))


def scaled(record: R, path: str, factor: float | np.ndarray) -> R:
    """The record with the number at `path` times `factor` (or an array of them); "*" for all parts of a record.

    >>> scaled({"a": 2.0, "b": {"c": 3.0}}, "b.c", 2.0)
    {'a': 2.0, 'b': {'c': 6.0}}
    """
    name, _, rest = path.partition(".")
    if not path:
        return record * factor  # type: ignore[operator, return-value]
    if isinstance(record, Lookup):
        return replace(record, entries=scaled(record.entries, path, factor))
    if isinstance(record, Mapping):
        chosen = {key: scaled(value, rest, factor) for key, value in record.items() if name in (key, "*")}
        return {**record, **chosen}  # type: ignore[return-value]
    assert is_dataclass(record) and not isinstance(record, type)  # noqa: S101  paths are perfsim's own
    names = [f.name for f in fields(record)] if name == "*" else [name]
    return replace(record, **{each: scaled(getattr(record, each), rest, factor) for each in names})


def _lever(knob: Knob, gap: float, logs: Callable[[float], tuple[float, float]]) -> Lever:
    from scipy.optimize import brentq

    ends = log(knob.least), log(knob.most)
    step = max(knob.spread, LEAST_STEP)
    low, high = max(-step, ends[0]), min(step, ends[1])
    before, after = logs(low), logs(high)
    first, second = ((y - x) / (high - low) for x, y in zip(before, after, strict=True))

    def gap_at(shift: float) -> float:
        of_a, of_b = logs(shift)
        return of_b - of_a

    flips = [exp(brentq(gap_at, 0.0, end)) for end in ends if gap and end and gap * gap_at(end) < 0.0]
    return Lever(knob, (first, second), min(flips, key=lambda factor: abs(log(factor)), default=None))


def _log_hours(inputs: Inputs) -> float:
    return log(float(inputs.workload.steps * inputs.estimate().time.total_seconds))


def _log_sample_seconds(inputs: Inputs) -> float:
    return -log(float(inputs.estimate().samples_per_s))
