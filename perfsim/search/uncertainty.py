"""How far a prediction may lie from the truth: what the errors of the numbers below it do to it, and what remains."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, hypot, sqrt
from typing import Any

import numpy as np

from perfsim.core.arrays import concatenate, rows, shape_of, take
from perfsim.core.hardware import System
from perfsim.core.numbers import Floats
from perfsim.core.spreads import Spreads
from perfsim.search.sensitivity import Inputs, Knob, scaled

MEMORY_REACH = 1.645  # standard deviations of the log to either side that hold 90 % of peaks
TURN = 0.1  # of the log of a number, to either side, by which it is turned to see what it does
WITHIN = "system.within."  # where paths lead into a lookup
Paths = tuple[str, ...]


@dataclass(frozen=True)
class Range:
    """A prediction between the ends of the interval that holds 90 % of what may be measured."""

    low: float
    middle: float
    high: float


def range_around(middle: float, spread: float, reach: float) -> Range:
    """From middle·exp(-reach·spread) to middle·exp(reach·spread); spread: standard deviation of the log."""
    factor = exp(reach * spread)
    return Range(middle / factor, middle, middle * factor)


def spread_of(elasticities: Sequence[Floats], spreads: Sequence[float], known: Spreads) -> Floats:
    """Standard deviation of the log of a step's seconds: √(Σ(e·σ)² + source² + noise²), of one plan or of many."""
    squares: Floats = known.source**2 + known.noise**2
    for elasticity, spread in zip(elasticities, spreads, strict=True):
        squares = squares + (elasticity * spread) ** 2
    return np.sqrt(squares)


@dataclass(frozen=True)
class Elasticities:
    """d ln(figure) / d ln(number): a row for each number, a column for each plan."""

    seconds: np.ndarray
    joules: np.ndarray


def elasticities(inputs: Inputs, turned: Sequence[Paths]) -> Elasticities:
    """What turning the numbers at each of `turned` does to the step's seconds and joules, shape (numbers, plans) both.

    inputs: of one plan or of a flat list. All variants are costed in one call of the estimate; differences reach 10 %
    to either side, so that they see what begins there, such as an exchange that no longer hides.
    """
    count = int(np.prod(shape_of(inputs), dtype=int))
    shifts = [0.0, *(sign * TURN for _ in turned for sign in (1.0, -1.0))]
    found = variants(inputs, [(), *(paths for paths in turned for _ in range(2))], np.exp(shifts), count).estimate()

    def slopes(figure: Floats) -> np.ndarray:
        logs = np.log(np.broadcast_to(figure, (len(shifts) * count,))).reshape(len(shifts), count)
        steps: np.ndarray = (logs[1::2] - logs[2::2]) / (2.0 * TURN)
        return steps

    return Elasticities(slopes(found.time.total_seconds), slopes(found.energy.total_joules))


def gap_spread(a: Inputs, b: Inputs, knobs_of_a: Sequence[Knob], knobs_of_b: Sequence[Knob], known: Spreads) -> float:
    """Standard deviation of the log of one plan's seconds over the other's: errors that they share cancel.

    √(Σ((e_B - e_A)·σ)² + 2·noise²), as search.sensitivity has it, of two single plans.
    """
    slopes: dict[str, float] = {}
    spreads = {knob.key: knob.spread for knob in (*knobs_of_a, *knobs_of_b)}
    for sign, inputs, knobs in ((-1.0, a, knobs_of_a), (1.0, b, knobs_of_b)):
        turned = elasticities(inputs, [knob.paths for knob in knobs]).seconds[:, 0]
        for knob, slope in zip(knobs, turned.tolist(), strict=True):
            slopes[knob.key] = slopes.get(knob.key, 0.0) + sign * slope
    return hypot(sqrt(2.0) * known.noise, *(slope * spreads[key] for key, slope in slopes.items()))


def variants(inputs: Inputs, turned: Sequence[Paths], factors: np.ndarray, count: int) -> Inputs:
    """The inputs once for each of `turned`, one after the other: the numbers there times a factor, all else as is."""
    changed: Any = {
        "workload": _tiled(inputs.workload, len(turned), count), "software": inputs.software,
        "calibration": inputs.calibration, "system": _systems(inputs.system, turned, factors, count),
    }  # fmt: skip
    for path in dict.fromkeys(path for paths in turned for path in paths if not path.startswith(WITHIN)):
        record, _, rest = path.partition(".")
        chosen = [factor if path in paths else 1.0 for paths, factor in zip(turned, factors, strict=True)]
        changed[record] = scaled(changed[record], rest, np.repeat(chosen, count))
    return Inputs(plan=concatenate([rows(inputs.plan, slice(None), (count,))] * len(turned)), **changed)


def _systems(system: System, turned: Sequence[Paths], factors: np.ndarray, count: int) -> System:
    """The systems of all variants; those whose domains differ, which hold numbers to look up, are made one by one."""
    plain = rows(system, slice(None), (count,))
    made: dict[tuple[tuple[str, float], ...], System] = {(): plain}
    which = []
    for paths, factor in zip(turned, factors, strict=True):
        inside = tuple((path, factor) for path in paths if path.startswith(WITHIN))
        if inside not in made:
            made[inside] = plain
            for path, _ in inside:
                made[inside] = scaled(made[inside], path.partition(".")[2], factor)
        which.append(list(made).index(inside))
    index = np.add.outer(count * np.array(which), np.arange(count)).ravel()
    return take(concatenate(list(made.values())), index, (count * len(made),))


def _tiled(record: Any, times: int, count: int) -> Any:
    """The record's arrays, `times` one after the other."""
    if not shape_of(record):
        return record
    return replace(
        record,
        **{
            k: np.tile(np.broadcast_to(v, (count,)), times)
            for k, v in vars(record).items()
            if isinstance(v, np.ndarray) and v.ndim
        },
    )
