"""What each stage of a pipeline does in which order, and the simulation of it: exact times, memory over time.

The order of the pieces of work belongs to a schedule and to the numbers of stages, micro-batches and chunks; their
seconds belong to plans. So plans that share an order are simulated together: a loop over rounds, arrays over plans.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from perfsim.core.plan import Schedule
from perfsim.formulas.pipeline import Work, cycle_seconds

Places = npt.NDArray[np.int64]
FORWARD, BACKWARD, WEIGHT = range(3)  # a forward pass, the gradient of its input, the gradient of its weights


@dataclass(frozen=True)
class Order:
    """All pieces of a step, stage after stage in its order. A piece has one part or several that run as one.

    parts [pieces, 3]: the forward pass, input gradient and weight gradient in the piece, each told by its number
    chunk · microbatches + micro-batch, or -1. microbatches: of one chunk; DualPipe's two chunks share them.
    Simulation goes in rounds of what can run at once: turns [pieces] are the pieces in that order, rounds where each
    round ends in it; waits [3, pieces] are the places in it of what a piece waits for (-1: nothing), the stage's piece
    before and where its forward and its backward pass come from, sends [3, pieces] the hand-overs that lie between.
    """

    schedule: Schedule
    stages: int
    chunks: int
    microbatches: int
    stage: Places
    parts: Places
    turns: Places
    rounds: Places
    waits: Places
    sends: Places

    @cached_property
    def starts(self) -> Places:
        """The place of each stage's first piece, and the end of the last."""
        return np.append(_first_pieces(self.stage), len(self.stage))

    def chunk(self, part: int) -> Places:
        """The chunk of each piece's forward pass, input gradient or weight gradient; -1 where it has none."""
        return self.parts[:, part] // self.microbatches


@dataclass(frozen=True)
class Timeline:
    """When each piece of an order starts and ends [s], with an axis for plans where the durations have one."""

    order: Order
    start: np.ndarray
    end: np.ndarray

    @property
    def total_seconds(self) -> np.ndarray:
        """The end of the last piece."""
        found: np.ndarray = self.end.max(axis=0)
        return found


def simulate(order: Order, work: Work) -> Timeline:
    """When every piece starts and ends: as soon as its stage is free and what it needs has arrived.

        start = max(end of the stage's piece before, end of what it needs + send)

    work: seconds [chunks, stages] of one chunk, or [chunks, stages, plans]; send and saved: one number, or [plans].
    A hand-over holds up neither side. Source: perfsim's own.
    """
    took = _piece_seconds(order, work)
    ahead = took[order.turns]
    lag = order.sends.reshape(*order.sends.shape, *[1] * (took.ndim - 1)) * work.send
    end = np.zeros((len(took) + 1, *took.shape[1:]))  # the last row is what a piece that waits for nothing waits for
    first = 0
    for last in order.rounds:
        now = slice(first, last)
        end[now] = (end[order.waits[:, now]] + lag[:, now]).max(axis=0) + ahead[now]
        first = last
    ended = np.empty_like(took)
    ended[order.turns] = end[:-1]
    return Timeline(order, ended - took, ended)


def _piece_seconds(order: Order, work: Work) -> np.ndarray:
    """Seconds of every piece: the sum of its parts, less what parts that run together save."""
    seconds = [np.asarray(x) for x in (work.forward, work.backward, work.weight)]
    has = (order.parts >= 0).reshape(len(order.parts), 3, *[1] * (seconds[FORWARD].ndim - 2))
    took: np.ndarray = -work.saved * (has[:, FORWARD] & has[:, BACKWARD])
    for part in (FORWARD, BACKWARD, WEIGHT):
        took = took + np.where(has[:, part], seconds[part][order.chunk(part), order.stage], 0.0)
    return took


def step_seconds(schedule: Schedule, stages: int, microbatches: int, chunks: int, work: Work) -> np.ndarray:
    """Seconds of all micro-batches; of many, the first few are simulated and each further one adds a cycle λ.

        T(m) = T(m₀) + (m - m₀)·λ,  3p ≤ m₀ < 4p

    work: as `simulate` takes it. Exact below 4p micro-batches and for equal stages without hand-overs, else within 2 %
    where stages differ by ±30 %. Source: perfsim's own; λ: formulas.pipeline.cycle_seconds.
    """
    few = microbatches if microbatches < 4 * stages else 3 * stages + microbatches % stages
    order = order_of(schedule, stages, few, chunks)
    share = 2.0 if schedule is Schedule.DUALPIPE else 1.0  # a micro-batch passes one of its chunks
    forward, backward, weight = (np.sum(x, axis=0) / share for x in (work.forward, work.backward, work.weight))
    cycle = cycle_seconds(Work(forward, backward, weight, work.send, work.saved), schedule, chunks)
    found: np.ndarray = simulate(order, work).total_seconds + (microbatches - few) * cycle
    return found


