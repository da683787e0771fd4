"""Branch and bound over a space of plans: choices are made a few at a time, and what cannot win is not looked into.

Plans grow as rows of arrays. First the degrees, of which few combinations are legal; then what a micro-batch costs;
then the schedule; at last how states are sharded. After each step the rows go that are illegal, that are another plan
under a second name, that are too large by the bound of memory, or that plans found so far beat by the bounds of time
and energy. What is left at the end is costed in full, the rows with the best bounds first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import prod

import numpy as np

from perfsim.core.arrays import concatenate, take
from perfsim.core.arrays import rows as rows_of
from perfsim.core.numbers import Ints
from perfsim.core.plan import CARD_CANNOT, ContextExchange, Placement, Plan, Problem, Recompute, Schedule
from perfsim.core.results import Estimate
from perfsim.estimate import estimate
from perfsim.formulas.cost import has_price
from perfsim.formulas.fits import hardly_fits, surely_fits
from perfsim.formulas.groups import data_group
from perfsim.formulas.legality import problems
from perfsim.graphs.stage import StageCosts, stage_costs
from perfsim.search.best import Incumbents, kept
from perfsim.search.bounds import Bounds, bounds
from perfsim.search.certificate import OBJECTIVES, Certificate
from perfsim.search.question import Question
from perfsim.search.space import AXES, Rows, Space, cut, plans

ROWS_AT_ONCE = 200_000  # about 0.2 GB of arrays
PLANS_A_PIECE = 500_000_000  # more share what they found, fewer share the work
FEW = 4_000  # plans that are sooner costed than bounded
FIRST_BATCH = 20_000  # plans costed before the first bounds are held against what they found


@dataclass(frozen=True)
class Step:
    """Choices that are made together, and the problems that they settle."""

    names: tuple[str, ...]
    settled: Problem


P = Problem
DEGREES = (
    Step(("counts", "tensor_parallel"), P.SYSTEM | CARD_CANNOT | P.HEADS | P.NODE | P.GPUS | P.SOCKET),
    Step(("pipeline_parallel",), P.LAYERS | P.GPUS),
    Step(("context_parallel", "context_exchange"), P.SEQUENCE | P.CONTEXT_HEADS | P.GPUS),
    Step(("expert_parallel",), P.EXPERTS | P.BATCH),
)
MICRO_BATCH = Step(("micro_batch_size", "recompute", "recompute_layers", "placement"), P.BATCH)
SCHEDULE = Step(("virtual_stages", "schedule"), P.LAYERS | P.INTERLEAVE | P.SCHEDULE | P.SOFTWARE_SCHEDULE)
STATES = Step(("zero_stage", "hybrid_shard", "offload"), P.HYBRID | P.OFFLOAD | P.IN_BACKWARD)
CUT = ("counts", "tensor_parallel", "pipeline_parallel", "context_parallel", "expert_parallel", "micro_batch_size")


@dataclass(frozen=True)
class Piece:
    """A part of a question that is searched by itself: systems start to stop, and a part of the space.

    first: where the part begins on each axis of the whole space.
    """

    start: int
    stop: int
    first: tuple[int, ...]
    space: Space


@dataclass(frozen=True)
class Found:
    """The plans worth keeping, in the order of systems and of the space, and the certificate of all.

    systems, positions [plans]: which of the question's systems, and where in its space.
    """

    certificate: Certificate
    systems: np.ndarray
    positions: np.ndarray
    plans: Plan
    estimates: Estimate

    def __len__(self) -> int:
        return len(self.systems)


def pieces(question: Question, plans_a_piece: int = PLANS_A_PIECE) -> Iterator[Piece]:
    """The question in parts of at most `plans_a_piece` plans, or one combination of degrees; the same whoever asks."""
    number = len(question.systems)
    for first, part in cut(question.space, CUT, plans_a_piece):
        at_once = max(1, plans_a_piece // part.size)
        for start in range(0, number, at_once):
            yield Piece(start, min(start + at_once, number), first, part)


def examine(question: Question, piece: Piece) -> Found:
    """Every plan of the piece, costed or shown not to be worth it."""
    return Search(question, piece).run()


def together(question: Question, found: Sequence[Found]) -> Found:
    """What is worth keeping of all that was found."""
    certificate = reduce(Certificate.plus, (one.certificate for one in found))
    some = [one for one in found if len(one)] or found[:1]
    systems, positions = (np.concatenate([getattr(one, name) for one in some]) for name in ("systems", "positions"))
    order = np.lexsort((positions, systems))
    of_plans, estimates = concatenate([one.plans for one in some]), concatenate([one.estimates for one in some])
    of_plans, estimates = take(of_plans, order), take(estimates, order)
    groups = group_of(question, systems[order], of_plans.gpus)
    keep = kept(question.figures_of(estimates), groups, is_safe(estimates))
    order = order[keep]
    return Found(certificate, systems[order], positions[order], take(of_plans, keep), take(estimates, keep))


def group_of(question: Question, systems: np.ndarray, gpus: Ints) -> np.ndarray:
    """A number for the system and count of each plan, which are compared with each other."""
    groups: np.ndarray = systems * (max(question.space.counts) + 1) + gpus
    return groups


def is_safe(estimates: Estimate) -> np.ndarray:
    """Whether a plan leaves the memory that the prediction may be short of."""
    return surely_fits(estimates.memory.total_bytes, estimates.memory_capacity_bytes, estimates.memory_spread)


class Search:
    """The search of one piece."""

    def __init__(self, question: Question, piece: Piece) -> None:
        self._question, self._piece, self._space = question, piece, piece.space
        self._memory_bytes = np.array([float(system.gpu.memory_bytes) for system in question.systems])
        self._incumbents = Incumbents()
        self._found = nothing(question)
        self._counts = dict.fromkeys(("illegal", "repeated", "too_large", "beaten", "costed", "runnable"), 0)
        self._problems = dict.fromkeys(Problem, 0)
        self._least_left = dict.fromkeys(OBJECTIVES, np.inf)

    def run(self) -> Found:
        """The whole piece."""
        degrees = Rows(np.arange(self._piece.start, self._piece.stop), {})
        for step in DEGREES:
            degrees, _ = self.legal(degrees, step)
        at_once = max(1, ROWS_AT_ONCE // self._width(MICRO_BATCH))
        for start in range(0, len(degrees), at_once):
            rows, _ = self.legal(degrees.at(np.arange(start, min(start + at_once, len(degrees)))), MICRO_BATCH)
            if len(rows):
                self._narrow(rows, self._costs(rows), (SCHEDULE, STATES))
        certificate = Certificate(
            considered=self._space.size * (self._piece.stop - self._piece.start), **self._counts,
            problems={p: n for p, n in self._problems.items() if n}, least_left=self._least_left,
        )  # fmt: skip
        return replace(self._found, certificate=certificate)

    def _narrow(self, rows: Rows, costs: StageCosts, steps: Sequence[Step]) -> None:
        """Cost the rows' completions by the choices of `steps`, but for those that cannot win."""
        if not steps or len(rows) * self._open(rows) <= FEW:
            self._grow(rows, costs, steps)
            return
        rows, costs, least = self._bounded(rows, costs, has_schedule=SCHEDULE not in steps)
        first, most = FIRST_BATCH // self._open(rows), ROWS_AT_ONCE // self._width(steps[0])
        for batch in _growing(len(rows), max(1, first), max(1, most)):
            chosen = batch[self._may_win(rows.at(batch), take(least, batch))]
            self._grow(rows.at(chosen), take(costs, chosen, (len(rows),)), steps)

    def _grow(self, rows: Rows, costs: StageCosts, steps: Sequence[Step]) -> None:
        """Make the next choices; when all are made, cost the rows."""
        if not len(rows):
            return
        if not steps:
            self._cost(rows, costs)
            return
        grown, parents = self.legal(rows, steps[0])
        self._narrow(grown, take(costs, parents, (len(rows),)), steps[1:])

    def _costs(self, rows: Rows) -> StageCosts:
        """What a micro-batch costs, which the later choices do not change."""
        question, system = self._question, take(self._question.fleet, rows.systems)
        plan = plans(rows.values(self._space), question.software)
        return stage_costs(question.workload, system, plan, question.software, question.calibration)

    def legal(self, rows: Rows, step: Step) -> tuple[Rows, np.ndarray]:
        """The rows with every legal combination of the step's choices that has no other name, and whose each is."""
        number = len(rows)
        rows = rows.times(self._space, step.names)
        if not number:
            return rows, np.arange(0)
        values, software = rows.values(self._space), self._question.software
        plan = plans(values, software)
        system, socket_watts = take(self._question.fleet, rows.systems), self._question.site.socket_watts
        bits = problems(self._question.workload, system, plan, software, socket_watts)
        bits = (bits | np.where(plan.gpus != values["counts"], int(P.GPUS), 0)) & int(step.settled)
        is_first = ~_is_repeated(self._space, rows, plan)
        self._count(rows, illegal=bits != 0, repeated=(bits == 0) & ~is_first)
        self._stop(rows, bits)
        chosen = np.flatnonzero((bits == 0) & is_first)
        return rows.at(chosen), chosen // (len(rows) // number)

    def _bounded(self, rows: Rows, costs: StageCosts, has_schedule: bool) -> tuple[Rows, StageCosts, Bounds]:
        """The rows that are not too large, with their bounds: the best of each group first, then the second best ..."""
        question, system = self._question, take(self._question.fleet, rows.systems)
        plan = plans(rows.values(self._space), question.software)
        least = bounds(question, system, plan, costs, self._space, has_schedule)
        too_large = hardly_fits(least.memory_bytes, self._capacity(rows), question.software.memory_spread)
        self._count(rows, too_large=too_large)
        self._stop(rows, np.where(too_large, int(P.MEMORY), 0))
        fits = np.flatnonzero(~too_large)
        groups = self._groups(rows)[fits]
        order = np.lexsort((least.seconds[fits], groups))
        rank = np.arange(len(order)) - np.searchsorted(groups[order], groups[order])
        order = fits[order[np.argsort(rank, kind="stable")]]
        return rows.at(order), take(costs, order, (len(rows),)), take(least, order)

    def _may_win(self, rows: Rows, least: Bounds) -> np.ndarray:
        """Indices of the rows that what was found so far does not beat."""
        question = self._question
        may_be_safe = surely_fits(least.memory_bytes, self._capacity(rows), question.software.memory_spread)
        figures = question.figures(least.seconds, least.joules, least.memory_bytes)
        wins = self._incumbents.may_win(figures, self._groups(rows), may_be_safe)
        self._count(rows, beaten=~wins)
        left = ~wins & may_be_safe
        is_priced = has_price(take(question.fleet, rows.systems), rows.values(self._space)["counts"], question.site)
        usd = np.where(is_priced, least.job_usd, np.inf)
        for name, amount in {"time": least.job_hours, "money": usd, "energy": least.job_kwh}.items():
            smallest = float(np.min(amount[left], initial=np.inf))
            self._least_left[name] = min(self._least_left[name], smallest)
        return np.flatnonzero(wins)

    def _cost(self, rows: Rows, costs: StageCosts) -> None:
        """Cost the rows, all of whose choices are made, and keep what is worth it."""
        question, shape = self._question, (len(rows),)
        plan = plans(rows.values(self._space), question.software)
        system = take(question.fleet, rows.systems)
        found = estimate(question.workload, system, plan, question.software, question.calibration, question.site, costs)
        bits = np.broadcast_to(found.problems, shape)
        self._count(rows, costed=np.ones(shape, dtype=bool), runnable=bits == 0)
        self._stop(rows, bits)
        runs = np.flatnonzero(bits == 0)
        estimates = rows_of(replace(found, operations={}), runs, shape)
        places = [rows.places[name][runs] + at for name, at in zip(AXES, self._piece.first, strict=True)]
        positions = np.ravel_multi_index(places, question.space.shape)
        new = Found(Certificate(), rows.systems[runs], positions, rows_of(plan, runs, shape), estimates)
        self._found = together(question, [self._found, new])
        self._incumbents.learn(
            question.figures_of(self._found.estimates), group_of(question, self._found.systems, self._found.plans.gpus),
            is_safe(self._found.estimates),
        )  # fmt: skip

    def _groups(self, rows: Rows) -> np.ndarray:
        """The group of each row, in which it competes."""
        return group_of(self._question, rows.systems, rows.values(self._space)["counts"])

    def _capacity(self, rows: Rows) -> np.ndarray:
        """Memory that each row's card lets a process have [B]."""
        capacity: np.ndarray = self._question.calibration.visible_memory_share * self._memory_bytes[rows.systems]
        return capacity

    def _width(self, step: Step) -> int:
        """Combinations of a step's choices."""
        return prod(len(getattr(self._space, name)) for name in step.names)

    def _open(self, rows: Rows) -> int:
        """Plans that each row stands for."""
        return prod(len(getattr(self._space, name)) for name in AXES if name not in rows.places)

    def _count(self, rows: Rows, **masks: np.ndarray) -> None:
        """Put the plans that the rows under each mask stand for into the certificate."""
        for name, mask in masks.items():
            self._counts[name] += int(np.count_nonzero(mask)) * self._open(rows)

    def _stop(self, rows: Rows, bits: np.ndarray) -> None:
        """Put them there under the problems that stop them."""
        for problem in Problem:
            self._problems[problem] += int(np.count_nonzero(bits & int(problem))) * self._open(rows)


