"""One plan's question and answer, as the reports of single plans take it."""

from collections.abc import Mapping
from dataclasses import dataclass

from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.plan import Plan, Problem
from perfsim.core.results import Estimate
from perfsim.core.site import Site
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.search.intervals import Intervals


@dataclass(frozen=True)
class Case:
    """One plan with its estimate; `operation_bounds` says "compute" or "memory" for each operation of a layer.

    intervals: what 90 % of measurements lie in, and what each figure rests on.
    """

    workload: Workload
    system: System
    plan: Plan
    software: Software
    site: Site
    estimate: Estimate
    operation_bounds: Mapping[str, str]
    intervals: Intervals | None = None

    @property
    def problems(self) -> list[Problem]:
        """Why the plan cannot run; empty when it can."""
        return [problem for problem in Problem if int(self.estimate.problems) & problem]


def make_case(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration, site: Site
) -> Case:
    """The plan with its estimate and the bound of every operation."""
    from perfsim.estimate import estimate

    result = estimate(workload, system, plan, software, calibration, site)
    return Case(workload, system, plan, software, site, result, operation_bounds(workload, system, plan, software))


def operation_bounds(workload: Workload, system: System, plan: Plan, software: Software) -> dict[str, str]:
    """Which side of the roofline's ridge each operation of a layer lies on, by the least bytes it has to move.

    Source: Williams, Waterman, Patterson 2009, "Roofline".
    """
    from perfsim.graphs.step import prefix_of
    from perfsim.graphs.transformer import step_graphs

    gpu = system.gpu
    peak = gpu.peak_flops_per_s[workload.precision.matmul] * gpu.calibration.gemm_fraction[workload.precision.matmul]
    ridge = peak / (gpu.memory_bandwidth_bytes_per_s * gpu.calibration.bandwidth_fraction)
    bounds: dict[str, str] = {}
    for part, _, graph in step_graphs(workload, plan, software, software.attention):
        for name in graph.nodes:
            operation = graph.nodes[name]["operation"]
            moved = operation.read_bytes + operation.written_bytes
            bounds[prefix_of(workload.model, part) + name] = (
                "compute" if operation.forward_flops > ridge * moved else "memory"
            )
    return bounds