def held(order: Order, weight_share: float = 1.0) -> np.ndarray:
    """Micro-batches whose activations a stage holds while each piece runs, in units of one of all its layers.

    A forward pass holds its chunk's activations from its start on; the input's gradient frees all but `weight_share`
    of them at its end, the weights' gradient the rest.
    """
    size = 1.0 / order.chunks
    has = order.parts >= 0
    freed = (1.0 - weight_share) * has[:, BACKWARD] + weight_share * has[:, WEIGHT]
    change = size * (1.0 * has[:, FORWARD] - freed)
    total = np.cumsum(change)
    before = np.concatenate([[0.0], total])[order.starts[order.stage]]
    found: np.ndarray = total - before + size * freed
    return found


def peak_held(order: Order, weight_share: float = 1.0) -> np.ndarray:
    """The most that each stage holds at once, see `held`; [stages]."""
    found: np.ndarray = np.maximum.reduceat(held(order, weight_share), order.starts[:-1])
    return found


@lru_cache(maxsize=64)
def order_of(schedule: Schedule, stages: int, microbatches: int, chunks: int = 1) -> Order:
    """The order of a schedule's pieces.

    chunks: of interleaved 1F1B, its virtual_stages. Holds for: what Problem.INTERLEAVE and Problem.SCHEDULE let pass.
    Raises: ValueError for numbers that make the schedule wait for itself.
    """
    p, m, v = stages, microbatches, chunks
    match schedule:
        case Schedule.GPIPE:
            of_stages = _in_turns(p, m, v, np.full(p, m), is_split=False)
        case Schedule.ONE_F_ONE_B:
            lead = p - 1 - np.arange(p)
            of_stages = _in_turns(p, m, v, lead if v == 1 else 2 * lead + (v - 1) * p, is_split=False)
        case Schedule.ZB_H1:
            of_stages = _in_turns(p, m, v, p - 1 - np.arange(p), is_split=True)
        case Schedule.ZB_V:
            v = 2
            of_stages = [_spelled(_zero_bubble_v(p, m, i), m) for i in range(p)]
        case Schedule.DUALPIPE:
            m, v = microbatches // 2, 2
            of_stages = [_spelled(_dualpipe(p, microbatches, i), m) for i in range(p)]
    parts = np.concatenate(of_stages)
    stage = np.repeat(np.arange(p), [len(pieces) for pieces in of_stages])
    waits, sends = _waits(p, m, v, stage, parts, routes(schedule, p, v))
    rounds = list(_rounds(stage, waits))
    turns = np.concatenate(rounds)
    place = np.full(len(turns) + 1, -1)
    place[turns] = np.arange(len(turns))
    ends = np.cumsum([len(pieces) for pieces in rounds])
    return Order(schedule, p, v, m, stage, parts, turns, ends, place[waits[:, turns]], sends[:, turns])


def _in_turns(p: int, m: int, v: int, lead: np.ndarray, is_split: bool) -> list[Places]:
    """Forward and backward passes in turns, after `lead` forwards; weights split off follow i turns later on stage i.

    Chunks take turns every p micro-batches. Source: GPipe: Huang et al. 2019 (arXiv 1811.06965); 1F1B, interleaved:
    NVIDIA/Megatron-LM megatron/core/pipeline_parallel/schedules.py; ZB-H1: Qi et al. 2023 (arXiv 2401.10241).
    """
    in_order = [(u, i) for first in range(0, m, p) for u in range(v) for i in range(first, min(first + p, m))]
    chunk, microbatch = np.array(in_order).T
    k, none = np.arange(m * v), np.full(m * v, -1)
    forward, backward = chunk * m + microbatch, (v - 1 - chunk) * m + microbatch
    parts = [(forward, none, none), (none, backward, none if is_split else backward)]
    turns = [2.0 * (k - lead[:, None]), np.tile(2.0 * k + 1.0, (p, 1))]
    if is_split:
        parts.append((none, none, backward))
        turns.append(2.0 * (k + np.arange(p)[:, None]) + 1.5)
    places = np.argsort(np.concatenate(turns, axis=1), axis=1, kind="stable")
    return list(np.concatenate([np.stack(part, axis=1) for part in parts])[places])


def _zero_bubble_v(p: int, m: int, i: int) -> str:
    """Stage i's pieces under ZB-V.

    Source: pytorch/pytorch torch/distributed/pipelining/schedules.py, ScheduleZBVZeroBubble.
    """
    n = max(m, 2 * p - 1)
    ahead = 2 * p - 1 - i  # forwards of the first chunk before the first backward of it
    fill = "F" * (ahead - i) + "fF" * i + "fbW" * (p - i)
    steady = "FBWfbW" * (n - ahead) + "BWfbW" * (ahead - p)
    return fill + steady + "Bb" * i + "BW" * (p - i) + "WW" * i


