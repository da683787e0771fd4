"""Lower bounds of time, energy and memory for plans of which some choices are still open.

A bound is the estimate itself with the open choices at what no value of them can beat, each where it counts; so it
changes with the formulas and needs none of its own. What is left out or put at its least:

- ZeRO, hybrid shards and offload: no gathers, exchanges of gradients or copies stick out, and the optimizer updates a
  shard (or the host does, where offload may be chosen). In memory the highest stage over all ranks counts, without what
  it gathers, with whatever lies in the host's memory.
- Schedule and virtual stages: of the schedules the quickest, with as many virtual stages as there are layers for, and
  hand-overs that take no time. In memory one virtual stage, or the two that ZB-V has, hold least: with fewest
  micro-batches in flight.

The step gets no shorter when any of these amounts grows, so no completion is quicker than the bound. Each part of the
step is at its least, whatever power it draws, so none takes less energy, and the job's hours, energy and money grow
with both.
"""

from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from perfsim.core.hardware import System
from perfsim.core.numbers import Floats
from perfsim.core.plan import Offload, Plan, Schedule
from perfsim.core.results import StepTime
from perfsim.estimate import StateSeconds, ends_seconds, optimizer_seconds, stage_work, step_parts
from perfsim.formulas.energy import energy, gpu_watts
from perfsim.formulas.gradients import trained_parameters
from perfsim.formulas.job import whole_job
from perfsim.formulas.memory import Held, memory
from perfsim.formulas.pipeline import microbatches_of
from perfsim.graphs.holdings import stage_holdings
from perfsim.graphs.stage import StageCosts
from perfsim.search.question import Question
from perfsim.search.space import Space

ROUNDING = 1e-9  # sums in another order differ in their last bits


@dataclass(frozen=True)
class Bounds:
    """What no plan with these choices stays below [plans]: of one step seconds, joules and memory, of the job the rest.

    memory_bytes is 0 where it cannot be told.
    """

    seconds: np.ndarray
    joules: np.ndarray
    job_hours: np.ndarray
    job_usd: np.ndarray
    job_kwh: np.ndarray
    memory_bytes: np.ndarray


def bounds(
    question: Question, system: System, plan: Plan, costs: StageCosts, space: Space, has_schedule: bool
) -> Bounds:
    """Bounds of plans whose ZeRO stage, hybrid shard and offload are open, and without `has_schedule` the schedule too.

    system, plan: arrays [plans], with defaults for what is open; costs: of their stages; space: the values that what is
    open may take.
    """
    workload, site = question.workload, question.site
    ranges = [plan] if has_schedule else [_scheduled(plan, schedule) for schedule in space.schedule]
    figures: list[tuple[Floats, ...]] = []
    for one in ranges:
        stages = stage_holdings(workload, system, one, costs)
        time = _least_time(question, system, one, costs, stages, space, has_schedule)
        seconds = plan.gpus * time.total_seconds
        joules = energy(system, seconds, gpu_watts(system, time, costs.busy_watts, costs.held_watts), site.pue)
        job = whole_job(workload, system, plan.gpus, site, time.total_seconds, joules)
        # where kinds of layers differ, what a stage holds depends on the virtual stages in no simple way
        is_known = has_schedule or len(costs.kinds) == 1
        size = _least_bytes(question, one, stages, space) if is_known else 0.0
        figures.append((time.total_seconds, joules.total_joules, job.hours, job.usd, job.kwh, size))
    least = (reduce(np.minimum, values) for values in zip(*figures, strict=True))
    return Bounds(*(np.broadcast_to(value, np.shape(plan.gpus)) * (1.0 - ROUNDING) for value in least))


def _scheduled(plan: Plan, schedule: int) -> Plan:
    """The plan with a schedule, and with as few virtual stages as that has."""
    return replace(plan, schedule=schedule, virtual_stages=2 if schedule == Schedule.ZB_V else 1)


def _least_time(
    question: Question, system: System, plan: Plan, costs: StageCosts, stages: tuple[Held, Held], space: Space,
    has_schedule: bool,
) -> StepTime:  # fmt: skip
    """The step without what open choices may add."""
    workload, software, calibration = question.workload, question.software, question.calibration
    trained = trained_parameters(stages)
    is_even = costs.layer_count % np.asarray(plan.pipeline_parallel) == 0
    if not has_schedule:
        plan = _most_virtual(plan, costs, space)
        trained = costs.trained_weights / plan.pipeline_parallel
    m = microbatches_of(workload, plan)
    stage, accumulated, _ = stage_work(workload, system, plan, software, calibration, costs, m)
    sharded = replace(plan, zero_stage=max(space.zero_stage))
    optimizer, host = optimizer_seconds(workload, system, sharded, software, calibration, costs, trained)
    if set(space.offload) & {Offload.OPTIMIZER, Offload.PARAMETERS}:
        optimizer = 0.0
    front, back = ends_seconds(plan, costs, stage.total)
    if not has_schedule:  # how layers that do not divide are dealt out is open too
        stage, front, back = replace(stage, send=0.0), np.where(is_even, front, 0.0), np.where(is_even, back, 0.0)
    states = StateSeconds(accumulated, 0.0, 0.0, 0.0, 0.0, optimizer, host)
    return step_parts(plan, calibration, costs, stage, front, back, m, states)


def _most_virtual(plan: Plan, costs: StageCosts, space: Space) -> Plan:
    """The plan with as many virtual stages as are offered and have a layer each, whether or not layers divide."""
    p = np.asarray(plan.pipeline_parallel)
    chunks = np.clip(costs.layer_count // p, 1, max(space.virtual_stages))
    return replace(plan, virtual_stages=np.where(p > 1, chunks, 1))


def _least_bytes(question: Question, plan: Plan, stages: tuple[Held, Held], space: Space) -> Floats:
    """The fullest GPU under the highest ZeRO stage, over the offloads that are offered [B]."""
    workload, software = question.workload, question.software
    first, last = (replace(held, unit_parameters=0.0, end_parameters=0.0) for held in stages)
    lean = (replace(plan, zero_stage=max(space.zero_stage), offload=offload) for offload in space.offload)
    m = microbatches_of(workload, plan)
    return reduce(np.minimum, (memory(first, last, one, software, workload, m).total_bytes for one in lean))
