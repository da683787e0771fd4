"""Seconds of pipeline schedules in closed form, the bounds of unequal stages, and what stages hold meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from perfsim.core.numbers import Bools, Floats, Ints
from perfsim.core.plan import Plan, Schedule
from perfsim.core.workload import Workload


@dataclass(frozen=True)
class Work:
    """Seconds of one micro-batch's passes on a stage [s].

    backward: the gradient of the input, with recomputation; weight: the gradients of the weights; send: one hand-over
    to a neighbour; saved: what a forward and a backward pass that run together (DualPipe) take less than one after
    the other.
    """

    forward: Floats
    backward: Floats
    weight: Floats
    send: Floats = 0.0
    saved: Floats = 0.0

    @property
    def total(self) -> Floats:
        """What a stage is busy for."""
        return self.forward + self.backward + self.weight - self.saved


@dataclass(frozen=True)
class Pipeline:
    """Seconds of one step on the stage that decides: working, waiting for the fill and the drain, handing over."""

    work_seconds: Floats
    bubble_seconds: Floats
    send_seconds: Floats

    @property
    def total_seconds(self) -> Floats:
        """All micro-batches, from the first forward pass to the last gradient."""
        return self.work_seconds + self.bubble_seconds + self.send_seconds


def microbatches_of(workload: Workload, plan: Plan) -> Ints:
    """Micro-batches of each replica in a step."""
    found: Ints = np.maximum(1, workload.global_batch_size // (plan.data_parallel * plan.micro_batch_size))
    return found


def pipeline(
    layers: Work, ends_seconds: Floats, last_seconds: Floats, schedule: Ints, stages: Ints, microbatches: Ints,
    virtual_stages: Ints,
) -> Pipeline:  # fmt: skip
    """Seconds of a schedule with equal stages, some heavier for the ends of the model, and hand-overs that take time.

    layers: of one stage's layers; ends_seconds: head, loss and embedding together; last_seconds: head and loss alone.
    With w = layers.total, E = ends and H what the fullest stage does of them, p stages, m micro-batches,
        T = max(m·(w + H) + max(least, fill - eased·H), m·w + loop + fill) + the other end once
    where each schedule says how long equal stages wait (fill, and loop, which grows with m), what is left of that when
    one stage decides (least) and how soon (eased). H is the larger end; E where the first stage is the last too
    (ZB-V), E/2 where it is for half of the micro-batches (DualPipe). One stage: T = m·(w + E).
    Without ends as exact as the schedules' functions say; with ends within 0.7 % in the mean, 3 % at worst.
    Holds for: what Problem.INTERLEAVE and Problem.SCHEDULE let pass, hand-overs shorter than half a pass.
    Source: perfsim's own; the bubbles are the schedules' authors'.

    >>> pipeline(Work(1.0, 1.0, 1.0), 0.0, 0.0, Schedule.ZB_H1, 4, 8, 1).bubble_seconds.item()
    3.0
    """
    p, m, v = (1.0 * np.asarray(x) for x in (stages, microbatches, virtual_stages))
    name, has_both = np.asarray(schedule), has_both_ends(schedule, stages)
    halves = layer_copies(schedule, stages)
    larger = np.where(has_both, ends_seconds / halves, np.maximum(last_seconds, ends_seconds - last_seconds))
    work = m * (layers.total + larger)
    waits, idle = work, work
    for one, waits_of in _WAITS.items():
        if np.any(name == one):
            is_this = (p > 1.0) & (name == one)
            for_free = waits_of(replace(layers, send=0.0), p, m, v).seconds(layers, larger, ends_seconds, m)
            sent = waits_of(layers, p, m, v).seconds(layers, larger, ends_seconds, m)
            idle, waits = np.where(is_this, for_free, idle), np.where(is_this, sent, waits)
    other = np.where(has_both, 0.0, ends_seconds - larger)
    return Pipeline(work, idle - work + other, waits - idle)


@dataclass(frozen=True)
class _Waits:
    """What a schedule adds to the work of its stages [s], see `pipeline`; spread: the share of the ends in the loop."""

    fill: Floats
    least: Floats
    eased: Floats = 0.0
    loop: Floats = 0.0
    spread: Floats = 0.0

    def seconds(self, layers: Work, larger: Floats, ends: Floats, m: Floats) -> Floats:
        """The whole step but for the smaller end: one stage decides, or the way around all of them."""
        busiest = m * (layers.total + larger) + np.maximum(self.least, self.fill - self.eased * larger)
        around = m * (layers.total + self.spread * ends) + self.loop + self.fill
        seconds: Floats = np.maximum(busiest, around)
        return seconds


def _gpipe(x: Work, p: Floats, m: Floats, v: Floats) -> _Waits:
    """(p-1)(w + 2c), exact. Source: Huang et al. 2019 (arXiv 1811.06965)."""
    fill = (p - 1.0) * (x.total + 2.0 * x.send)
    return _Waits(fill, fill)


def _one_forward_one_backward(x: Work, p: Floats, m: Floats, v: Floats) -> _Waits:
    """(p-1)(w + 2c), and 2c·(m-1 - ⌈(m-1)/p⌉) in the loop; interleaved (p-1)w/v + 2c·(pv-1). Exact.

    1F1B has p micro-batches between stage 0's forward and backward pass, whose hand-overs nothing hides; interleaving
    has more of them and hides all but one round. Source: Narayanan et al. 2021 (arXiv 2104.04473); c: perfsim's own.
    """
    is_one, c = v == 1.0, 2.0 * x.send
    fill = (p - 1.0) * x.total / v + c * (p * v - 1.0)
    loop = np.where(is_one, c * (m - 1.0 - np.ceil((m - 1.0) / p)), 0.0)
    return _Waits(fill, fill, loop=loop, spread=np.where(is_one, 1.0 / p, 0.0))


def _zero_bubble_h1(x: Work, p: Floats, m: Floats, v: Floats) -> _Waits:
    """(p-1)·max(F + B - W + 4c, F + 3c, B + 2c); hand-overs of the loop hide behind W. Exact while 2c < W.

    Source: Qi et al. 2023 (arXiv 2401.10241), (p-1)(F + B - W); the other two, for W > F or W > B: perfsim's own.
    """
    f, b, c = x.forward, x.backward, x.send
    most = reduce(np.maximum, (f + b - x.weight + 4.0 * c, f + 3.0 * c, b + 2.0 * c))
    loop = m * (p - 1.0) / p * np.maximum(2.0 * c - x.weight, 0.0)
    return _Waits((p - 1.0) * most, (p - 1.0) * (f + c), p / 3.0, loop)


def _zero_bubble_v(x: Work, p: Floats, m: Floats, v: Floats) -> _Waits:
    """The longest of nine paths through the schedule, without m·w; within 0.5 % of the simulation.

    At F = B = W it is (p-1)F/2: no stage waits between its first and its last work, but one starts after another.
    Source: order of Qi et al. 2023 (arXiv 2401.10241); paths: perfsim's own.
    """
    f, b, w, c = x.forward, x.backward, x.weight, x.send
    q, h = p - 1.0, p / 2.0
    least = (h - 1.0) * w + 3.0 * q * c
    paths = (
        least + b / 2.0,
        q / 2.0 * b + (5.0 * q - 2.0) * c,
        (h - 1.0) * f + b / 2.0 + (5.0 * q - 2.0) * c,
        (q - 0.5) * f - (h - 1.0) * b + (3.0 * q - 2.0) * c,
        q * f - q / 2.0 * b - w / 2.0 + 3.0 * q * c,
        q * f - (q + 0.5) * w + 4.0 * q * c,
        q * (b - w) + (6.0 * q - 2.0) * c,
        (h - 1.0) * f + h * b - q * w + (6.0 * q - 2.0) * c,
        q / 2.0 * (f + b) - (q + 0.5) * w + 6.0 * q * c,
    )
    return _Waits(reduce(np.maximum, paths), least, m)


def _dualpipe(x: Work, p: Floats, m: Floats, v: Floats) -> _Waits:
    """With k = p/2 - 1: k(2F + B - W) or the longest of three other paths; each loop hands over once. Within 1 %.

    Pairs save s, but not while the pipe fills and drains. At F = B this is the authors' k(F&B + B - 3W) with the pair
    F&B and B with its W. Source: deepseek-ai/DualPipe README.md; other paths and c: perfsim's own.
    """
    f, b, w, c = x.forward, x.backward, x.weight, x.send
    k = p / 2.0 - 1.0
    paths = (
        k * (2.0 * f + b - w),
        k * (2.0 * f - c),
        (k - 1.0) * f + k * b,
        (k - 1.0) * f + k * (2.0 * b - w + c),
    )
    fill = reduce(np.maximum, paths) + (k + 3.0) * x.saved + 3.0 * k * c
    least = k * np.maximum(b - w, 0.0) + (3.0 * k + 2.0) * x.saved + 2.0 * (p - 1.0) * c
    return _Waits(fill, least, 2.0 * (p - 1.0), m * (p - 1.0) / p * c)


_WAITS: dict[Schedule, Callable[[Work, Floats, Floats, Floats], _Waits]] = {
    Schedule.GPIPE: _gpipe,
    Schedule.ONE_F_ONE_B: _one_forward_one_backward,
    Schedule.ZB_H1: _zero_bubble_h1,
    Schedule.ZB_V: _zero_bubble_v,
    Schedule.DUALPIPE: _dualpipe,
}


def has_both_ends(schedule: Ints, stages: Ints) -> Bools:
    """Whether a stage holds the model's first and last layers: one stage, ZB-V's and DualPipe's first."""
    name = np.asarray(schedule)
    both: Bools = (np.asarray(stages) == 1) | (name == Schedule.ZB_V) | (name == Schedule.DUALPIPE)
    return both


