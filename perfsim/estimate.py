"""The one place where formulas are put together: a workload, a system and a plan become time, memory, energy and money."""

from dataclasses import dataclass

import numpy as np

from perfsim.core.arrays import shape_of, take
from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.numbers import Floats, Ints
from perfsim.core.plan import Plan, Problem, Recompute, Schedule
from perfsim.core.results import Estimate, Memory, StepTime
from perfsim.core.site import Site
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.formulas.collectives import (
    Group,
    beside_seconds,
    collective_seconds,
    data_group,
    send_seconds,
)
from perfsim.formulas.cost import JOULES_PER_KWH, SECONDS_PER_HOUR, cost
from perfsim.formulas.energy import energy, gpu_watts
from perfsim.formulas.memory import Held, memory
from perfsim.formulas.pipeline import pipeline
from perfsim.formulas.roofline import kernel_seconds, peak_flops_per_s, stretch_seconds
from perfsim.graphs.costs import Cost, StepCosts, step_costs
from perfsim.graphs.kernels import OPTIMIZER_STATES, optimizer_kernels

# compute capability from which an attention kernel exists (Dao-AILab/flash-attention README)
ATTENTION_COMPUTE_CAPABILITY = {"naive": 0.0, "sdpa": 5.0, "flash-1": 7.5, "flash-2": 8.0, "flash-3": 9.0}