def _is_repeated(space: Space, rows: Rows, plan: Plan) -> np.ndarray:
    """Whether a row is another plan of the space under a second name, or no better than it in anything.

    - Without a pipeline, placement and schedule say nothing: 1F1B stands for all schedules (GPipe would hold every
      micro-batch's activations for no time saved). Where one rank sees all samples, placement says nothing either.
    - Without context-parallel ranks nothing is exchanged: the ring stands for all exchanges.
    - recompute_layers counts under full recomputation alone, hybrid_shard in ZeRO-3 alone, and a shard over all ranks
      is no hybrid.
    - One rank has nothing to share: ZeRO-1 and 2 are ZeRO-0, with the same formulas over a group of one.
    A plan that stands for others is in the space itself, or they are all kept.
    """
    ranks = data_group(plan).ranks
    is_alone, has_stages = ranks == 1, np.asarray(plan.pipeline_parallel) > 1
    repeated = np.zeros(len(rows), dtype=bool)

    def drop(name: str, where: np.ndarray, stands: int) -> None:
        """The rows there whose choice is not what stands for all of them."""
        nonlocal repeated
        values = getattr(space, name)
        if name in rows.places and stands in values:
            repeated = repeated | (where & (rows.places[name] != values.index(stands)))

    drop("placement", ~has_stages | is_alone, Placement.DATA_INNER)
    drop("schedule", ~has_stages, Schedule.ONE_F_ONE_B)
    drop("context_exchange", np.asarray(plan.context_parallel) == 1, ContextExchange.RING)
    drop("recompute_layers", np.asarray(plan.recompute) != Recompute.FULL, space.recompute_layers[0])
    zero = np.asarray(plan.zero_stage)
    drop("hybrid_shard", zero != 3, space.hybrid_shard[0])
    drop("hybrid_shard", (zero == 3) & (np.asarray(plan.hybrid_shard) >= ranks), 0)
    drop("zero_stage", is_alone & (zero < 3), 0)
    return repeated


def _growing(total: int, first: int, most: int) -> Iterator[np.ndarray]:
    """Batches of `total` rows in order: `first` rows, then four times as many, and so on up to `most`."""
    start, size = 0, min(first, most)
    while start < total:
        yield np.arange(start, min(start + size, total))
        start, size = start + size, min(4 * size, most)


def nothing(question: Question) -> Found:
    """No plans."""
    plan, none = Plan(), np.zeros(0, dtype=np.int64)
    costs = estimate(
        question.workload, question.systems[0], plan, question.software, question.calibration, question.site
    )
    estimates = rows_of(replace(costs, operations={}), none, (1,))
    return Found(Certificate(), none, none, rows_of(plan, none, (1,)), estimates)