def layer_copies(schedule: Ints, stages: Ints) -> Floats:
    """How many GPUs of a pipeline hold each layer: two in DualPipe, which feeds it from both ends."""
    return np.where((np.asarray(schedule) == Schedule.DUALPIPE) & (np.asarray(stages) > 1), 2.0, 1.0)


def in_flight(schedule: Ints, stages: Ints, stage: Ints, microbatches: Ints, virtual_stages: Ints) -> Floats:
    """Micro-batches whose activations a stage holds at most, in units of one micro-batch of all its layers.

    GPipe m; 1F1B min(m, p - i); interleaved min(m·v, 2(p - i - 1) + (v - 1)·p + 1) / v; ZB-H1 and ZB-V p, as the
    weights' gradients need 32 of the 34 bytes a layer keeps per value (Qi et al. 2023, table 1); DualPipe p + 1 of one
    of its two stages.
    Source: NVIDIA/Megatron-LM megatron/core/pipeline_parallel/schedules.py (warm-up counts); arXiv 2401.10241;
    deepseek-ai/DualPipe README.md.
    """
    name = np.asarray(schedule)
    p, i, m, v = (1.0 * np.asarray(x) for x in (stages, stage, microbatches, virtual_stages))
    many = np.minimum(m * v, 2.0 * (p - i - 1.0) + (v - 1.0) * p + 1.0) / v
    in_turns = np.where(v > 1.0, many, np.minimum(m, p - i))
    split = np.minimum(m, np.where(name == Schedule.DUALPIPE, (p + 1.0) / 2.0, p))
    split = np.where(p > 1.0, split, 1.0)
    return np.where(name == Schedule.GPIPE, m, np.where(name == Schedule.ONE_F_ONE_B, in_turns, split))


