"""Bytes on the fullest GPU at each moment of a step that can be the fullest, in named parts."""

from dataclasses import dataclass

import numpy as np

from perfsim.core.numbers import Bools, Floats, Ints
from perfsim.core.optimizer import OPTIMIZERS, Optimizer
from perfsim.core.plan import Offload, Plan
from perfsim.core.results import Memory, Moment
from perfsim.core.software import Software
from perfsim.core.workload import Precision, Workload
from perfsim.formulas.groups import shard_group
from perfsim.formulas.pipeline import has_both_ends, in_flight


@dataclass(frozen=True)
class Held:
    """What a stage holds, per GPU.

    Parameters [count]: all of them (an adapter's base, not the adapter), routed experts among them, trained ones (an
    adapter's are others), those of products inside the layers and the rows and columns that Adafactor keeps of all of
    them (graphs.costs.Cost), those of the embedding that are trained; unit_parameters: of the largest layer;
    end_parameters: of the head where it has a matrix of its own, else of the embedding.
    Activations of one micro-batch [B]: kept by all layers and the embedding, by the largest layer, passing while a
    layer goes back; loss_bytes: kept and passing while the head goes back, 0 off the last stage. gathered_bytes: the
    hidden states of all tokens; matrices_bytes: one weight matrix of each product.
    """

    parameters: Floats
    expert_parameters: Floats
    trained_parameters: Floats
    hidden_parameters: Floats
    factors: Floats
    embedding_parameters: Floats
    unit_parameters: Floats
    end_parameters: Floats
    kept_bytes: Floats
    layer_bytes: Floats
    passing_bytes: Floats
    loss_bytes: Floats
    gathered_bytes: Floats
    matrices_bytes: Floats


@dataclass(frozen=True)
class _States:
    """Bytes of a stage's weights, most gradients, optimizer state, buffers that stay, casts of autocast; the host's."""

    weights: Floats
    gradients: Floats
    optimizer: Floats
    buffers: Floats
    casts: Floats
    temporaries: Floats
    host: Floats

    @property
    def lasting(self) -> Floats:
        """What keeps blocks of its own through the step, when it is there and when not."""
        return self.weights + self.gradients + self.optimizer + self.buffers + self.temporaries


def memory(first: Held, last: Held, plan: Plan, software: Software, workload: Workload, microbatches: Ints) -> Memory:
    """Bytes on the fullest GPU [B], at each moment that can be the fullest (core.results.Memory).

    first, last: what the first and the last stage hold. Gradients that stay between micro-batches are there all the
    time; others come as the backward pass goes. Where the host or the backward pass itself updates, at most a layer's
    and an end's are there.
    Source: docs/formulas.md#memory; ZeRO: Rajbhandari et al. 2020 (arXiv 1910.02054).
    """
    p, v, m = np.asarray(plan.pipeline_parallel), plan.virtual_stages, np.asarray(microbatches)
    name = plan.schedule
    precision, offload = workload.precision, np.asarray(plan.offload)
    at_first, at_last = (_states(held, plan, software, workload) for held in (first, last))
    go_early = _gradients_go_early(plan, workload)
    stays = (software.zeroes_gradients | (m > 1)) & ~go_early
    kept_first = software.activation_reserve * first.kept_bytes * in_flight(name, p, 0, m, v)
    kept_last = software.activation_reserve * last.kept_bytes * in_flight(name, p, p - 1, m, v)
    away = np.where(offload == Offload.ACTIVATIONS, kept_first, 0.0)
    kept_first, kept_last = (_here(kept, held, plan) for kept, held in ((kept_first, first), (kept_last, last)))
    # whole layers and ends that ZeRO-3 has gathered, and a layer's gradient before it is scattered
    value = precision.activation_bytes * (np.asarray(plan.zero_stage) >= 3)
    unit, front, back = (value * n for n in (first.unit_parameters, first.end_parameters, last.end_parameters))
    of_head = np.where(has_both_ends(name, p), last.end_parameters / np.maximum(first.parameters, 1.0), 0.0)
    of_head = np.where(go_early, 1.0, of_head)

    # the last stage at the loss; the first when its first layer goes back, when its last does, and in the update
    loss = _moment(at_last, np.where(stays, at_last.gradients, 0.0), kept_last, last.loss_bytes, unit + back, True)
    backward = _moment(
        at_first, at_first.gradients * np.where(stays, 1.0, of_head), kept_first, first.passing_bytes, 3.0 * unit, True
    )
    layer = software.activation_reserve * first.layer_bytes
    reduced = _moment(at_first, at_first.gradients, layer, first.passing_bytes, 2.0 * unit + front, False)
    update = _moment(at_first, np.where(go_early, 0.0, at_first.gradients), 0.0, at_first.temporaries, 0.0, False)
    # the allocator seldom puts gradients or the update's temporaries where activations were
    collective = np.where(np.asarray(plan.gpus) > 1, software.collective_bytes, 0.0)
    outside, reserve = software.context_bytes + collective, software.reserve
    at_loss = kept_last + last.loss_bytes + (at_last.casts + unit + back)
    in_backward = np.maximum(kept_first + (at_first.casts + 3.0 * unit), layer + (2.0 * unit + front))
    total = np.maximum(
        (outside + reserve * at_last.lasting) + reserve * at_loss,
        (outside + reserve * at_first.lasting) + reserve * (in_backward + first.passing_bytes),
    )
    return Memory(loss, backward, reduced, update, software.context_bytes, collective, total, at_first.host + away)


