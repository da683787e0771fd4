"""One plan's step, piece by piece: its schedule simulated with the plan's own seconds, and what follows it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.plan import Plan, Schedule
from perfsim.core.results import Estimate
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.estimate import estimate, stage_work
from perfsim.formulas.pipeline import Work, lower_bound, microbatches_of
from perfsim.formulas.stages import ends_counted, fullest_stage, layers_on_stage
from perfsim.graphs.schedule import Order, Timeline, held, order_of, peak_held, routes, simulate
from perfsim.graphs.stage import StageCosts, stage_costs

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Simulation:
    """A step on every stage. after: seconds of what follows the last gradient, by name, in its order.

    send_seconds: one hand-over; held_bytes [pieces]: memory of a GPU of the stage while each piece runs, base_bytes:
    while none does. The estimate is of the same plan, in closed form.
    """

    timeline: Timeline
    send_seconds: float
    held_bytes: np.ndarray
    base_bytes: float
    after: dict[str, float]
    estimate: Estimate

    @property
    def step_seconds(self) -> float:
        """The step as simulated."""
        return float(self.timeline.total_seconds) + sum(self.after.values())

    @property
    def difference_seconds(self) -> float:
        """What the simulation takes more than the closed form: stages are unequal where the model's ends are."""
        return self.step_seconds - float(self.estimate.time.total_seconds)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """What every pipeline stage does when, on `ax` or on new axes (needs matplotlib)."""
        import perfsim

        return perfsim.plot_schedule(self, ax)


def simulation(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration
) -> Simulation:
    """One plan's step, simulated. Embedding and head lie on the first and the last stage.

    Memory is the estimate's for the first stage's backward pass, without what the allocator keeps unused: activations
    come and go with the micro-batches that a stage holds, the rest stays.
    Holds for: one plan (no arrays) without Problem.INTERLEAVE and Problem.SCHEDULE.
    """
    return staged(workload, system, plan, software, calibration).simulated()


@dataclass(frozen=True)
class Staged:
    """A plan's order of work, the seconds of each chunk on each stage and what follows it, ready to be simulated."""

    order: Order
    work: Work
    after: dict[str, float]
    estimate: Estimate

    @property
    def least_seconds(self) -> float:
        """What the simulated step cannot stay below: formulas.pipeline.lower_bound, where chunks of a stage are alike.

        Interleaved ones differ by the model's ends; there each stage waits for the shortest chunks before it.
        """
        order, work = self.order, self.work
        if order.schedule is Schedule.ONE_F_ONE_B and order.chunks > 1:
            forward, down = np.asarray(work.forward), work.backward + work.weight
            shortest = np.min(forward, axis=0) + np.min(down, axis=0) + 2.0 * work.send
            busy = order.microbatches * np.sum(forward + down, axis=0)
            least = float(np.max(np.cumsum(shortest) - shortest + busy))
        else:
            of_stages = {name: np.sum(getattr(work, name), axis=0) for name in ("forward", "backward", "weight")}
            chunks = 1 if order.schedule is Schedule.DUALPIPE else order.chunks
            stages = Work(**of_stages, send=work.send, saved=work.saved)
            least = float(lower_bound(stages, order.schedule, order.microbatches, chunks))
        return least + sum(self.after.values())

    def simulated(self) -> Simulation:
        """Every piece at its time."""
        found, order = self.estimate, self.order
        used = found.memory.backward
        each = float(used.activations_bytes) / peak_held(order)[0]
        outside = float(found.memory.context_bytes + found.memory.collective_bytes)
        base = outside + float(used.allocated_bytes - used.activations_bytes)
        timeline, send = simulate(order, self.work), float(self.work.send)
        return Simulation(timeline, send, base + each * held(order), base, self.after, found)


def staged(workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration) -> Staged:
    """One plan's pieces of work; holds for what `simulation` does."""
    costs = stage_costs(workload, system, plan, software, calibration)
    found = estimate(workload, system, plan, software, calibration, costs=costs)
    p, v = int(plan.pipeline_parallel), int(plan.virtual_stages)
    m = int(microbatches_of(workload, plan))
    layers, _, gather = stage_work(workload, system, plan, software, calibration, costs, m)
    order = order_of(Schedule(int(plan.schedule)), p, m, v)
    fullest = fullest_stage(costs.layer_count, p, v)
    time = found.time
    after = {
        "reduce gradients": float(time.gradient_reduce_seconds),
        "optimizer": float(time.optimizer_seconds),
        "host memory": float(time.offload_seconds),
        "gather weights": float(time.parameter_gather_seconds - m * fullest * gather),
        "host": float(time.host_seconds),
        "wait for the slowest GPU": float(time.straggler_seconds),
    }
    return Staged(order, _on_stages(order, layers, float(fullest), costs), after, found)


def _on_stages(order: Order, layers: Work, fullest: float, costs: StageCosts) -> Work:
    """Seconds [chunks, stages]: each chunk's run of layers, the ends where micro-batches enter and leave.

    layers: of the fullest stage, which has `fullest` of them. Both ends are forward, backward and weights' gradients in
    the proportions of their kernels together.
    """
    ends, head, count = costs.ends, float(costs.head_seconds), costs.layer_count
    share = {"forward": ends.forward, "backward": ends.backward - ends.weight, "weight": ends.weight}
    seconds = {name: np.zeros((order.chunks, order.stages)) for name in share}
    for route in routes(order.schedule, order.stages, order.chunks):
        extra = int(ends_counted(count, order.stages, len(route) // order.stages))
        runs = np.arange(len(route))
        there = layers_on_stage(extra, count, count + 2 * extra, runs, len(route), 1) / fullest
        chunk, stage = np.transpose(route)
        for name, kernels in share.items():
            of_ends = kernels / (ends.forward + ends.backward)
            seconds[name][chunk, stage] += there * getattr(layers, name)
            seconds[name][route[0]] += of_ends * (ends.total - head)
            seconds[name][route[-1]] += of_ends * head
    return Work(**seconds, send=layers.send, saved=layers.saved)
