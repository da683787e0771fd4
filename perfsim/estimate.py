"""The one place where formulas are put together: workload, system and plan become time, memory, energy and money."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.numbers import Floats, Ints
from perfsim.core.optimizer import OPTIMIZERS
from perfsim.core.plan import Plan, Problem
from perfsim.core.results import Estimate, StepTime
from perfsim.core.site import Site
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.formulas.collectives import half_seconds, send_seconds
from perfsim.formulas.cost import cost
from perfsim.formulas.energy import energy, gpu_watts
from perfsim.formulas.fits import hardly_fits
from perfsim.formulas.gradients import gradient_seconds, trained_parameters
from perfsim.formulas.groups import (
    pipeline_group,
    route,
    shard_group,
    single_nic,
)
from perfsim.formulas.job import whole_job
from perfsim.formulas.legality import problems
from perfsim.formulas.memory import Held, memory, updates_on_host
from perfsim.formulas.offload import evicted_bytes, offload_seconds
from perfsim.formulas.overlap import beside_seconds
from perfsim.formulas.pipeline import Work, layer_copies, microbatches_of, pipeline
from perfsim.formulas.roofline import kernel_seconds, peak_flops_per_s, stretch_seconds
from perfsim.formulas.stages import ends_counted, fullest_stage, layers_on_stage
from perfsim.formulas.stragglers import straggling
from perfsim.graphs.holdings import stage_holdings
from perfsim.graphs.stage import StageCosts, stage_costs
from perfsim.graphs.updates import optimizer_kernels
from perfsim.units import KILO, TINY_SECONDS


def estimate(
    workload: Workload,
    system: System,
    plan: Plan,
    software: Software,
    calibration: Calibration,
    site: Site | None = None,
    costs: StageCosts | None = None,
) -> Estimate:
    """Predict one optimizer step, and the job of `workload.steps` of them, for one plan or an array of plans.

    All numbers of workload, system and plan broadcast; the result's parts have the broadcast shape of what they
    depend on. What a plan cannot do is a bit of `Estimate.problems`; its numbers are then meaningless but finite.
    costs: of the plan's stages, where they are known already.
    Raises: nothing on plans; KeyError for an optimizer that formulas do not know (inputs refuse it before).
    """
    site = site or Site()
    costs = costs or stage_costs(workload, system, plan, software, calibration)
    microbatches = microbatches_of(workload, plan)
    stages = stage_holdings(workload, system, plan, costs)
    used = memory(*stages, plan, software, workload, microbatches)
    capacity = calibration.visible_memory_share * system.gpu.memory_bytes
    overflows = hardly_fits(used.total_bytes, capacity, software.memory_spread)
    evicted = evicted_bytes(workload, plan, stages[0], used, capacity)
    time = _step_time(workload, system, plan, software, calibration, costs, stages, microbatches, evicted)
    copies = 1.0 * plan.tensor_parallel * plan.context_parallel * plan.data_parallel * microbatches
    bits = problems(workload, system, plan, software, site.socket_watts)
    return Estimate(
        time=time,
        memory=used,
        problems=bits | np.where(overflows, int(Problem.MEMORY), 0),
        memory_capacity_bytes=capacity,
        memory_spread=software.memory_spread,
        model_flops=copies * costs.model_flops,
        hardware_flops=copies * costs.hardware_flops,
        clock_ratio=costs.clock_ratio,
        operations=costs.operations,
        **_rates(
            workload, system, plan, site, time, gpu_watts(system, time, costs.busy_watts, costs.held_watts),
            copies * costs.model_flops, copies * costs.hardware_flops,
        ),
    )  # fmt: skip


def delayed(found: Estimate, workload: Workload, system: System, plan: Plan, site: Site, seconds: Floats) -> Estimate:
    """The same plan, whose stages wait `seconds` longer for each other in every step (less where negative)."""
    waiting = found.time.pipeline_bubble_seconds + seconds
    time = replace(found.time, pipeline_bubble_seconds=waiting)
    joules = found.watts_per_gpu * found.time.total_seconds + system.gpu.power.idle_watts * seconds
    watts = joules / time.total_seconds
    rates = _rates(workload, system, plan, site, time, watts, found.model_flops, found.hardware_flops)
    return replace(found, time=time, **rates)


def _rates(
    workload: Workload, system: System, plan: Plan, site: Site, time: StepTime, watts: Floats, model_flops: Floats,
    hardware_flops: Floats,
) -> dict[str, Any]:  # fmt: skip
    """What follows from the step's seconds and a board's mean watts: energy, money and rates, of a step and the job."""
    step = time.total_seconds
    gpu_seconds = plan.gpus * step
    joules = energy(system, gpu_seconds, watts, site.pue)
    dollars = cost(system, plan.gpus, step, joules, site)
    peak = gpu_seconds * peak_flops_per_s(system.gpu, workload.precision.matmul)
    job = whole_job(workload, system, plan.gpus, site, step, joules)
    return {
        "energy": joules,
        "cost": dollars,
        "mfu": model_flops / peak,
        "hfu": hardware_flops / peak,
        "tokens_per_s": workload.tokens_per_step / step,
        "samples_per_s": workload.global_batch_size * workload.samples_per_sequence / step,
        "useful_tokens_per_s": workload.tokens_per_step * workload.useful_share / step,
        "watts_per_gpu": watts,
        "job": job.time,
        "job_hours": job.hours,
        "job_usd": job.usd,
        "job_kwh": job.kwh,
        "job_kg_co2": job.kwh * site.co2_grams_per_kwh / KILO,
    }


def _step_time(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration, costs: StageCosts,
    stages: tuple[Held, Held], microbatches: Ints, evicted: Floats,
) -> StepTime:  # fmt: skip
    """Seconds of one step in parts that add up (docs/formulas.md#step)."""
    m = 1.0 * np.asarray(microbatches)
    stage, accumulated, gather = stage_work(workload, system, plan, software, calibration, costs, microbatches)
    copies, after = offload_seconds(workload, system, plan, stages[0], stage, evicted)
    reduce, regather = gradient_seconds(workload, system, plan, software, calibration, stages, stage.total + copies)
    trained = trained_parameters(stages)
    states = StateSeconds(
        accumulated, gather, reduce, regather, m * copies + after,
        *optimizer_seconds(workload, system, plan, software, calibration, costs, trained),
    )  # fmt: skip
    front, back = ends_seconds(plan, costs, stage.total)
    return step_parts(plan, calibration, costs, stage, front, back, microbatches, states)


@dataclass(frozen=True)
class StateSeconds:
    """What gradients and states take [s]: accumulated and gather a layer and micro-batch, the others a step.

    accumulated: adding up gradients; gather: ZeRO-3's, what sticks out; reduce, regather: the exchanges of gradients
    and new weights after the backward pass; offload: copies and the CPU's update; host: the step's fixed work.
    """

    accumulated: Floats
    gather: Floats
    reduce: Floats
    regather: Floats
    offload: Floats
    optimizer: Floats
    host: Floats


def step_parts(
    plan: Plan, calibration: Calibration, costs: StageCosts, stage: Work, front: Floats, back: Floats,
    microbatches: Ints, states: StateSeconds,
) -> StepTime:  # fmt: skip
    """A step in parts [s], from a stage's work and what the model's ends add to the first and the last stage."""
    layer, ends, m = costs.layer, costs.ends, 1.0 * np.asarray(microbatches)
    piped = pipeline(
        stage, front + back, back, plan.schedule, plan.pipeline_parallel, microbatches, plan.virtual_stages
    )
    layers = m * fullest_stage(costs.layer_count, plan.pipeline_parallel, plan.virtual_stages)
    of_ends = (piped.work_seconds - m * stage.total) / np.maximum(ends.total, TINY_SECONDS)
    after = states.reduce + states.regather + states.optimizer + states.offload + states.host
    whole = piped.total_seconds + after
    return StepTime(
        forward_seconds=layers * layer.forward + of_ends * ends.forward,
        backward_seconds=layers * (layer.backward + states.accumulated) + of_ends * ends.backward,
        recompute_seconds=layers * layer.recompute,
        launch_seconds=layers * layer.launch + of_ends * ends.launch,
        tensor_parallel_seconds=layers * costs.tensor_seconds,
        context_parallel_seconds=layers * costs.context_seconds,
        expert_parallel_seconds=layers * costs.expert_seconds - m * stage.saved,
        parameter_gather_seconds=layers * states.gather + states.regather,
        pipeline_bubble_seconds=piped.bubble_seconds,
        pipeline_send_seconds=piped.send_seconds,
        gradient_reduce_seconds=states.reduce,
        optimizer_seconds=states.optimizer,
        offload_seconds=states.offload,
        host_seconds=states.host,
        straggler_seconds=straggling(plan.gpus, calibration.rank_jitter) * whole,
    )


def ends_seconds(plan: Plan, costs: StageCosts, stage_seconds: Floats) -> tuple[Floats, Floats]:
    """What the embedding and the head add to a micro-batch on the first and the last stage, beyond the fullest's [s].

    Where layers do not divide, the middle stages have one more, or embedding and head count as one; there is room then.
    """
    p, v, count = plan.pipeline_parallel, plan.virtual_stages, costs.layer_count
    front, back = costs.ends.total - costs.head_seconds, costs.head_seconds
    most = fullest_stage(count, p, v)
    is_even = np.where(np.asarray(v) > 1, ends_counted(count, p, v) == 0, most * p == count)
    if np.all(is_even):
        return front, back

    def room(stage: Ints) -> Floats:
        fewer = most - layers_on_stage(0, count, count, stage, p, v)
        return np.where(is_even, 0.0, fewer * stage_seconds / most)

    return np.maximum(front - room(0), 0.0), np.maximum(back - room(np.asarray(p) - 1), 0.0)


def stage_work(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration, costs: StageCosts,
    microbatches: Ints,
) -> tuple[Work, Floats, Floats]:  # fmt: skip
    """(one micro-batch's passes through a stage's layers, a layer's gradient sums, ZeRO-3's gathers a layer) [s].

    Exchanges and what the host adds are half forward, half with the gradient of the input. DualPipe's pairs hide the
    tokens' way to their experts and back behind the other pass's kernels.
    """
    layer, per_stage = costs.layer, fullest_stage(costs.layer_count, plan.pipeline_parallel, plan.virtual_stages)
    accumulated = _accumulation_seconds(system, plan, software, costs, microbatches)
    # a layer with its own exchanges: what gathers and reductions over the data-parallel ranks can hide behind
    busy = layer.total + accumulated + costs.tensor_seconds + costs.context_seconds + costs.expert_seconds
    gather = _sharded_seconds(workload, system, plan, software, calibration, costs, busy)
    others = 0.5 * (busy + gather - layer.forward - layer.backward - layer.recompute - accumulated)
    has_pairs = layer_copies(plan.schedule, plan.pipeline_parallel) > 1.0
    saved: Floats = 0.0
    if np.any(has_pairs):
        share = calibration.communication_multiprocessor_share
        hidden = busy - beside_seconds(busy - costs.expert_seconds, costs.expert_seconds, share)
        saved = np.where(has_pairs, per_stage * hidden, 0.0)
    work = Work(
        forward=per_stage * (layer.forward + others),
        backward=per_stage * (layer.backward - layer.weight + layer.recompute + others),
        weight=per_stage * (layer.weight + accumulated),
        send=_send_seconds(workload, system, plan),
        saved=saved,
    )
    return work, accumulated, gather


def _accumulation_seconds(
    system: System, plan: Plan, software: Software, costs: StageCosts, microbatches: Ints
) -> Floats:
    """Adding one layer's gradient of a micro-batch to what is there, and ZeRO-3's buffer copies [s]."""
    stream = system.gpu.memory_bandwidth_bytes_per_s * system.gpu.calibration.bandwidth_fraction
    firsts = 0.0 if software.zeroes_gradients else 1.0 / np.asarray(microbatches)  # the first has nothing to add to
    adds = software.accumulation_bytes_per_parameter * (1.0 - firsts)
    copies = np.where(np.asarray(plan.zero_stage) >= 3, software.sharded_bytes_per_parameter, 0.0)
    return costs.trained_weights / costs.layer_count / stream * np.maximum(adds, copies)


def _sharded_seconds(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration, costs: StageCosts,
    busy: Floats,
) -> Floats:  # fmt: skip
    """ZeRO-3: what gathering one layer's weights and scattering its gradient adds to the `busy` seconds of a layer [s].

    Forward gather, backward gather and reduce-scatter (and one more where the software gathers again for the
    recomputation) run beside the layer's kernels and its other exchanges.
    """
    is_sharded = np.asarray(plan.zero_stage) >= 3
    if not np.any(is_sharded):
        return 0.0 * busy
    unit = workload.precision.activation_bytes * costs.weights / costs.layer_count
    links = route(system, shard_group(plan))
    once = half_seconds(single_nic(links) if software.has_single_nic else links, unit)
    passes = np.where(is_sharded, 1.0 * software.gather_passes, 0.0)
    return beside_seconds(busy, passes * once, calibration.communication_multiprocessor_share) - busy


def _send_seconds(workload: Workload, system: System, plan: Plan) -> Floats:
    """Handing one micro-batch's hidden states to the next stage, sliced over the tensor-parallel ranks [s]."""
    tokens = plan.micro_batch_size * workload.seq_len / plan.context_parallel
    size = tokens * workload.model.hidden_size * workload.precision.activation_bytes / plan.tensor_parallel
    return send_seconds(route(system, pipeline_group(plan)), size)


def optimizer_seconds(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration, costs: StageCosts,
    trained: Floats,
) -> tuple[Floats, Floats]:  # fmt: skip
    """(optimizer, fixed host) seconds of a step with `trained` parameters on a GPU [s]; ZeRO updates its shard only."""
    ranks = np.where(np.asarray(plan.zero_stage) >= 1, shard_group(plan).ranks, 1)
    tensors = costs.tensors / plan.pipeline_parallel + costs.ends_tensors
    has_master = workload.precision.master_bytes > 0
    seconds: Floats = 0.0
    launches: Floats = 0.0
    optimizer, is_inside = OPTIMIZERS[workload.optimizer], workload.optimizer_in_backward
    for kernel in optimizer_kernels(optimizer, software, trained / ranks, tensors, has_master, is_inside):
        seconds = seconds + kernel_seconds(kernel, system.gpu, software, calibration)
        launches = launches + kernel.launches
    seconds = seconds + costs.orthogonal_seconds / (plan.pipeline_parallel * ranks)
    waits = 2.0 + (tensors if software.synchronises_per_tensor else 0.0)
    host = software.step_seconds + software.synchronisation_seconds * waits
    on_gpu = stretch_seconds(seconds, launches * software.optimizer_host_seconds)
    return np.where(updates_on_host(plan), 0.0, on_gpu), host


def alone_seconds(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration
) -> dict[str, Floats]:
    """What exchanges that run beside kernels would take of a step by themselves [s], by the name of their exposed part.

    The rest of it is hidden: alone - StepTime's part.
    """
    costs = stage_costs(workload, system, plan, software, calibration)
    stages = stage_holdings(workload, system, plan, costs)
    reduce, regather = gradient_seconds(workload, system, plan, software, calibration, stages, 0.0)
    nothing = 0.0 * costs.layer.total
    gather = _sharded_seconds(workload, system, plan, software, calibration, costs, nothing)
    fullest = fullest_stage(costs.layer_count, plan.pipeline_parallel, plan.virtual_stages)
    layers = microbatches_of(workload, plan) * fullest
    return {
        "parameter_gather_seconds": layers * gather + regather,
        "gradient_reduce_seconds": reduce,
        "expert_parallel_seconds": layers * costs.expert_seconds,
    }
