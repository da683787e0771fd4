"""Bytes on the fullest GPU, in named parts."""

from dataclasses import dataclass

import numpy as np

from perfsim.core.numbers import Floats, Ints
from perfsim.core.plan import Plan, Schedule
from perfsim.core.results import Memory
from perfsim.core.software import Software
from perfsim.core.workload import Precision
from perfsim.formulas.pipeline import in_flight


@dataclass(frozen=True)
class Held:
    """What the stages hold, per GPU: parameters [count] of the fullest stage, activations of one micro-batch [B].

    unit_parameters: the largest group that ZeRO-3 gathers at once. kept_bytes: of one stage's layers; redone_bytes: of
    the layer that is being recomputed; first and last: what the first and the last stage keep besides.
    """

    parameters: Floats
    expert_parameters: Floats
    trained_parameters: Floats
    unit_parameters: Floats
    kept_bytes: Floats
    redone_bytes: Floats
    first_bytes: Floats
    last_bytes: Floats
    logits: Floats


def memory(
    held: Held, plan: Plan, software: Software, precision: Precision, microbatches: Ints, states: float,
    base_bytes: float,
) -> Memory:  # fmt: skip
    """Bytes on the fullest GPU [B]: states of the fullest stage, activations of the fuller of first and last stage.

    states: optimizer moments per trained parameter, in units of the precision's state format. base_bytes: bytes of a
    frozen parameter (0: the precision's). Activations: kept bytes x micro-batches in flight x activation_reserve;
    full recomputation keeps each layer's input and one layer's whole set.
    Source: docs/formulas.md#memory; ZeRO: Rajbhandari et al. 2020 (arXiv 1910.02054).
    """
    stage = np.asarray(plan.zero_stage)
    replicas = _shard_ranks(plan)
    experts, others = held.expert_parameters, held.parameters - held.expert_parameters
    expert_ranks = np.maximum(replicas / plan.expert_parallel, 1.0)

    def on_rank(from_stage: int) -> Floats:
        """Parameters whose state this rank holds when it is sharded from a ZeRO stage on."""
        is_sharded = stage >= from_stage
        return others / np.where(is_sharded, replicas, 1.0) + experts / np.where(is_sharded, expert_ranks, 1.0)

    trained = held.trained_parameters / held.parameters
    is_adapter = trained < 0.5  # adapters sit beside the frozen weights
    frozen_bytes = base_bytes or precision.weight_bytes
    weight_bytes = np.where(is_adapter, frozen_bytes + precision.weight_bytes * trained, precision.weight_bytes)
    weights = weight_bytes * on_rank(3)
    gradients = precision.gradient_bytes * trained * on_rank(2)
    optimizer = (precision.master_bytes + states * precision.state_bytes) * trained * on_rank(1)
    gathered = held.unit_parameters * (2.0 * precision.activation_bytes + precision.gradient_bytes)
    # autocast keeps copies of what is trained; frozen weights are stored in the compute format, or packed
    cast = precision.weight_copy_bytes * held.parameters * np.where(is_adapter, trained, 1.0)
    is_replicated = (np.asarray(plan.data_parallel) > 1) & (stage < 2)
    buckets = np.where(is_replicated, software.gradient_bucket_copies * gradients, 0.0)
    buffers = np.where(stage >= 3, gathered, cast + buckets)
    activations, logits = _activations(held, plan, software, precision, microbatches)
    allocated = weights + gradients + optimizer + buffers + activations + logits
    return Memory(
        software.context_bytes,
        np.where(np.asarray(plan.gpus) > 1, software.collective_bytes, 0.0),
        weights,
        gradients,
        optimizer,
        activations,
        logits,
        buffers,
        (software.reserve - 1.0) * allocated,
    )


def _shard_ranks(plan: Plan) -> Floats:
    """Ranks that ZeRO splits states over: the data-parallel group, or a hybrid shard's part of it."""
    ranks = 1.0 * np.asarray(plan.data_parallel * plan.context_parallel)
    hybrid = np.asarray(plan.hybrid_shard)
    return np.where(hybrid > 0, np.minimum(ranks, np.maximum(hybrid, 1)), ranks)


def _activations(
    held: Held, plan: Plan, software: Software, precision: Precision, microbatches: Ints
) -> tuple[Floats, Floats]:
    """(kept activations, logits) of the fuller of the first and the last stage [B]."""
    p, v = np.asarray(plan.pipeline_parallel), plan.virtual_stages
    is_gpipe = np.asarray(plan.schedule) == Schedule.GPIPE
    logits = held.logits * software.logit_bytes * precision.activation_bytes / 2.0
    is_one = p == 1
    reserve = software.activation_reserve
    of_first = held.first_bytes + np.where(is_one, held.last_bytes, 0.0) + held.redone_bytes
    of_last = held.last_bytes + held.redone_bytes
    first = reserve * (held.kept_bytes * in_flight(p, 0, microbatches, v, is_gpipe) + of_first)
    last = reserve * (held.kept_bytes * in_flight(p, p - 1, microbatches, v, is_gpipe) + of_last)
    is_last_fuller = is_one | (last + logits > first)
    return np.where(is_last_fuller & ~is_one, last, first), np.where(is_last_fuller, logits, 0.0)