def estimate(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration, site: Site | None = None
) -> Estimate:
    """Predict one optimizer step, and the job of `workload.steps` of them, for one plan or an array of plans.

    All numbers of workload, system and plan broadcast; the result's parts have the broadcast shape of what they
    depend on. What a plan cannot do is a bit of `Estimate.problems`; its numbers are then meaningless but finite.
    Raises: nothing on plans; KeyError for an optimizer that formulas do not know (inputs refuse it before).
    """
    site = site or Site()
    costs = _costs(workload, system, plan, software, calibration)
    microbatches = np.maximum(1, workload.global_batch_size // (plan.data_parallel * plan.micro_batch_size))
    time = _step_time(workload, system, plan, software, calibration, costs, microbatches)
    used = _memory(workload, plan, software, costs, microbatches)
    capacity = system.gpu.memory_bytes
    gpus = plan.gpus
    step = time.total_seconds
    joules = energy(system, gpus, time, calibration, site.pue)
    dollars = cost(system, gpus, step, joules, site)
    model_flops, hardware_flops = _flops(plan, costs, microbatches)
    peak = gpus * peak_flops_per_s(system.gpu, workload.precision.matmul)
    return Estimate(
        time=time,
        memory=used,
        energy=joules,
        cost=dollars,
        problems=_problems(workload, system, plan, software, microbatches, used.total_bytes, capacity),
        memory_capacity_bytes=capacity,
        model_flops=model_flops,
        hardware_flops=hardware_flops,
        mfu=model_flops / (peak * step),
        hfu=hardware_flops / (peak * step),
        tokens_per_s=workload.tokens_per_step / step,
        samples_per_s=workload.global_batch_size / step,
        watts_per_gpu=gpu_watts(system, time, calibration),
        job_hours=workload.steps * step / SECONDS_PER_HOUR,
        job_usd=workload.steps * dollars.total_usd,
        job_kwh=workload.steps * joules.total_joules / JOULES_PER_KWH,
        operations=costs.operations,
    )


def _costs(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration
) -> StepCosts:
    """The graphs' costs, computed once for each distinct choice that they depend on.

    A long flat list of plans repeats few (tensor, context, expert, micro-batch) combinations: they are costed once
    and handed out by index, which gives the same bits as costing every row.
    """
    choices = (plan.tensor_parallel, plan.context_parallel, plan.expert_parallel, plan.micro_batch_size)
    columns = [np.asarray(c) for c in (*choices, plan.sequence_parallel)]
    is_flat = max(c.ndim for c in columns) == 1 and shape_of(system, workload) == () and max(c.size for c in columns) > 64
    if not is_flat:
        return step_costs(workload, system, plan, software, calibration)
    key: Ints = np.zeros(1, dtype=np.int64)
    for column in columns:
        key = key * (int(column.max()) + 1) + column
    _, first, index = np.unique(key, return_index=True, return_inverse=True)
    distinct = take(plan, first, np.broadcast_shapes(key.shape, shape_of(plan)))
    costs = step_costs(workload, system, distinct, software, calibration)
    return take(costs, index, first.shape)


@dataclass(frozen=True)
class _Passes:
    """Seconds of one stage's layers or of the ends, one micro-batch: forward, backward and what recomputation adds."""

    forward: Floats
    backward: Floats
    recompute: Floats
    launch: Floats


def _passes(part: Cost, plan: Plan, software: Software, count: int) -> _Passes:
    """Kernel seconds and the host's share of them; recomputation redoes the forward pass or attention alone."""
    forward, backward = part.forward_seconds, part.backward_seconds
    tail = part.tail_seconds if software.has_early_stop_recompute else 0.0
    recompute, is_layer = np.asarray(plan.recompute), count > 0
    again = np.where(recompute == Recompute.FULL, forward - tail, np.where(recompute == Recompute.SELECTIVE, part.core_seconds, 0.0))
    again = again if is_layer else 0.0 * forward
    relaunched = np.where(recompute == Recompute.FULL, part.forward_launches, 0.0) if is_layer else 0.0
    host = software.host_seconds
    with_host_forward = stretch_seconds(forward, host * part.forward_launches)
    with_host_backward = stretch_seconds(backward + again, host * (part.backward_launches + relaunched))
    launch = with_host_forward - forward + with_host_backward - backward - again
    return _Passes(forward, backward, again, launch)


def _step_time(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration, costs: StepCosts,
    microbatches: Ints,
) -> StepTime:  # fmt: skip
    """Seconds of one step in parts that add up (docs/formulas.md#step)."""
    p, m = 1.0 * np.asarray(plan.pipeline_parallel), 1.0 * np.asarray(microbatches)
    layers = _passes(costs.layers.times(1.0 / costs.layer_count), plan, software, costs.layer_count)
    per_stage = costs.layer_count / p
    ends = costs.embedding.plus(costs.head)
    outer = _passes(ends, plan, software, 0)
    head = _passes(costs.head, plan, software, 0)
    recomputes = np.asarray(plan.recompute) == Recompute.FULL

    tensor_layer = costs.layer.tensor_forward_seconds * (1.0 + recomputes) + costs.layer.tensor_backward_seconds
    context_layer, expert_layer = costs.layer.context_seconds, 2.0 * _moe_share(costs) * costs.layer.expert_seconds
    accumulated = _accumulation_seconds(system, plan, software, calibration, costs, microbatches)
    backward_layer = layers.backward + accumulated
    compute = layers.forward + backward_layer + layers.recompute + layers.launch
    gather = _sharded_seconds(workload, system, plan, software, calibration, costs, compute)
    one_layer = compute + tensor_layer + context_layer + expert_layer + gather

    both = _total(outer)
    send = _send_seconds(workload, system, plan, calibration)
    piped = pipeline(per_stage * one_layer, both, _total(head), send, plan.pipeline_parallel, microbatches, plan.virtual_stages)
    ends_share = (piped.work_seconds - m * per_stage * one_layer) / both
    reduce, regather = _gradient_seconds(workload, system, plan, software, calibration, costs, per_stage * compute)
    optimizer, host = _optimizer_seconds(workload, system, plan, software, calibration, costs)
    parts = StepTime(
        forward_seconds=m * per_stage * layers.forward + ends_share * outer.forward,
        backward_seconds=m * per_stage * backward_layer + ends_share * outer.backward,
        recompute_seconds=m * per_stage * layers.recompute,
        launch_seconds=m * per_stage * layers.launch + ends_share * outer.launch,
        tensor_parallel_seconds=m * per_stage * tensor_layer,
        context_parallel_seconds=m * per_stage * context_layer,
        expert_parallel_seconds=m * per_stage * expert_layer,
        parameter_gather_seconds=m * per_stage * gather + regather,
        pipeline_bubble_seconds=piped.bubble_seconds,
        pipeline_send_seconds=piped.send_seconds,
        gradient_reduce_seconds=reduce,
        optimizer_seconds=optimizer,
        host_seconds=host,
        growth_seconds=0.0,
    )
    nodes = np.maximum(1.0, plan.gpus / system.gpus_per_node)
    growth = calibration.node_growth * np.log(nodes) * parts.total_seconds
    return StepTime(**{**parts.parts(), "growth_seconds": growth})


def _total(passes: _Passes) -> Floats:
    return passes.forward + passes.backward + passes.launch


def _moe_share(costs: StepCosts) -> Floats:
    """Share of the layers that exchange tokens with experts, against the most common kind."""
    own = np.maximum(costs.layer.expert_seconds, 1e-30)
    return costs.layers.expert_seconds / (costs.layer_count * own)


def _accumulation_seconds(
    system: System, plan: Plan, software: Software, calibration: Calibration, costs: StepCosts, microbatches: Ints
) -> Floats:
    """Adding one layer's gradient of a micro-batch to what is there, and ZeRO-3's buffer copies [s]."""
    stream = system.gpu.memory_bandwidth_bytes_per_s * system.gpu.calibration.bandwidth_fraction
    adds = np.where(np.asarray(microbatches) > 1, software.accumulation_bytes_per_parameter, 0.0)
    copies = np.where(np.asarray(plan.zero_stage) >= 3, software.sharded_bytes_per_parameter, 0.0)
    trained = costs.layers.trained_weights / costs.layer_count
    return trained * np.maximum(adds, copies) / stream


def _sharded_seconds(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration, costs: StepCosts,
    compute: Floats,
) -> Floats:  # fmt: skip
    """ZeRO-3: what gathering one layer's weights and scattering its gradient adds to the layer's computation [s].

    Forward gather, backward gather and reduce-scatter (and one more where the software gathers again for the
    recomputation) run beside the layer's kernels.
    """
    group = _shard_group(plan)
    unit = workload.precision.activation_bytes * costs.layers.weights / costs.layer_count
    once = collective_seconds(system, group, unit, 1.0, software.has_single_nic)
    passes = np.where(np.asarray(plan.zero_stage) >= 3, 1.0 * software.gather_passes, 0.0)
    share = calibration.communication_multiprocessor_share
    return beside_seconds(compute, passes * once, share) - compute


def _shard_group(plan: Plan) -> Group:
    group = data_group(plan)
    hybrid = np.where(np.asarray(plan.hybrid_shard) > 0, plan.hybrid_shard, group.ranks)
    return Group(np.minimum(group.ranks, hybrid), group.stride)


def _send_seconds(workload: Workload, system: System, plan: Plan, calibration: Calibration) -> Floats:
    """Handing one micro-batch's hidden states to the next stage, sliced over the tensor-parallel ranks [s]."""
    tokens = plan.micro_batch_size * workload.seq_len / plan.context_parallel
    size = tokens * workload.model.hidden_size * workload.precision.activation_bytes / plan.tensor_parallel
    stride = plan.tensor_parallel * plan.context_parallel * plan.data_parallel
    return send_seconds(system, stride, size, calibration.pipeline_send_seconds)


def _stage_weights(workload: Workload, plan: Plan, costs: StepCosts) -> tuple[Floats, Floats]:
    """(all, trained) parameters of the fullest stage: its layers and, at the ends, embedding and head."""
    p = plan.pipeline_parallel
    model = workload.model
    # the head's own copy of the vocabulary: untied, or tied but on another stage than the embedding
    vocabulary = 1.0 * model.vocab_size * model.hidden_size / plan.tensor_parallel
    has_copy = (not model.has_tied_embeddings) and model.kind != "encoder"
    copy = vocabulary if has_copy else 0.0 * vocabulary
    ends = costs.embedding.weights + costs.head.weights + model.position_parameters + model.extra_parameters
    whole = np.where(np.asarray(p) > 1, np.maximum(ends, vocabulary), ends + copy)
    trained_share = costs.embedding.trained_weights / np.maximum(costs.embedding.weights, 1.0)
    return costs.layers.weights / p + whole, costs.layers.trained_weights / p + whole * trained_share


def _gradient_seconds(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration, costs: StepCosts,
    pass_time: Floats,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Exposed seconds of reducing gradients and, with ZeRO-1 and 2, of gathering the new weights [s].

    Stage 0 all-reduces; 1 and 2 reduce-scatter gradients and gather weights; 3 was paid layer by layer, its
    replicas of a hybrid shard all-reduce. What overlaps leaves the last bucket and the multiprocessors it takes.
    """
    _, trained = _stage_weights(workload, plan, costs)
    group, share = data_group(plan), calibration.communication_multiprocessor_share
    stage = np.asarray(plan.zero_stage)
    width = min(workload.precision.gradient_bytes, 4.0)
    size = width * trained
    whole = collective_seconds(system, group, size, 2.0)
    half = collective_seconds(system, group, size, 1.0)
    gather = collective_seconds(system, group, workload.precision.weight_bytes * trained, 1.0)
    shard = _shard_group(plan)
    replicas = Group(np.maximum(1, group.ranks // shard.ranks), group.stride * shard.ranks)
    between = collective_seconds(system, replicas, size / shard.ranks, 2.0)
    reduce = np.where(stage >= 3, between, np.where(stage >= 1, half, whole))
    regather = np.where((stage == 1) | (stage == 2), gather, 0.0)
    if not software.overlaps_gradients:
        return reduce, regather
    buckets = np.maximum(costs.layer_count / plan.pipeline_parallel, 1.0)
    backward = pass_time * (2.0 / 3.0)
    exposed = np.maximum(reduce - backward, reduce / buckets) + share * np.minimum(reduce, backward)
    forward = pass_time / 3.0
    exposed_gather = np.maximum(regather - forward, regather / buckets) + share * np.minimum(regather, forward)
    return exposed, exposed_gather


def _optimizer_seconds(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration, costs: StepCosts
) -> tuple[Floats, Floats]:
    """(optimizer, fixed host) seconds of a step [s]; ZeRO updates its shard only."""
    _, trained = _stage_weights(workload, plan, costs)
    ranks = np.where(np.asarray(plan.zero_stage) >= 1, _shard_group(plan).ranks, 1)
    tensors = costs.layers.tensors / plan.pipeline_parallel + costs.embedding.tensors + costs.head.tensors
    has_master = workload.precision.master_bytes > 0
    seconds: Floats = 0.0
    launches: Floats = 0.0
    for kernel in optimizer_kernels(workload.optimizer, software, trained / ranks, tensors, has_master):
        seconds = seconds + kernel_seconds(kernel, system.gpu, software, calibration)
        launches = launches + kernel.launches
    waits = 2.0 + (tensors if software.synchronises_per_tensor else 0.0)
    host = software.step_seconds + software.synchronisation_seconds * waits
    return stretch_seconds(seconds, launches * software.optimizer_host_seconds), host


def _memory(
    workload: Workload, plan: Plan, software: Software, costs: StepCosts, microbatches: Ints
) -> Memory:
    """The fuller of the first and the last stage."""
    p = np.asarray(plan.pipeline_parallel)
    parameters, trained = _stage_weights(workload, plan, costs)
    unit = costs.layers.weights / costs.layer_count + costs.embedding.weights * 0.0
    is_one = p == 1
    found = []
    for stage, is_last in ((0, False), (p - 1, True)):
        ends = np.where(is_one, costs.embedding.saved_bytes + costs.head.saved_bytes,
                        costs.head.saved_bytes if is_last else costs.embedding.saved_bytes)  # fmt: skip
        logits = np.where(is_one | is_last, costs.head.logits, 0.0)
        held = Held(
            parameters=parameters,
            expert_parameters=costs.layers.expert_weights / p,
            trained_parameters=trained,
            unit_parameters=unit,
            layers_saved_bytes=costs.layers.saved_bytes / p,
            layers_core_bytes=costs.layers.core_saved_bytes / p,
            layers_input_bytes=costs.layers.input_bytes / p,
            layer_saved_bytes=costs.layer.saved_bytes,
            ends_saved_bytes=ends,
            logits=logits,
            stage=stage,
        )
        states = OPTIMIZER_STATES[workload.optimizer]
        found.append(memory(held, plan, software, workload.precision, microbatches, states, workload.base_bytes))
    first, last = found
    is_last_fuller = last.total_bytes > first.total_bytes
    return Memory(**{name: np.where(is_last_fuller, last.parts()[name], part) for name, part in first.parts().items()})


def _flops(plan: Plan, costs: StepCosts, microbatches: Ints) -> tuple[Floats, Floats]:
    """(model, hardware) FLOPs of one step over all GPUs; recomputed work counts in the second only."""
    layers, ends = costs.layers, costs.embedding.plus(costs.head)
    copies = 1.0 * plan.tensor_parallel * plan.context_parallel * plan.data_parallel * microbatches
    model = copies * (layers.forward_flops + layers.backward_flops + ends.forward_flops + ends.backward_flops)
    recompute = np.asarray(plan.recompute)
    again = np.where(recompute == Recompute.FULL, layers.forward_flops, 0.0)
    again = np.where(recompute == Recompute.SELECTIVE, layers.core_flops, again)
    return model, model + copies * again


def _problems(
    workload: Workload, system: System, plan: Plan, software: Software, microbatches: Ints, used: Floats, capacity: Floats
) -> Ints:
    """Everything that stops a plan, as bits."""
    model, t, p, v = workload.model, plan.tensor_parallel, plan.pipeline_parallel, plan.virtual_stages
    layers = model.layers + model.encoder_layers
    experts = model.moe.experts if model.moe else 1
    ranks = plan.data_parallel * plan.context_parallel
    needed = ATTENTION_COMPUTE_CAPABILITY[software.attention]
    checks = {
        Problem.HEADS: (model.heads % np.asarray(t) != 0) | ((model.kv_heads % np.asarray(t) != 0) & (np.asarray(t) % model.kv_heads != 0)),
        Problem.LAYERS: layers % np.asarray(p * v) != 0,
        Problem.BATCH: np.asarray(workload.global_batch_size) % (plan.data_parallel * plan.micro_batch_size) != 0,
        Problem.INTERLEAVE: (np.asarray(v) > 1)
        & ((np.asarray(microbatches) % p != 0) | (np.asarray(p) == 1) | (np.asarray(plan.schedule) == Schedule.GPIPE)),
        Problem.MEMORY: np.asarray(used > capacity),
        Problem.SYSTEM: np.asarray(plan.gpus > system.max_gpus),
        Problem.PRECISION: np.asarray(system.gpu.peak_flops_per_s[workload.precision.matmul]) <= 0.0,
        Problem.ATTENTION: np.asarray(system.gpu.compute_capability) < needed,
        Problem.SEQUENCE: np.asarray(workload.seq_len) % plan.context_parallel != 0,
        Problem.EXPERTS: (experts % np.asarray(plan.expert_parallel) != 0) | (np.asarray(ranks) % plan.expert_parallel != 0),
        Problem.NODE: np.asarray(t > system.gpus_per_domain),
    }
    bits: Ints = 0
    for problem, applies in checks.items():
        bits = bits | np.where(applies, int(problem), 0)
    return bits


