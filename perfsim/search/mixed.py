"""Cards of two or three kinds in one box: the batch or the layers shared so that none waits for long."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.plan import CARD_CANNOT, Plan, Problem, Recompute, Schedule
from perfsim.core.results import Estimate
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.errors import UnsupportedError
from perfsim.estimate import estimate
from perfsim.formulas.fits import safe_bytes, surely_fits
from perfsim.formulas.pipeline import Work, in_flight
from perfsim.graphs.schedule import step_seconds
from perfsim.search.layers import model_units
from perfsim.search.partition import Partition, partition

MOST_SEQUENCES = 4096  # of a step, to share over cards one by one
MOST_MICRO_BATCH = 64


@dataclass(frozen=True)
class Cards:
    """`count` like cards; the system is a box that holds all cards of the mix, as if all were of this kind."""

    system: System
    count: int


@dataclass(frozen=True)
class Share:
    """One card's part: sequences of a step and of a micro-batch, units [from, to) of the model, of them recomputed."""

    system: System
    sequences: int
    micro_batch_size: int
    units: tuple[int, int] | None
    recomputed_layers: int
    busy_seconds: float
    memory_bytes: float


@dataclass(frozen=True)
class Mix:
    """A step on all cards; shares in the order of ranks, in a pipeline of its stages."""

    shares: tuple[Share, ...]
    step_seconds: float


@dataclass(frozen=True)
class _Replica:
    """What one card of a kind takes for 0, 1, 2 … sequences a step: seconds, those to reduce, micro-batch, bytes."""

    seconds: np.ndarray
    reduce_seconds: np.ndarray
    micro_batch_size: np.ndarray
    memory_bytes: np.ndarray


def share_batch(
    workload: Workload, cards: Sequence[Cards], plan: Plan, software: Software, calibration: Calibration,
    is_even: bool = False,
) -> Mix | None:  # fmt: skip
    """Data parallel with a share of the batch for every card, the best one; None where no share fits.

        step = max over cards of t(b) + max over cards of the exposed reduction, Σ b = global batch

    t: the estimate of a card alone with b sequences, at its best micro-batch, without the reduction, which goes at the
    pace of the slowest link. Cards are added one by one, D(s) = min over b of max(D(s - b), t(b)) for s sequences so
    far: the best whole shares, no rounding of ideal ones. Gradients are to be weighted by the sequences behind them.
    is_even: all cards take as many sequences, as plain data parallel has it.
    Holds for: zero_stage 0 to 2, global batches up to 4,096. Raises: UnsupportedError beyond.
    """
    ranks, batch = sum(kind.count for kind in cards), int(workload.global_batch_size)
    if int(plan.zero_stage) == 3:
        raise UnsupportedError("zero_stage 3 keeps unlike cards in step layer by layer; use 0, 1 or 2")
    if not ranks <= batch <= MOST_SEQUENCES:
        raise UnsupportedError(f"a batch of {batch:,} cannot be shared; use {ranks} to {MOST_SEQUENCES:,} sequences")
    of_card = [
        replica for kind in cards
        for replica in [_replica(workload, kind.system, ranks, plan, software, calibration)] * kind.count
    ]  # fmt: skip
    systems = [kind.system for kind in cards for _ in range(kind.count)]
    least = np.where(np.arange(batch + 1) == 0, 0.0, np.inf)
    taken = []
    for replica in of_card:
        longer, own = np.full(batch + 1, np.inf), np.zeros(batch + 1, dtype=np.int64)
        asked = np.arange(len(replica.seconds)) * ranks == batch if is_even else True
        for b in np.flatnonzero(np.isfinite(replica.seconds) & asked).tolist():
            tried = np.maximum(least[: batch + 1 - b], replica.seconds[b])
            own[b:] = np.where(tried < longer[b:], b, own[b:])
            longer[b:] = np.minimum(longer[b:], tried)
        least = longer
        taken.append(own)
    if least[batch] == np.inf:
        return None
    shares: list[Share] = []
    left, reduce = batch, 0.0
    for system, replica, own in zip(reversed(systems), reversed(of_card), reversed(taken), strict=True):
        b = int(own[left])
        left -= b
        reduce = max(reduce, float(replica.reduce_seconds[b]))
        busy, memory = float(replica.seconds[b]), float(replica.memory_bytes[b])
        shares.append(Share(system, b, int(replica.micro_batch_size[b]), None, 0, busy, memory))
    return Mix(tuple(reversed(shares)), float(least[batch]) + reduce)


def _replica(
    workload: Workload, system: System, ranks: int, plan: Plan, software: Software, calibration: Calibration
) -> _Replica:
    batch = int(workload.global_batch_size) - ranks + 1
    pairs = np.array([(b, n) for n in range(1, min(batch, MOST_MICRO_BATCH) + 1) for b in range(n, batch + 1, n)])
    sequences, sizes = pairs.T
    plans = replace(plan, data_parallel=ranks, micro_batch_size=sizes)
    found = estimate(replace(workload, global_batch_size=sequences * ranks), system, plans, software, calibration)
    reduce = np.broadcast_to(found.time.gradient_reduce_seconds, sizes.shape)
    _refuse(found, system)
    fits = surely_fits(found.memory.total_bytes, found.memory_capacity_bytes, found.memory_spread)
    seconds = np.where(fits & (np.asarray(found.problems) == 0), found.time.total_seconds - reduce, np.inf)
    order = np.lexsort((seconds, sequences))
    first = order[np.searchsorted(sequences[order], np.arange(1, batch + 1))]
    memory = np.broadcast_to(found.memory.total_bytes, sizes.shape)
    start = (np.inf, 0.0, 0, 0.0)
    columns = (seconds, reduce, sizes, memory)
    return _Replica(*(np.concatenate([[s], column[first]]) for s, column in zip(start, columns, strict=True)))


