"""Joules of a step from how busy the GPUs are, not from their power limit alone."""

import numpy as np

from perfsim.core.hardware import Gpu, System
from perfsim.core.numbers import Floats, Ints
from perfsim.core.results import Energy, StepTime


def streaming_watts(gpu: Gpu, held_watts: Floats) -> Floats:
    """What a board draws while its memory runs at full rate and little is computed [W], no more than its limit.

    held_watts and what the memory draws, bandwidth reached times joules of a byte.
    """
    memory = gpu.memory_bandwidth_bytes_per_s * gpu.calibration.bandwidth_fraction * gpu.power.joules_per_byte
    return np.minimum(held_watts + memory, gpu.power_limit_watts)


def gpu_watts(system: System, time: StepTime, busy_watts: Floats, held_watts: Floats) -> Floats:
    """Mean board power during a step [W].

    busy_watts while the model's kernels run, held_watts (clocks up, nothing multiplied) while exchanges do, these and
    the memory at its full rate while the optimizer does, idle while the GPU waits for the host, its memory or other
    stages. Source: docs/formulas.md#energy.
    """
    waiting = time.launch_seconds + time.host_seconds + time.pipeline_bubble_seconds + time.offload_seconds
    kernels = time.forward_seconds + time.backward_seconds + time.recompute_seconds
    held = np.maximum(time.total_seconds - waiting - kernels - time.optimizer_seconds, 0.0)
    streaming = streaming_watts(system.gpu, held_watts) * time.optimizer_seconds
    joules = busy_watts * kernels + held_watts * held + streaming + system.gpu.power.idle_watts * waiting
    return joules / time.total_seconds


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