def lower_bound(work: Work, schedule: Schedule, microbatches: Ints, virtual_stages: int = 1) -> Floats:
    """Seconds that no run of the schedule stays below, for unequal stages; arrays [stages, ...] in `work` [s].

        T ≥ Σ (F + B) + 2(p-1)c        T ≥ max_i (Σ_{q<i} (F_q/v + c) + m·w_i + Σ_{q<i} (B_q/v + c))
    Stage i waits for its first input, works, and its last gradient travels back to stage 0; where weights' gradients
    are split off, these can come after. DualPipe feeds both ends, so the nearer one counts, and stage i does half of
    what stage p-1-i is told to do. Source: perfsim's own.
    """
    forward, total, weight = np.asarray(work.forward), np.asarray(work.total), np.asarray(work.weight)
    p, v, c = len(forward), float(virtual_stages), work.send
    is_split = schedule in (Schedule.ZB_H1, Schedule.ZB_V, Schedule.DUALPIPE)
    down = np.asarray(work.backward) if is_split else work.backward + weight
    hops = c * np.arange(p).reshape(p, *[1] * (forward.ndim - 1))
    reach, back = _before(forward / v) + hops, _before(down / v) + hops
    busy = microbatches * total
    if schedule is Schedule.DUALPIPE:
        reach, rest = np.minimum(reach, reach[::-1]), (busy + busy[::-1]) / 2.0
    elif is_split:
        rest = np.maximum(busy, microbatches * (total - weight) + back)
    else:
        rest = busy + back
    chain = np.sum(forward + down - work.saved, axis=0) + 2.0 * (p - 1.0) * c
    bound: Floats = np.maximum(chain, np.max(reach + rest, axis=0))
    return bound


