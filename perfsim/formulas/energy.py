"""Joules of a step from how busy the GPUs are, not from their power limit alone."""

from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.numbers import Floats
from perfsim.core.results import Energy, StepTime


def gpu_watts(system: System, time: StepTime, calibration: Calibration) -> Floats:
    """Mean board power during a step [W]: busy - (busy - idle)·w, w the share of the step that it waits.

    Shares of the power limit come from measured training power (ml-energy/zeus NSDI 2023 traces): .88-.91 of the
    limit when compute-busy on V100, RTX 6000 and A40, about .15 when waiting.
    """
    waiting = time.launch_seconds + time.host_seconds + time.pipeline_bubble_seconds
    limit = system.gpu.power_limit_watts
    saved = limit * (calibration.busy_power_share - calibration.idle_power_share)
    return limit * calibration.busy_power_share - saved * (waiting / time.total_seconds)


def energy(system: System, gpu_seconds: Floats, watts: Floats, pue: float) -> Energy:
    """Joules of one step over all GPUs, their hosts and the building [J].

    gpu_seconds: GPUs x seconds; watts: of one board; `pue` multiplies what the machines draw.
    """
    boards = gpu_seconds * watts
    hosts = gpu_seconds * system.host_watts_per_gpu
    return Energy(boards, hosts, (pue - 1.0) * (boards + hosts))
