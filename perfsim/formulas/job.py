"""A whole job from one of its steps: hours, kWh and dollars, with what is lost of them."""

from dataclasses import dataclass

from perfsim.core.hardware import System
from perfsim.core.numbers import Floats, Ints
from perfsim.core.results import Energy, JobTime
from perfsim.core.site import Site
from perfsim.core.workload import Workload
from perfsim.formulas.cost import cost
from perfsim.formulas.energy import energy
from perfsim.formulas.goodput import job_time
from perfsim.units import HOUR, JOULES_PER_KWH


@dataclass(frozen=True)
class Job:
    """A job's time in parts, and what it takes in all [h], [kWh] at the meter, [USD]."""

    time: JobTime
    hours: Floats
    kwh: Floats
    usd: Floats


def whole_job(workload: Workload, system: System, gpus: Ints, site: Site, step_seconds: Floats, step: Energy) -> Job:
    """The job of `workload.steps` steps that take `step_seconds` and the joules of `step`.

    Repeated steps draw what steps do; through start-up, saves and restarts boards are idle and hosts work on.
    """
    time = job_time(workload, system, gpus, site, step_seconds)
    idle = energy(system, gpus * time.waiting_seconds, system.gpu.power.idle_watts, site.pue)
    steps = workload.steps + time.repeated_seconds / step_seconds
    pairs = zip(step.parts().values(), idle.parts().values(), strict=True)
    whole = Energy(*(steps * one + rest for one, rest in pairs))
    dollars = cost(system, gpus, time.total_seconds, whole, site)
    return Job(time, time.total_seconds / HOUR, whole.total_joules / JOULES_PER_KWH, dollars.total_usd)
