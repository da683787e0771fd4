"""What a pipeline stage does with one micro-batch: the graphs' costs, the host and recomputation put together."""

from dataclasses import dataclass, replace

import numpy as np

from perfsim.core.arrays import shape_of, take
from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.numbers import Floats
from perfsim.core.plan import Plan, Recompute
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.formulas.roofline import stretch_seconds
from perfsim.graphs.costs import Cost, StepCosts, step_costs


@dataclass(frozen=True)
class Passes:
    """Seconds of one micro-batch's passes; launch is what the host adds to the kernels' seconds."""

    forward: Floats
    backward: Floats
    recompute: Floats
    launch: Floats

    @property
    def total(self) -> Floats:
        """All of them."""
        return self.forward + self.backward + self.recompute + self.launch


@dataclass(frozen=True)
class StageCosts:
    """One GPU, one micro-batch: the mean layer, all layers' weights and what they keep, and both ends.

    Seconds [s] of the mean layer (tensor, context and expert exchanges: what sticks out), of embedding and head
    together (`ends`) and of the head alone; weights, trained weights and tensors [count]; kept_bytes of all layers
    under the plan's recomputation, redone_bytes of the one layer that is being recomputed [B]; FLOPs of everything.
    """

    layer: Passes
    ends: Passes
    head_seconds: Floats
    tensor_seconds: Floats
    context_seconds: Floats
    expert_seconds: Floats
    weights: Floats
    trained_weights: Floats
    expert_weights: Floats
    tensors: Floats
    ends_weights: Floats
    ends_trained_weights: Floats
    ends_tensors: Floats
    kept_bytes: Floats
    redone_bytes: Floats
    embedding_bytes: Floats
    head_bytes: Floats
    logits: Floats
    model_flops: Floats
    hardware_flops: Floats
    layer_count: int
    operations: dict[str, tuple[Floats, Floats]]


def stage_costs(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration
) -> StageCosts:
    """The costs of a plan's stages, computed once for each distinct choice that they depend on.

    A long flat list of plans repeats few combinations of tensor, context and expert degrees, micro-batch and
    recomputation: they are costed once and handed out by index, the same bits as costing every row (without the
    seconds of single operations).
    """
    choices = (plan.tensor_parallel, plan.context_parallel, plan.expert_parallel, plan.micro_batch_size, plan.recompute)
    columns = [np.asarray(c) for c in (*choices, plan.sequence_parallel)]
    is_flat = max(c.ndim for c in columns) == 1 and max(c.size for c in columns) > 64
    if not is_flat or shape_of(system, workload) != ():
        return _put_together(step_costs(workload, system, plan, software, calibration), plan, software)
    key = np.zeros(1, dtype=np.int64)
    for column in columns:
        key = key * (int(column.max()) + 1) + column
    first, index = _distinct(key)
    distinct = take(plan, first, np.broadcast_shapes(key.shape, shape_of(plan)))
    found = _put_together(step_costs(workload, system, distinct, software, calibration), distinct, software)
    return take(replace(found, operations={}), index, first.shape)


def _distinct(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(first place of every distinct key, which of them each row has)."""
    largest = int(key.max())
    if largest > 50 * len(key) + 100_000:
        _, first, index = np.unique(key, return_index=True, return_inverse=True)
        return first, index
    place = np.full(largest + 1, -1, dtype=np.int64)
    place[key[::-1]] = np.arange(len(key) - 1, -1, -1)
    first = place[place >= 0]
    place[place >= 0] = np.arange(len(first))
    return first, place[key]


def _put_together(costs: StepCosts, plan: Plan, software: Software) -> StageCosts:
    layers, layer, count = costs.layers, costs.layer, costs.layer_count
    ends = costs.embedding.plus(costs.head)
    recompute = np.asarray(plan.recompute)
    is_full, is_selective = recompute == Recompute.FULL, recompute == Recompute.SELECTIVE
    kept = np.where(is_selective, layers.saved_bytes - layers.core_saved_bytes, layers.saved_bytes)
    again = np.where(is_full, layers.forward_flops, np.where(is_selective, layers.core_flops, 0.0))
    flops = layers.forward_flops + layers.backward_flops + ends.forward_flops + ends.backward_flops
    repeats = 1.0 + is_full
    return StageCosts(
        layer=_layer_passes(layers.times(1.0 / count), plan, software),
        ends=_passes(ends, software),
        head_seconds=_passes(costs.head, software).total,
        tensor_seconds=layer.tensor_forward_seconds * repeats + layer.tensor_backward_seconds,
        context_seconds=layers.context_seconds / count,
        expert_seconds=layers.expert_seconds / count * (1.0 + repeats) / 2.0,
        weights=layers.weights,
        trained_weights=layers.trained_weights,
        expert_weights=layers.expert_weights,
        tensors=layers.tensors,
        ends_weights=ends.weights,
        ends_trained_weights=ends.trained_weights,
        ends_tensors=ends.tensors,
        kept_bytes=np.where(is_full, layers.input_bytes, kept),
        redone_bytes=np.where(is_full, layer.saved_bytes, 0.0),
        embedding_bytes=costs.embedding.saved_bytes,
        head_bytes=costs.head.saved_bytes,
        logits=costs.head.logits,
        model_flops=flops,
        hardware_flops=flops + again,
        layer_count=count,
        operations=costs.operations,
    )


def _layer_passes(layer: Cost, plan: Plan, software: Software) -> Passes:
    """A layer's passes: recomputation redoes the forward pass, or attention alone, before the backward pass."""
    recompute = np.asarray(plan.recompute)
    is_full = recompute == Recompute.FULL
    tail = layer.tail_seconds if software.has_early_stop_recompute else 0.0
    core = np.where(recompute == Recompute.SELECTIVE, layer.core_seconds, 0.0)
    again = np.where(is_full, layer.forward_seconds - tail, core)
    launches = layer.backward_launches + np.where(is_full, layer.forward_launches, 0.0)
    return _with_host(layer, software, again, launches)


def _passes(part: Cost, software: Software) -> Passes:
    return _with_host(part, software, 0.0, part.backward_launches)


def _with_host(part: Cost, software: Software, again: Floats, launches: Floats) -> Passes:
    forward, backward = part.forward_seconds, part.backward_seconds
    host_forward, host_backward = software.host_seconds * part.forward_launches, software.host_seconds * launches
    launch = stretch_seconds(forward, host_forward) - forward
    launch = launch + stretch_seconds(backward + again, host_backward) - (backward + again)
    return Passes(forward, backward, again, launch)
