"""What data-parallel ranks exchange of gradients and, with ZeRO-1 and 2, of new weights, and what of it is exposed."""

from dataclasses import dataclass

import numpy as np

from perfsim.core.arrays import once_each, shape_of
from perfsim.core.calibration import Calibration
from perfsim.core.fabric import Group
from perfsim.core.hardware import System, is_told
from perfsim.core.numbers import Floats
from perfsim.core.plan import Plan
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.formulas.collectives import all_reduce_seconds, half_seconds
from perfsim.formulas.groups import data_group, expert_data_group, replica_group, route, shard_group
from perfsim.formulas.memory import Held
from perfsim.formulas.overlap import bucket_count, queue_exposed_seconds
from perfsim.formulas.pipeline import microbatches_of


def trained_parameters(stages: tuple[Held, Held]) -> Floats:
    """Trained parameters of the fuller stage, per GPU."""
    return np.maximum(stages[0].trained_parameters, stages[1].trained_parameters)


def _reduced_over(workload: Workload, plan: Plan, stages: tuple[Held, Held]) -> list[tuple[Floats, Group]]:
    """The ranks that reduce each share of a stage's trained parameters: experts have fewer like them."""
    if workload.model.moe is None:
        return [(1.0, data_group(plan))]
    share = np.minimum(*(np.asarray(stage.expert_parameters / stage.parameters) for stage in stages))
    return [(1.0 - share, data_group(plan)), (share, expert_data_group(plan))]


@dataclass(frozen=True)
class _Reductions:
    """Seconds of exchanging a stage's gradients, as if nothing ran beside it [s], and in how many buckets.

    whole: all-reduced; half: reduce-scattered; gather: the new weights gathered.
    """

    whole: Floats
    half: Floats
    gather: Floats
    buckets: Floats
    gathered_buckets: Floats


def _reductions(
    workload: Workload, system: System, plan: Plan, software: Software, stages: tuple[Held, Held]
) -> _Reductions:
    """The exchanges of all trained parameters, computed once for each distinct choice that they depend on."""

    def compute(these: Plan, held: tuple[Held, Held], on: System) -> _Reductions:
        trained = trained_parameters(held)
        size = min(workload.precision.gradient_bytes, software.reduced_bytes_per_gradient) * trained
        sums: list[Floats] = [0.0] * 5
        for share, group in _reduced_over(workload, these, held):
            links, sent, weights = route(on, group), share * size, share * workload.precision.weight_bytes * trained
            bucket = np.maximum(software.gradient_bucket_bytes, software.gradient_bucket_rank_bytes * links.ranks)
            cut, cut_again = bucket_count(sent, bucket), bucket_count(weights, bucket)
            amounts = (
                cut * all_reduce_seconds(links, sent / cut),
                cut * half_seconds(links, sent / cut),
                cut_again * half_seconds(links, weights / cut_again),
                cut,
                cut_again,
            )
            sums = [total + amount for total, amount in zip(sums, amounts, strict=True)]
        return _Reductions(*sums)

    if shape_of(workload) != () or not is_told(system):
        return compute(plan, stages, system)
    choices = (
        system.number, plan.tensor_parallel, plan.context_parallel, plan.data_parallel, plan.expert_parallel,
        plan.pipeline_parallel, plan.virtual_stages, plan.schedule, plan.placement,
    )  # fmt: skip
    return once_each(choices, compute, plan, stages, system)


def gradient_seconds(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration,
    stages: tuple[Held, Held], pass_time: Floats,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Exposed seconds of reducing gradients and, with ZeRO-1 and 2, of gathering the new weights [s].

    Stage 0 all-reduces; 1 and 2 reduce-scatter gradients and gather weights; 3 was paid layer by layer, its
    replicas of a hybrid shard all-reduce. What overlaps leaves the last bucket and the multiprocessors it takes.
    Interleaved stages take as many micro-batches as there are stages through a chunk before they turn to the next, so
    chunks are through, or first needed, one after another over so many passes, and the last chunk is what sticks out.
    Source: NVIDIA/Megatron-LM megatron/core/pipeline_parallel/schedules.py (grad_sync_func, param_sync_func).
    """
    stage, found = np.asarray(plan.zero_stage), _reductions(workload, system, plan, software, stages)
    trained = trained_parameters(stages)
    between: Floats = 0.0
    if np.any(np.asarray(plan.hybrid_shard) > 0):
        size = min(workload.precision.gradient_bytes, software.reduced_bytes_per_gradient) * trained
        between = all_reduce_seconds(route(system, replica_group(plan)), size / shard_group(plan).ranks)
    reduce = np.where(stage >= 3, between, np.where(stage >= 1, found.half, found.whole))
    regather = np.where((stage == 1) | (stage == 2), found.gather, 0.0)
    if not software.gradient_bucket_bytes:
        return reduce, regather
    held = calibration.communication_multiprocessor_share
    rounds = np.minimum(plan.pipeline_parallel, microbatches_of(workload, plan))
    pass_time = pass_time * np.where(np.asarray(plan.virtual_stages) > 1, rounds, 1)
    chunk = np.where(np.asarray(plan.virtual_stages) > 1, 1.0 / plan.virtual_stages, 0.0)
    last = np.maximum(stages[0].embedding_parameters / np.maximum(trained, 1.0), chunk)
    return (
        queue_exposed_seconds(reduce, pass_time * (2.0 / 3.0), found.buckets, last, held),
        queue_exposed_seconds(regather, pass_time / 3.0, found.gathered_buckets, last, held),
    )
