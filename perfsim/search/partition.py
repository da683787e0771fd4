"""Which layers each stage of a pipeline holds, and which of them are computed again: the quickest cuts that fit."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

QUANTA = 256  # of a stage's memory, into which activations are rounded up where layers have several choices


@dataclass(frozen=True)
class Units:
    """A model's layers in their order, with the embedding before and the head behind; each has one choice or several.

    seconds [choices, units], or [stages, choices, units] where stages are unlike: one micro-batch, both passes.
    fixed_bytes [units]: weights and what lasts with them. kept_bytes [choices, units]: activations of one micro-batch.
    passing_bytes [choices, units]: what the unit's own backward pass needs, one unit at a time. base_bytes: of every
    stage. send_seconds [units - 1]: one hand-over behind each unit but the last.
    """

    seconds: np.ndarray
    fixed_bytes: np.ndarray
    kept_bytes: np.ndarray
    passing_bytes: np.ndarray
    base_bytes: float
    send_seconds: np.ndarray


@dataclass(frozen=True)
class Partition:
    """cuts [stages + 1]: stage i holds the units from cuts[i] up to cuts[i + 1]; choices: one of each unit.

    stage_seconds [stages]: one micro-batch, its hand-overs included; stage_bytes [stages]: at the fullest;
    seconds: all micro-batches, as `partition` counts them.
    """

    cuts: tuple[int, ...]
    choices: tuple[int, ...]
    stage_seconds: np.ndarray
    stage_bytes: np.ndarray
    seconds: float


def partition(
    units: Units, capacity_bytes: np.ndarray, in_flight: np.ndarray, microbatches: float = np.inf
) -> Partition | None:
    """The cuts and choices of least Σ s + (m - 1)·max s, every stage within its memory; None where none fits.

        s_i = Σ seconds + send behind the stage before + send behind its own last unit
        bytes_i = base + Σ fixed + in_flight_i · Σ kept + max passing ≤ capacity_i

    capacity_bytes, in_flight [stages]: formulas.pipeline.in_flight. m = inf: least max s, then least Σ s.
    The sum bounds 1F1B from above: a loop over stages i..j takes (Σ w + 2·Σ c) / (j-i+1), a mean of numbers not above
    s_i..s_j, so T ≤ Σ w + 2·Σ c + (m-1)·max s (formulas.pipeline.cycle_seconds), and Σ s = Σ w + 2·Σ c.

    Exact for one choice a unit. D_i(b) = min over a of D_{i-1}(a) + s_i(a, b) is the least sum under a limit on s, and
    max in place of + the least longest stage θ. From no limit on, each found sum S with longest stage L rules out all
    limits from L up, and all from (best - S)/(m-1) up, for lower limits have no lower sums; below θ nothing fits.
    Stages are first tried with few units. One with more has s ≥ the shortest such run, which proves the result or
    doubles the width. Cut costs and unlike stages forbid the greedy search for θ, which needs longer runs to cost more.
    With several choices s_i(a, b) is a knapsack whose kept bytes are rounded up to 1/256 of the capacity: never
    unsafe, and never slower than the optimum with units/256 less memory. Source: perfsim's own; limits as in Zheng et
    al. 2022 (Alpa, arXiv 2201.12023), knapsack as in Miao et al. 2022 (Galvatron, arXiv 2211.13878).
    """
    seconds = _by_stage(units, len(capacity_bytes))
    count = seconds.shape[2]
    least = seconds.min(axis=1)
    weight = microbatches - 1.0
    width = min(count, 2 * -(-count // len(capacity_bytes)))
    while True:
        tables = _tables(units, capacity_bytes, in_flight, width)
        found = _quickest(tables, weight)
        if width == count:
            break
        runs = np.cumsum(np.pad(least, ((0, 0), (1, 0))), axis=1)
        longer = float(np.min(runs[:, width + 1 :] - runs[:, : count - width]))
        if found is not None and _value(float(least.min(axis=0).sum()), longer, weight) > found[0]:
            break
        width = min(count, 2 * width)
    if found is None:
        return None
    value, cuts = found
    choices = np.concatenate(
        [
            _choices(units, seconds[i], cuts[i], cuts[i + 1], capacity_bytes[i], in_flight[i])
            for i in range(len(cuts) - 1)
        ]
    )
    stage_seconds = np.array([tables[i, cuts[i + 1] - cuts[i] - 1, cuts[i + 1]] for i in range(len(cuts) - 1)])
    return Partition(cuts, tuple(choices.tolist()), stage_seconds, stage_bytes(units, cuts, choices, in_flight), value)


def stage_bytes(units: Units, cuts: tuple[int, ...], choices: np.ndarray, in_flight: np.ndarray) -> np.ndarray:
    """Bytes of each stage under its units' choices [stages], see `partition`."""
    each = np.arange(len(units.fixed_bytes))
    kept, passing = units.kept_bytes[choices, each], units.passing_bytes[choices, each]
    starts = np.array(cuts[:-1])
    fixed = np.add.reduceat(units.fixed_bytes + 0.0, starts)
    held: np.ndarray = fixed + in_flight * np.add.reduceat(kept, starts) + np.maximum.reduceat(passing, starts)
    return units.base_bytes + held