def _refuse(found: Estimate, system: System) -> None:
    """Raises UnsupportedError for what the cards cannot do, whatever their share."""
    for problem in CARD_CANNOT | Problem.SOFTWARE_SCHEDULE:
        if np.any(np.asarray(found.problems) & int(problem)):
            raise UnsupportedError(f"{system.gpu.name}: {problem.text}; {problem.remedy}")


def share_layers(
    workload: Workload, cards: Sequence[Cards], plan: Plan, software: Software, calibration: Calibration
) -> Mix | None:
    """A 1F1B pipeline with a card a stage: the best cuts, order of kinds and micro-batch; None where none fits.

    Layers are cut by search.partition, which applies the plan's recomputation where memory asks for it; hand-overs go
    at the pace of the slowest link. All orders of the kinds are tried, like cards side by side, and of each micro-batch
    the quickest by partition's bound; the best is simulated. The optimizer's and the host's seconds are the slowest
    card's at an even share. Holds for: zero_stage 0 to 2. Raises: UnsupportedError for models that have fewer layers
    than there are cards, and for convolutional ones.
    """
    stages, batch = sum(kind.count for kind in cards), int(workload.global_batch_size)
    if workload.model.layers + workload.model.encoder_layers + 2 < stages:
        raise UnsupportedError(f"{workload.model.key} has too few layers for {stages} stages")
    best: tuple[float, Mix] | None = None
    for size in (n for n in range(1, min(batch, MOST_MICRO_BATCH) + 1) if batch % n == 0):
        one = replace(
            plan, pipeline_parallel=stages, data_parallel=1, micro_batch_size=size, schedule=Schedule.ONE_F_ONE_B
        )
        for bound, mix in _pipelines(workload, cards, one, software, calibration):
            if best is None or bound < best[0]:
                best = bound, mix
    return best[1] if best else None


def _pipelines(
    workload: Workload, cards: Sequence[Cards], plan: Plan, software: Software, calibration: Calibration
) -> Iterator[tuple[float, Mix]]:
    """(bound of the step, simulated step) of the best cuts for every order of kinds that fits."""
    stages, m = int(plan.pipeline_parallel), int(workload.global_batch_size // plan.micro_batch_size)
    choices = tuple(dict.fromkeys((Recompute.NONE, Recompute(int(plan.recompute)))))
    units = [model_units(workload, kind.system, plan, software, calibration, choices) for kind in cards]
    usual = replace(plan, recompute=choices[0])
    found = [estimate(workload, kind.system, usual, software, calibration) for kind in cards]
    for one, kind in zip(found, cards, strict=True):
        _refuse(one, kind.system)
    after = max(float(f.time.optimizer_seconds + f.time.host_seconds + f.time.straggler_seconds) for f in found)
    send = np.maximum.reduce([one.send_seconds for one in units])
    many = np.asarray(in_flight(plan.schedule, stages, np.arange(stages), m, 1))
    for order in permutations(range(len(cards))):
        of_stage = [i for i in order for _ in range(cards[i].count)]
        joined = replace(units[0], seconds=np.stack([units[i].seconds for i in of_stage]), send_seconds=send)
        capacity = np.array([float(found[i].memory_capacity_bytes) for i in of_stage])
        room = np.asarray(safe_bytes(capacity, software.memory_spread))
        cut = partition(joined, room, many, float(m))
        if cut is not None:
            systems = [cards[i].system for i in of_stage]
            yield cut.seconds + after, _simulated(cut, joined.seconds, send, systems, plan, m, after)


def _simulated(
    cut: Partition, seconds: np.ndarray, send: np.ndarray, systems: Sequence[System], plan: Plan, m: int, after: float
) -> Mix:
    """The step of cut layers: a pass forward is a third of a stage's seconds, as products have it."""
    handed = np.concatenate([[0.0], send, [0.0]])
    own = cut.stage_seconds - handed[list(cut.cuts[:-1])] - handed[list(cut.cuts[1:])]
    thirds = own[None] / 3.0
    work = Work(thirds, thirds, thirds, float(send.max()))
    step = float(step_seconds(Schedule.ONE_F_ONE_B, len(own), m, 1, work)) + after
    last = len(cut.choices) - 1
    shares = []
    for i, system in enumerate(systems):
        start, end = cut.cuts[i], cut.cuts[i + 1]
        again = sum(cut.choices[u] > 0 for u in range(start, end) if 0 < u < last)
        size = int(plan.micro_batch_size)
        shares.append(Share(system, m * size, size, (start, end), again, m * float(own[i]), float(cut.stage_bytes[i])))
    return Mix(tuple(shares), step)
