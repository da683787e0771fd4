"""Joules of a step from how busy the GPUs are, not from their power limit alone."""

import numpy as np

from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.numbers import Floats
from perfsim.core.results import Energy, StepTime


def gpu_watts(system: System, time: StepTime, calibration: Calibration) -> Floats:
    """Mean board power during a step [W]: idle + (busy - idle)·u, u the share of the step that kernels run.

    Shares of the power limit come from measured training power (ml-energy/zeus NSDI 2023 traces): .88-.91 of the
    limit when compute-busy on V100, RTX 6000 and A40, about .15 when waiting.
    """
    waiting = time.launch_seconds + time.pipeline_bubble_seconds + time.host_seconds
    total = time.total_seconds
    busy = np.maximum(0.0, 1.0 - waiting / total)
    idle, full = calibration.idle_power_share, calibration.busy_power_share
    return system.gpu.power_limit_watts * (idle + (full - idle) * busy)


def energy(system: System, gpu_seconds: Floats, watts: Floats, pue: float) -> Energy:
    """Joules of one step over all GPUs, their hosts and the building [J].

    gpu_seconds: GPUs x seconds; watts: of one board; `pue` multiplies what the machines draw.
    """
    boards = gpu_seconds * watts
    hosts = gpu_seconds * system.host_watts_per_gpu
    return Energy(boards, hosts, (pue - 1.0) * (boards + hosts))
