"""Bytes on the fullest GPU, in named parts."""

from dataclasses import dataclass

import numpy as np

from perfsim.core.numbers import Bools, Floats, Ints
from perfsim.core.plan import Plan, Recompute, Schedule
from perfsim.core.results import Memory
from perfsim.core.software import Software
from perfsim.core.workload import Precision
from perfsim.formulas.pipeline import in_flight


@dataclass(frozen=True)
class Held:
    """What one pipeline stage holds, per GPU: parameters [count] and activations of one micro-batch [B].

    unit_parameters: the largest group that ZeRO-3 gathers at once.
    """

    parameters: Floats
    expert_parameters: Floats
    trained_parameters: Floats
    unit_parameters: Floats
    layers_saved_bytes: Floats
    layers_core_bytes: Floats
    layers_input_bytes: Floats
    layer_saved_bytes: Floats  # one layer's, while it is recomputed
    ends_saved_bytes: Floats
    logits: Floats
    stage: Ints


def memory(
    held: Held, plan: Plan, software: Software, precision: Precision, microbatches: Ints, states: float,
    base_bytes: float,
) -> Memory:  # fmt: skip
    """Bytes on a GPU of the stage that `held` describes [B].

    states: optimizer moments per trained parameter, in units of the precision's state format. base_bytes: bytes of a
    frozen parameter (0: the precision's). Activations: kept bytes x micro-batches in flight x activation_reserve;
    full recomputation keeps each layer's input and one layer's whole set.
    Source: docs/formulas.md#memory; ZeRO: Rajbhandari et al. 2020 (arXiv 1910.02054).
    """
    experts = held.expert_parameters
    others = held.parameters - experts
    replicas, copies = _shards(plan)

    def sharded(bytes_each: Floats, from_stage: int, share: Floats) -> Floats:
        is_sharded: Bools = np.asarray(plan.zero_stage) >= from_stage
        split = others / np.where(is_sharded, replicas, 1.0) + experts / np.where(is_sharded, copies, 1.0)
        return bytes_each * split * share

    trained = held.trained_parameters / held.parameters
    frozen_bytes = base_bytes or precision.weight_bytes
    adapters = np.where(trained < 0.5, trained, 0.0)  # adapters sit beside the frozen weights
    weights = sharded(np.where(trained < 1.0, frozen_bytes, precision.weight_bytes), 3, 1.0)
    weights = weights + sharded(precision.weight_bytes, 3, adapters)
    gradients = sharded(precision.gradient_bytes, 2, trained)
    optimizer = sharded(precision.master_bytes + states * precision.state_bytes, 1, trained)
    gathered = np.where(np.asarray(plan.zero_stage) >= 3, held.unit_parameters, 0.0)
    cast = np.where(np.asarray(plan.zero_stage) >= 3, 0.0, precision.weight_copy_bytes * held.parameters)
    is_replicated = (plan.data_parallel > 1) & (np.asarray(plan.zero_stage) < 2)
    buckets = np.where(is_replicated, software.gradient_bucket_copies * gradients, 0.0)
    buffers = gathered * (2.0 * precision.activation_bytes + precision.gradient_bytes) + cast + buckets
    activations = _activations(held, plan, microbatches) * software.activation_reserve
    logits = held.logits * software.logit_bytes * precision.activation_bytes / 2.0
    allocated = weights + gradients + optimizer + buffers + activations + logits
    has_peers = plan.gpus > np.ones_like(plan.gpus)
    return Memory(
        software.context_bytes,
        np.where(has_peers, software.collective_bytes, 0.0),
        weights,
        gradients,
        optimizer,
        activations,
        logits,
        buffers,
        (software.reserve - 1.0) * allocated,
    )


def _shards(plan: Plan) -> tuple[Floats, Floats]:
    """Ranks that ZeRO splits states over: the data-parallel group, or a hybrid shard's part of it; experts' own."""
    ranks = 1.0 * np.asarray(plan.data_parallel * plan.context_parallel)
    hybrid = np.asarray(plan.hybrid_shard) > 0
    ranks = np.where(hybrid, np.minimum(ranks, np.maximum(plan.hybrid_shard, 1)), ranks)
    return ranks, np.maximum(ranks / plan.expert_parallel, 1.0)


def _activations(held: Held, plan: Plan, microbatches: Ints) -> Floats:
    is_gpipe = np.asarray(plan.schedule) == Schedule.GPIPE
    flying = in_flight(plan.pipeline_parallel, held.stage, microbatches, plan.virtual_stages, is_gpipe)
    recompute = np.asarray(plan.recompute)
    kept = np.where(recompute == Recompute.SELECTIVE, held.layers_saved_bytes - held.layers_core_bytes, held.layers_saved_bytes)
    kept = np.where(recompute == Recompute.FULL, held.layers_input_bytes, kept)
    redone = np.where(recompute == Recompute.FULL, held.layer_saved_bytes, 0.0)
    return kept * flying + redone + held.ends_saved_bytes