def _moment(
    held: _States, gradients: Floats, kept: Floats, passing: Floats, gathered: Floats, has_casts: bool
) -> Moment:
    buffers = held.buffers + gathered + (held.casts if has_casts else 0.0)
    return Moment(held.weights, gradients, held.optimizer, kept, passing, buffers)


def _states(held: Held, plan: Plan, software: Software, workload: Workload) -> _States:
    precision, optimizer = workload.precision, OPTIMIZERS[workload.optimizer]
    zero = np.asarray(plan.zero_stage)
    ranks = 1.0 * np.asarray(shard_group(plan).ranks)
    expert_ranks = np.maximum(ranks / plan.expert_parallel, 1.0)
    experts, others = held.expert_parameters, held.parameters - held.expert_parameters

    def on_rank(from_stage: int) -> Floats:
        """Parameters whose state this rank holds when it is sharded from a ZeRO stage on."""
        is_sharded = zero >= from_stage
        return others / np.where(is_sharded, ranks, 1.0) + experts / np.where(is_sharded, expert_ranks, 1.0)

    trained = held.trained_parameters / held.parameters
    weight_bytes: Floats = precision.weight_bytes
    if workload.is_adapter:  # adapters sit beside the frozen weights
        weight_bytes = (workload.base_bytes or precision.weight_bytes) + precision.weight_bytes * trained
    gradients = min(precision.gradient_bytes, software.reduced_bytes_per_gradient) * trained * on_rank(2)
    most = np.minimum((held.unit_parameters + held.end_parameters) / np.maximum(held.parameters, 1.0), 1.0)
    gradients = np.where(_gradients_go_early(plan, workload), most, 1.0) * gradients
    updated = trained * on_rank(1)
    casts = precision.weight_copy_bytes * held.trained_parameters  # autocast keeps no copies of what is frozen
    is_replicated = (np.asarray(plan.data_parallel) > 1) & (zero < 2)
    buckets = np.where(is_replicated, software.gradient_bucket_copies * gradients, 0.0)
    gathered = np.where(plan.sequence_parallel, held.gathered_bytes, 0.0) if software.has_gather_buffer else 0.0
    dummies = held.matrices_bytes if software.fuses_weight_gradients else 0.0
    weights, value = weight_bytes * on_rank(3), precision.activation_bytes
    state = (precision.master_bytes + state_bytes(optimizer, held, precision)) * updated
    # the host holds what is offloaded, gradients in 16 bits with it; of weights a layer's share is on its way
    is_away, has_no_weights = updates_on_host(plan), np.asarray(plan.offload) == Offload.PARAMETERS
    here = np.where(is_away, 0.0, 1.0)
    staging = np.where(has_no_weights, 2.0 * value * held.unit_parameters / ranks, 0.0)
    host = np.where(is_away, state + value * trained * on_rank(1), 0.0) + np.where(has_no_weights, weights, 0.0)
    return _States(
        weights=np.where(has_no_weights, 0.0, weights),
        gradients=gradients,
        optimizer=here * state,
        buffers=software.workspace_bytes + buckets + gathered + dummies + staging,
        casts=np.where(zero >= 3, 0.0, casts),
        temporaries=here * _update_bytes(held, software, workload, updated),
        host=host + paged_bytes(optimizer) * updated,
    )