def cycle_seconds(work: Work, schedule: Schedule, virtual_stages: int = 1) -> Floats:
    """λ, what one more micro-batch adds to a long run of unequal stages; arrays [stages, ...] in `work` [s].

        λ = max over i ≤ j of (Σ_{i..j} w_q + 2(j-i)c) / (n(j-i) + 1)
    where n(j-i) + 1 micro-batches are under way between stages i and j: n = 1 for 1F1B, 2 (of chunks, with w/v) for
    interleaved. ZB-H1 has the busiest stage, or this without W; ZB-V the busiest stage; DualPipe half of the
    hand-overs; GPipe max F + max B. For 1F1B, T ≤ Σ w + 2(p-1)c + (m-1)·λ. Source: perfsim's own.
    """
    forward, total, v = np.asarray(work.forward), np.asarray(work.total), float(virtual_stages)
    cycle: Floats
    match schedule:
        case Schedule.GPIPE:
            cycle = np.max(forward, axis=0) + np.max(total - forward, axis=0)
        case Schedule.ONE_F_ONE_B:
            cycle = v * _longest_loop(total / v, work.send, 1.0 if v == 1.0 else 2.0)
        case Schedule.ZB_H1:
            cycle = np.maximum(np.max(total, axis=0), _longest_loop(total - work.weight, work.send, 1.0))
        case Schedule.ZB_V:
            cycle = np.max(total, axis=0)
        case Schedule.DUALPIPE:
            cycle = _longest_loop(total, work.send / 2.0, 1.0)
    return cycle


def _before(seconds: np.ndarray) -> np.ndarray:
    """The sum over all stages before each."""
    before: np.ndarray = np.cumsum(seconds, axis=0) - seconds
    return before


def _longest_loop(busy: np.ndarray, send: Floats, under_way: float) -> Floats:
    """The longest of all loops between two stages, a micro-batch."""
    upto = np.cumsum(busy, axis=0)
    longest: Floats = np.max(busy, axis=0)
    for apart in range(1, len(upto)):
        span = upto[apart:] - upto[:-apart] + busy[:-apart]
        longest = np.maximum(longest, np.max(span + 2.0 * apart * send, axis=0) / (under_way * apart + 1.0))
    return longest
