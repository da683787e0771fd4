"""When nothing fits: the smallest changes to a space or a job that make something fit."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from perfsim.core.hardware import System
from perfsim.core.plan import Offload, Plan, Recompute
from perfsim.core.results import Estimate
from perfsim.core.workload import DEFAULT_LORA_RANK, Task, Workload
from perfsim.formulas.parameters import with_adapters
from perfsim.search.space import Space

if TYPE_CHECKING:
    from perfsim.search.sweep import Sweep


def nearest_fit(sweep: "Sweep") -> list[tuple[str, System, Plan, Estimate]]:
    """Changes in the order a person would try them, each with the best plan that it allows; empty when none helps."""
    from perfsim.search.sweep import sweep as search

    found = []
    for text, workload, space in _changes(sweep.workload, sweep.space):
        tried = search(workload, sweep.software, sweep.calibration, sweep.systems, space, sweep.site, sweep.objective)
        if len(tried):
            found.append((text, *tried.best()))
        if len(found) == 3:
            break
    return found


def _changes(workload: Workload, space: Space) -> Iterator[tuple[str, Workload, Space]]:
    recompute = replace(space, recompute=(Recompute.FULL,))
    sharded = replace(space, zero_stage=(3,))
    small = replace(space, micro_batch_size=(1,))
    if Recompute.FULL not in space.recompute:
        yield "recompute every layer (recompute = full)", workload, recompute
    if 1 not in space.micro_batch_size:
        yield "micro_batch_size = 1", workload, small
    if 3 not in space.zero_stage and max(space.counts) > 1:
        yield "shard weights, gradients and optimizer (zero_stage = 3)", workload, sharded
    least = replace(recompute, micro_batch_size=(1,), zero_stage=(3,))
    yield "recompute = full, micro_batch_size = 1 and zero_stage = 3 together", workload, least
    spared = replace(least, offload=(Offload.OPTIMIZER,))
    yield "the same with the optimizer in host memory (offload = optimizer)", workload, spared
    if not (workload.is_adapter or workload.model.nets):
        lora = with_adapters(workload, Task.LORA, DEFAULT_LORA_RANK)
        yield "train LoRA adapters of rank 16 instead of all weights (task = lora)", lora, least
    if workload.task is not Task.QLORA and not workload.model.nets:
        qlora = with_adapters(workload, Task.QLORA, DEFAULT_LORA_RANK)
        yield "train LoRA adapters on a 4-bit base (task = qlora)", qlora, least
    more = max(space.counts)
    for _ in range(6):
        more *= 2
        wider = replace(least, counts=(more,), tensor_parallel=(), pipeline_parallel=())
        yield f"{more} GPUs, sharded and recomputed", workload, wider
