"""What lies in the host's memory takes seconds: copies over PCIe or C2C, and updates by the CPU."""

import numpy as np

from perfsim.core.hardware import System
from perfsim.core.numbers import Floats
from perfsim.core.optimizer import OPTIMIZERS, Optimizer
from perfsim.core.plan import Offload, Plan
from perfsim.core.results import Memory
from perfsim.core.workload import Precision, Workload
from perfsim.formulas.groups import shard_group
from perfsim.formulas.memory import Held, paged_bytes, updates_on_host
from perfsim.formulas.pipeline import Work

# Of a link's rate, what copies from and to pinned memory reach. Assumed: 25 of 31.5 GB/s over 16 lanes of PCIe 4, 12-13
# of 15.75 over PCIe 3, 375 of 450 GB/s over NVLink-C2C are recalled from measurements, not looked up.
COPY_SHARE = 0.8
# Of the host memory's rate, what a fused Adam on all cores reaches. Assumed, near what is recalled (not looked up) of
# ZeRO-Offload's CPU-Adam: a billion parameters in 0.24 s on two Xeon 8168 (Ren et al. 2021, arXiv 2101.06840)
UPDATE_SHARE = 0.5


def can_update_on_host(optimizer: Optimizer) -> bool:
    """Optimizers of formats of their own run on the GPU alone, and so do Muon's products."""
    return not (optimizer.own_bytes or optimizer.orthogonalises)


def copy_bytes_per_s(system: System) -> Floats:
    """What one GPU copies from or to its host's memory while all of its node's GPUs do [B/s]."""
    return COPY_SHARE * np.minimum(system.host_link_bytes_per_s, system.host_memory_bytes_per_s)


def host_update_seconds(optimizer: Optimizer, precision: Precision, system: System, parameters: Floats) -> Floats:
    """Seconds in which a GPU's share of the CPU updates `parameters` parameters [s].

    One fused pass at `UPDATE_SHARE` of the host memory's rate, and the 16-bit copy of a master weight.
    """
    per_parameter = optimizer.update_bytes * precision.state_bytes / 4.0
    per_parameter += precision.activation_bytes * (precision.master_bytes > 0)
    return per_parameter * parameters / (UPDATE_SHARE * np.asarray(system.host_memory_bytes_per_s))


def offload_seconds(
    workload: Workload, system: System, plan: Plan, held: Held, stage: Work, evicted: Floats
) -> tuple[Floats, Floats]:
    """What offload adds that kernels do not hide: (to every micro-batch, to the step besides) [s].

    The optimizer's: gradients leave beside every backward pass, new weights come back after the CPU's update.
    Parameters': weights come for the forward and again for the backward pass, beside which gradients leave.
    Activations' leave beside the forward pass and come back beside the backward pass. evicted: bytes of paged state
    that the GPU has no room for; they come once a step while as much goes. Both directions of a link run at once.
    A third of a pass counts as forward, as with gradients and gathers over data-parallel ranks.
    Source: Ren et al. 2021 (arXiv 2101.06840), Rajbhandari et al. 2021 (arXiv 2104.07857); overlap: perfsim's own.
    """
    offload = np.asarray(plan.offload)
    if not np.any(offload) and not OPTIMIZERS[workload.optimizer].is_paged:
        return 0.0, 0.0
    rate = copy_bytes_per_s(system)
    value, ranks = workload.precision.activation_bytes, _ranks_of_state(plan)
    weights = value * held.parameters / ranks * (offload == Offload.PARAMETERS)
    gradients = value * held.trained_parameters / ranks * updates_on_host(plan)
    updated = value * held.trained_parameters / ranks * (offload == Offload.OPTIMIZER)
    kept = held.kept_bytes * (offload == Offload.ACTIVATIONS)
    ahead = np.maximum(0.0, (weights + kept) / rate - stage.total / 3.0)
    back = np.maximum(0.0, np.maximum(weights + kept, gradients) / rate - stage.total * (2.0 / 3.0))
    update = host_update_seconds(OPTIMIZERS[workload.optimizer], workload.precision, system, gradients / value)
    return ahead + back, update + (updated + evicted) / rate


def evicted_bytes(workload: Workload, plan: Plan, held: Held, used: Memory, capacity: Floats) -> Floats:
    """What of a paged optimizer's state the GPU has no room for, so that the driver moves it every step [B]."""
    optimizer = OPTIMIZERS[workload.optimizer]
    if not optimizer.is_paged:
        return 0.0
    paged = paged_bytes(optimizer) * held.trained_parameters / _ranks_of_state(plan)
    return np.clip(used.total_bytes + paged - capacity, 0.0, paged)


def _ranks_of_state(plan: Plan) -> Floats:
    """Ranks that share the optimizer's state."""
    return np.where(np.asarray(plan.zero_stage) >= 1, 1.0 * shard_group(plan).ranks, 1.0)