def _by_stage(units: Units, stages: int) -> np.ndarray:
    """Seconds [stages, choices, units]."""
    return np.broadcast_to(units.seconds, (stages, *units.seconds.shape[-2:]))


def _value(total: float, longest: float, weight: float) -> float:
    return longest if weight == np.inf else total + weight * longest


def _quickest(tables: np.ndarray, weight: float) -> tuple[float, tuple[int, ...]] | None:
    """(value, cuts) of least Σ s + weight·max s; see `partition` for the limits it steps through."""
    least, _, _ = _walk(tables, np.inf, np.maximum)
    if least == np.inf:
        return None
    total, longest, cuts = _walk(tables, least, np.add)
    best, limit = (_value(total, longest, weight), cuts), np.inf
    while weight < np.inf:
        total, longest, cuts = _walk(tables, limit, np.add)
        best = min(best, (_value(total, longest, weight), cuts))
        limit = float(np.nextafter(longest, 0.0))
        if weight > 0.0:
            limit = min(limit, (best[0] - total) / weight)
        if limit <= least or weight == 0.0:
            break
    return best


def _walk(
    tables: np.ndarray, limit: float, join: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> tuple[float, float, tuple[int, ...]]:
    """(least of all stages joined, the longest of them, cuts) with no stage above `limit`; inf where there is none."""
    stages, width, ends = tables.shape
    end, length = np.arange(ends), np.arange(1, width + 1)[:, None]
    before = np.maximum(end - length, 0)
    reached = np.where(end == 0, 0.0, np.inf)
    lengths = np.empty((stages, ends), dtype=np.int64)
    for i, table in enumerate(tables):
        seconds = join(reached[before], np.where(table <= limit, table, np.inf))
        lengths[i] = np.argmin(seconds, axis=0)
        reached = seconds[lengths[i], end]
    if reached[-1] == np.inf:
        return np.inf, np.inf, ()
    cuts, longest = [ends - 1], 0.0
    for i in reversed(range(stages)):
        longest = max(longest, float(tables[i, lengths[i, cuts[-1]], cuts[-1]]))
        cuts.append(int(cuts[-1] - lengths[i, cuts[-1]] - 1))
    return float(reached[-1]), longest, tuple(reversed(cuts))


def _tables(units: Units, capacity_bytes: np.ndarray, in_flight: np.ndarray, width: int) -> np.ndarray:
    """Seconds of every run of units on every stage [stages, units in it - 1, end]; inf where it does not fit."""
    cut = np.concatenate([[0.0], units.send_seconds, [0.0]])
    start, end = _runs(len(cut), width)
    handed = np.where(end > start, cut[np.maximum(start, 0)] + cut[end], 0.0)
    of_stage = _one_choice if len(units.kept_bytes) == 1 else _several_choices
    found: dict[tuple[float, float, bytes], np.ndarray] = {}
    tables = []
    for seconds, capacity, many in zip(_by_stage(units, len(in_flight)), capacity_bytes, in_flight, strict=True):
        key = float(capacity), float(many), seconds.tobytes()
        if key not in found:
            table = of_stage(units, seconds, float(capacity), float(many), width)
            found[key] = np.where(start < 0, np.inf, table + handed)
        tables.append(found[key])
    return np.stack(tables)


def _runs(ends: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(start, end) of every run [units in it - 1, end]; starts below 0 are no runs."""
    end = np.broadcast_to(np.arange(ends), (width, ends))
    return end - np.arange(1, width + 1)[:, None], end


def _sums(values: np.ndarray, width: int) -> np.ndarray:
    """The sum over each run."""
    upto = np.concatenate([[0.0], np.cumsum(values)])
    start, end = _runs(len(upto), width)
    found: np.ndarray = upto[end] - upto[np.maximum(start, 0)]
    return found


def _most(values: np.ndarray, width: int) -> np.ndarray:
    """The largest of each run."""
    ends = len(values) + 1
    found = np.full((width, ends), -np.inf)
    for less in range(width):
        found[less, less + 1 :] = values[: ends - less - 1]
    most: np.ndarray = np.maximum.accumulate(found, axis=0)
    return most


def _one_choice(units: Units, seconds: np.ndarray, capacity: float, many: float, width: int) -> np.ndarray:
    held = _sums(units.fixed_bytes + many * units.kept_bytes[0], width) + _most(units.passing_bytes[0], width)
    return np.where(units.base_bytes + held <= capacity, _sums(seconds[0], width), np.inf)


def _several_choices(units: Units, seconds: np.ndarray, capacity: float, many: float, width: int) -> np.ndarray:
    """The quickest choices of every run: a knapsack for each level of passing bytes, over runs from all starts."""
    count = len(units.fixed_bytes)
    quanta = _quanta(units, capacity, many)
    fixed = _sums(units.fixed_bytes, width)
    best = np.full((width, count + 1), np.inf)
    for level in np.unique(units.passing_bytes):
        allowed = np.where(units.passing_bytes <= level, seconds, np.inf)
        quickest = np.zeros((count, QUANTA + 1))
        for length in range(width):
            unit = np.arange(length, count)
            quickest = _with_unit(quickest[: count - length], allowed[:, unit], quanta[:, unit])
            room = _room(units, fixed[length, unit + 1] + level, capacity)
            of_room = np.where(room >= 0, quickest[unit - length, np.maximum(room, 0)], np.inf)
            best[length, unit + 1] = np.minimum(best[length, unit + 1], of_room)
    return best


def _quanta(units: Units, capacity: float, many: float) -> np.ndarray:
    """Kept bytes rounded up to whole quanta [choices, units]; what exceeds the capacity is one too many."""
    return np.minimum(np.ceil(many * units.kept_bytes * (QUANTA / capacity)), QUANTA + 1).astype(np.int64)


def _room(units: Units, held: np.ndarray, capacity: float) -> np.ndarray:
    """Whole quanta that are left for kept bytes; below 0 where not even the rest fits."""
    left = (capacity - units.base_bytes - held) * (QUANTA / capacity)
    return np.floor(np.maximum(left, -1.0)).astype(np.int64)


def _with_unit(quickest: np.ndarray, seconds: np.ndarray, quanta: np.ndarray) -> np.ndarray:
    """Least seconds within each number of quanta [runs, quanta + 1], one more unit [choices, runs] in every run."""
    each, found = np.arange(len(quickest))[:, None], np.full_like(quickest, np.inf)
    for of_choice, needed in zip(seconds, quanta, strict=True):
        left = np.arange(quickest.shape[1]) - needed[:, None]
        known = np.where(left >= 0, quickest[each, np.maximum(left, 0)], np.inf)
        found = np.minimum(found, known + of_choice[:, None])
    return found


def _choices(units: Units, seconds: np.ndarray, start: int, end: int, capacity: float, many: float) -> np.ndarray:
    """The choices behind one entry of a stage's table, traced back from the last unit."""
    if len(units.kept_bytes) == 1:
        return np.zeros(end - start, dtype=np.int64)
    run = slice(start, end)
    quanta = _quanta(units, capacity, many)[:, run]
    best, choices = np.inf, np.zeros(end - start, dtype=np.int64)
    for level in np.unique(units.passing_bytes):
        allowed = np.where(units.passing_bytes[:, run] <= level, seconds[:, run], np.inf)
        left = int(_room(units, units.fixed_bytes[run].sum() + level, capacity))
        steps = [np.zeros((1, QUANTA + 1))]
        for unit in range(end - start):
            steps.append(_with_unit(steps[-1], allowed[:, unit, None], quanta[:, unit, None]))
        if left < 0 or steps[-1][0, left] >= best:
            continue
        best, choices = steps[-1][0, left], np.zeros(end - start, dtype=np.int64)
        for unit in reversed(range(end - start)):
            ways = [
                steps[unit][0, left - needed] + took if needed <= left else np.inf
                for took, needed in zip(allowed[:, unit], quanta[:, unit], strict=True)
            ]
            choices[unit] = np.argmin(ways)
            left -= quanta[choices[unit], unit]
    return choices
