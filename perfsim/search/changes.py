"""What would make one plan fit, or meet a deadline: the smallest changes that do, with what each costs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.plan import Plan, Recompute
from perfsim.core.results import Estimate
from perfsim.core.site import Site
from perfsim.core.software import Software
from perfsim.core.workload import DEFAULT_LORA_RANK, PRECISIONS, Task, Workload
from perfsim.estimate import estimate
from perfsim.formulas.cost import has_price
from perfsim.formulas.fits import surely_fits
from perfsim.formulas.parameters import with_adapters

MACHINES_KEPT = 4


@dataclass(frozen=True)
class Job:
    """One plan for one workload on one system."""

    workload: Workload
    system: System
    plan: Plan


@dataclass(frozen=True)
class Changed:
    """A change in words, and what comes of it; is_same_training: the same numbers are trained in the same way."""

    text: str
    is_same_training: bool
    job: Job
    estimate: Estimate


Step = tuple[str, Callable[[Job], Job]]


def minimal_changes(
    job: Job, software: Software, calibration: Calibration, site: Site, machines: Sequence[tuple[str, System, int]] = ()
) -> list[Changed]:
    """Changes after which the plan runs, surely fits and meets the site's deadline, cheapest first.

    Of every kind of change the mildest that is enough: micro-batch, recomputation of as few layers as need be, ZeRO,
    degrees, formats, adapters. Where no single change that trains the same is enough, pairs of the strongest of two
    kinds that are not enough alone, so nothing listed has a part that would do. Of `machines` (words, system, GPUs;
    data_parallel takes what is new) the best few. First what trains the same, then number formats and adapters; in
    each by dollars of the job, what has no price last, by hours.
    """

    def tried(change: Step) -> Changed | None:
        text, apply = change
        changed = apply(job)
        found = estimate(changed.workload, changed.system, changed.plan, software, calibration, site)
        same = changed.workload is job.workload
        return Changed(text, same, changed, found) if is_enough(found, site) else None

    def price(changed: Changed) -> tuple[bool, bool, float]:
        is_priced = bool(has_price(changed.job.system, changed.job.plan.gpus, site))
        cost = changed.estimate.job_usd if is_priced else changed.estimate.job_hours
        return not changed.is_same_training, not is_priced, float(cost)

    kinds = [list(kind) for kind in _kinds(job)]
    found = [next(filter(None, map(tried, kind)), None) for kind in kinds]
    if not any(one and one.is_same_training for one in found):
        alone = [kind[-1] for kind, one in zip(kinds, found, strict=True) if kind and one is None]
        found += [tried(_both(one, other)) for one, other in combinations(alone, 2)]
    moved = [tried((text, _on(system, count))) for text, system, count in machines]
    most = sorted(filter(None, moved), key=price)[:MACHINES_KEPT]
    return sorted([*filter(None, found), *most], key=price)


def is_enough(found: Estimate, site: Site) -> bool:
    """The plan runs, leaves the memory that a prediction may be short of, and meets the deadline."""
    fits = surely_fits(found.memory.total_bytes, found.memory_capacity_bytes, found.memory_spread)
    in_time = not site.deadline_hours or float(found.job_hours) <= site.deadline_hours
    return not int(found.problems) and bool(fits) and in_time


def _both(one: Step, other: Step) -> Step:
    return f"{one[0]} and {other[0]}", lambda job: other[1](one[1](job))


def _plan(**fields: Any) -> Callable[[Job], Job]:
    return lambda job: replace(job, plan=replace(job.plan, **fields))


def _workload(**fields: Any) -> Callable[[Job], Job]:
    return lambda job: replace(job, workload=replace(job.workload, **fields))


def _adapted(task: Task, rank: int) -> Callable[[Job], Job]:
    return lambda job: replace(job, workload=with_adapters(job.workload, task, rank))


def _on(system: System, gpus: int) -> Callable[[Job], Job]:
    def moved(job: Job) -> Job:
        plan = job.plan
        data = max(1, int(gpus * plan.data_parallel // plan.gpus))
        return replace(job, system=system, plan=replace(plan, data_parallel=data))

    return moved


def _kinds(job: Job) -> Iterator[Iterator[Step]]:
    """The kinds of change, the mildest of each first."""
    yield _micro_batches(job, is_larger=False)
    yield _micro_batches(job, is_larger=True)
    yield _recomputations(job)
    yield _shards(job.plan)
    yield _degrees(job.plan, "tensor_parallel")
    yield _degrees(job.plan, "pipeline_parallel")
    yield _formats(job.workload)
    yield _adapters(job.workload)


def _micro_batches(job: Job, is_larger: bool) -> Iterator[Step]:
    share, now = int(job.workload.global_batch_size // job.plan.data_parallel), int(job.plan.micro_batch_size)
    sizes = [n for n in range(1, min(share, 1024) + 1) if share % n == 0 and n != now and (n > now) == is_larger]
    for size in sizes if is_larger else reversed(sizes):
        yield f"micro_batch_size = {size}", _plan(micro_batch_size=size)


def _recomputations(job: Job) -> Iterator[Step]:
    """More where memory is short, from selective over ever more layers to all; then less, which is quicker."""
    layers, now = job.workload.model.layers + job.workload.model.encoder_layers, int(job.plan.recompute)
    if job.workload.model.nets:
        return
    if now == Recompute.NONE:
        yield "recompute = selective", _plan(recompute=Recompute.SELECTIVE)
    if now != Recompute.FULL:
        stages = int(job.plan.pipeline_parallel)
        for count in range(stages, layers, stages):
            text = f"recompute = full for {count} of {layers} layers"
            yield text, _plan(recompute=Recompute.FULL, recompute_layers=count)
        yield "recompute = full", _plan(recompute=Recompute.FULL)
    else:
        yield "recompute = selective", _plan(recompute=Recompute.SELECTIVE, recompute_layers=0)
        yield "recompute = none", _plan(recompute=Recompute.NONE, recompute_layers=0)


def _shards(plan: Plan) -> Iterator[Step]:
    if int(plan.data_parallel) > 1:
        for stage in range(int(plan.zero_stage) + 1, 4):
            yield f"zero_stage = {stage}", _plan(zero_stage=stage)


def _degrees(plan: Plan, name: str) -> Iterator[Step]:
    """More ranks of one kind instead of replicas."""
    now, data = int(getattr(plan, name)), int(plan.data_parallel)
    for times in (2, 4, 8, 16):
        if data % times == 0:
            yield f"{name} = {now * times}", _plan(**{name: now * times, "data_parallel": data // times})


def _formats(workload: Workload) -> Iterator[Step]:
    if workload.optimizer in ("adam", "adamw"):
        yield f"optimizer = {workload.optimizer}8bit", _workload(optimizer=f"{workload.optimizer}8bit")
    if workload.precision.key in ("fp32", "tf32", "amp-bf16", "bf16-mixed"):
        yield "precision = bf16", _workload(precision=PRECISIONS["bf16"])


def _adapters(workload: Workload) -> Iterator[Step]:
    if workload.model.nets:
        return
    rank = workload.lora_rank or DEFAULT_LORA_RANK
    if not workload.is_adapter:
        yield f"task = lora of rank {rank}", _adapted(Task.LORA, rank)
    if workload.task is not Task.QLORA:
        yield f"task = qlora of rank {rank}", _adapted(Task.QLORA, rank)
