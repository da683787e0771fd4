"""Joules of a step from how busy the GPUs are, not from their power limit alone."""

import numpy as np

from perfsim.core.hardware import Gpu, System
from perfsim.core.numbers import Floats, Ints
from perfsim.core.results import Energy, StepTime


def streaming_watts(gpu: Gpu) -> Floats:
    """What the memory draws at its full rate [W]: bandwidth reached times joules of a byte."""
    return gpu.memory_bandwidth_bytes_per_s * gpu.calibration.bandwidth_fraction * gpu.power.joules_per_byte


def gpu_watts(system: System, time: StepTime, busy_watts: Floats, held_watts: Floats) -> Floats:
    """Mean board power during a step [W].

    busy_watts while the model's kernels run, held_watts (clocks up, nothing multiplied) while exchanges do, these and
    the memory at its full rate while the optimizer does, idle while the GPU waits for the host, its memory or other
    stages. Source: docs/formulas.md#energy.
    """
    waiting = time.launch_seconds + time.host_seconds + time.pipeline_bubble_seconds + time.offload_seconds
    kernels = time.forward_seconds + time.backward_seconds + time.recompute_seconds
    held = np.maximum(time.total_seconds - waiting - kernels, 0.0)
    joules = busy_watts * kernels + held_watts * held + streaming_watts(system.gpu) * time.optimizer_seconds
    return (joules + system.gpu.power.idle_watts * waiting) / time.total_seconds


def energy(system: System, gpu_seconds: Floats, watts: Floats, pue: float) -> Energy:
    """Joules of one step over all GPUs, their hosts and the building [J].

    gpu_seconds: GPUs x seconds; watts: of one board; `pue` multiplies what the machines draw.
    """
    boards = gpu_seconds * watts
    hosts = gpu_seconds * system.host_watts_per_gpu
    return Energy(boards, hosts, (pue - 1.0) * (boards + hosts))


def machine_watts(system: System, gpus: Ints) -> Floats:
    """The most that a machine draws when a job uses `gpus` of its kind: boards at their limit, and the whole host [W].

    Boards that the job leaves idle are not counted, nor is the building (pue).
    """
    boards = np.minimum(gpus, system.gpus_per_node) * system.gpu.power_limit_watts
    watts: Floats = boards + system.host_limit_watts_per_gpu * system.gpus_per_node
    return watts