OFFLOADED_LAYERS = 2.0  # of which activations are still or again on the GPU: on their way out, or fetched ahead


def updates_on_host(plan: Plan) -> Bools:
    """The CPU updates the parameters: the optimizer's state, or all of the parameters, lie there."""
    return np.isin(plan.offload, (Offload.OPTIMIZER, Offload.PARAMETERS))


def _gradients_go_early(plan: Plan, workload: Workload) -> Bools:
    """Gradients leave as the backward pass makes them: to the host, or into the update."""
    return updates_on_host(plan) | workload.optimizer_in_backward


def _here(kept: Floats, held: Held, plan: Plan) -> Floats:
    """What of the kept activations is on the GPU [B]."""
    is_away = np.asarray(plan.offload) == Offload.ACTIVATIONS
    return np.where(is_away, np.minimum(kept, OFFLOADED_LAYERS * held.layer_bytes), kept)


def paged_bytes(optimizer: Optimizer) -> float:
    """Bytes of state in unified memory, per trained parameter; 0 unless the optimizer is paged [B]."""
    return optimizer.own_bytes if optimizer.is_paged else 0.0


def state_bytes(optimizer: Optimizer, held: Held, precision: Precision) -> Floats:
    """Bytes that an optimizer keeps in the GPU's allocator, per trained parameter; a master copy apart [B].

    Muon keeps one moment of the matrices inside the layers and AdamW's two of all else; Adafactor sums of rows and
    columns in fp32. Paged states lie outside the allocator. Source: core.optimizer.
    """
    if optimizer.is_paged:
        return 0.0
    trained = np.maximum(held.trained_parameters, 1.0)
    kept: Floats = precision.state_bytes * optimizer.moments + optimizer.own_bytes
    if optimizer.orthogonalises:
        kept = kept + precision.state_bytes * (1.0 - held.hidden_parameters / trained)
    return kept + (4.0 * held.factors / trained if optimizer.is_factored else 0.0)


LOOP_TENSORS = (
    2.0  # denominator and update of one parameter tensor (NVIDIA/DeepLearningExamples Transformer-XL lamb.py)
)


def _update_bytes(held: Held, software: Software, workload: Workload, updated: Floats) -> Floats:
    """What the optimizer's step needs besides: a root of each second moment at once, or one tensor after the other.

    One by one, apex's master gradients are copies too. Optimizers with formats of their own bring fused kernels;
    Adafactor and Muon go tensor by tensor in all software (torch/optim/_adafactor.py, KellerJordan/Muon muon.py).
    """
    precision, optimizer = workload.precision, OPTIMIZERS[workload.optimizer]
    if optimizer.own_bytes or software.optimizer == "fused":
        return 0.0
    one = LOOP_TENSORS * 4.0 * held.embedding_parameters
    if optimizer.is_factored or optimizer.orthogonalises:
        return one
    if software.optimizer == "foreach":
        return precision.state_bytes * (held.embedding_parameters if workload.optimizer_in_backward else updated)
    masters = 4.0 * updated if precision.master_bytes and precision.gradient_bytes < 4.0 else 0.0
    return one + masters