def _dualpipe(p: int, m: int, i: int) -> str:
    """Stage i's pieces in DualPipe's eight steps. Source: deepseek-ai/DualPipe dualpipe/dualpipe.py, `step`."""
    r, half = min(i, p - 1 - i), p // 2
    rest = half - 1 - r
    first = "F&g" if rest else "Fg"  # the two stages in the middle do not join their first pair
    main = first + "f&G" + "F&gf&G" * (m // 2 - p + r)
    drain = ("gG" * (r + 1))[: r + 1] + ("bB" * (r + 1))[r + 1 :]
    word = "FF" * rest + "Ff" * (r + 1) + "bWf" * rest + main + "gf&G" * rest + drain + "WB" * rest + "W" * (r + 1)
    return word if i < half else word.swapcase()


def _spelled(word: str, m: int) -> Places:
    """The pieces that a word spells; each letter takes its chunk's next micro-batch, those beyond m are left out.

    F a forward pass, B the gradient of the input, G of input and weights; capitals the first chunk, small letters the
    second. W or w: the oldest weight gradient not yet computed. &: what is left and right of it runs as one piece.
    """
    taken = dict.fromkeys(["F", "f", "B", "b"], 0)
    due: deque[int] = deque()
    found: list[list[int]] = []
    for before, letter in pairwise("." + word):
        if letter == "&":
            continue
        if before != "&":
            found.append([-1, -1, -1])
        if letter in "Ww":
            found[-1][WEIGHT] = due.popleft()
            continue
        kind = {"G": "B", "g": "b"}.get(letter, letter)
        number, taken[kind] = taken[kind], taken[kind] + 1
        number = number + m * kind.islower() if number < m else -1
        found[-1][FORWARD if kind in "Ff" else BACKWARD] = number
        if letter in "Gg":
            found[-1][WEIGHT] = number
        elif letter in "Bb":
            due.append(number)
    parts = np.array(found)
    return parts[(parts >= 0).any(axis=1)]


def routes(schedule: Schedule, p: int, v: int) -> list[list[tuple[int, int]]]:
    """The (chunk, stage) that micro-batches pass through, forward; DualPipe has a route from each end."""
    there, back = [(0, i) for i in range(p)], [(1, i) for i in reversed(range(p))]
    if schedule is Schedule.ZB_V:
        return [there + back]
    if schedule is Schedule.DUALPIPE:
        return [there, back]
    return [[(u, i) for u in range(v) for i in range(p)]]


def _waits(
    p: int, m: int, v: int, stage: Places, parts: Places, ways: list[list[tuple[int, int]]]
) -> tuple[Places, Places]:
    """(what each piece waits for, hand-overs between), each [3, pieces]: see `Order`."""
    behind, ahead = np.full((2, v, p, 2), -1)
    for way in ways:
        for here, then in pairwise(way):
            behind[then], ahead[here] = here, then
    before = np.arange(len(stage)) - 1
    before[_first_pieces(stage)] = -1
    waits, sends = [before], [np.zeros_like(stage)]
    for part, neighbour in ((FORWARD, behind), (BACKWARD, ahead)):
        has = np.flatnonzero(parts[:, part] >= 0)
        chunk, number = np.divmod(parts[has, part], m)
        places = np.full((v, p, m), -1)
        places[chunk, stage[has], number] = has
        chunk_there, stage_there = np.moveaxis(neighbour[chunk, stage[has]], -1, 0)
        found, sent = np.full(len(stage), -1), np.zeros_like(stage)
        found[has] = np.where(stage_there >= 0, places[chunk_there, stage_there, number], -1)
        sent[has] = (stage_there >= 0) & (stage_there != stage[has])
        waits.append(found)
        sends.append(sent)
    return np.stack(waits), np.stack(sends)


def _rounds(stage: Places, waits: Places) -> Iterator[Places]:
    """The pieces, round after round of what can run at once."""
    at = _first_pieces(stage)
    stop = np.append(at[1:], len(stage))
    needs = waits[1:]
    done = np.zeros(len(stage) + 1, dtype=bool)
    done[-1] = True
    while len(at):
        is_ready = done[needs[:, at]].all(axis=0)
        now = at[is_ready]
        if not len(now):
            raise ValueError("the schedule waits for itself: no stage can go on")
        done[now] = True
        yield now
        at = at + is_ready
        is_left = at < stop
        if not is_left.all():
            at, stop = at[is_left], stop[is_left]


def _first_pieces(stage: Places) -> Places:
    """The place of each stage's first piece."""
    return np.flatnonzero(np.diff(stage, prepend=-1))
