"""What offload takes from the GPU, what it costs, and who has it."""

import numpy as np
import pytest

import perfsim as ps
from perfsim.core.plan import Offload, Plan, Problem
from perfsim.formulas.offload import COPY_SHARE, UPDATE_SHARE, copy_bytes_per_s
from perfsim.search.space import Space
from perfsim.search.sweep import sweep

PARAMETERS = 8.030e9
BOX = ps.catalogue().box("a100-sxm4-80gb", 1)


def step(offload: Offload, software: str = "deepspeed-zero3-2021", system: ps.System = BOX, **keys: object):
    options = {"precision": "bf16-mixed", "seq_len": 512, "global_batch_size": 8, "optimizer": "adamw"} | keys
    workload = ps.workload("llama3-8b", task="finetune", **options)
    return ps.estimate(
        workload, system, Plan(micro_batch_size=8, zero_stage=3, offload=offload, recompute=2), ps.software(software)
    )


def test_the_optimizer_leaves_with_master_weights_and_gradients() -> None:
    found = step(Offload.OPTIMIZER)
    assert float(found.memory.backward.optimizer_bytes) == 0.0
    assert float(found.memory.backward.weights_bytes) == pytest.approx(2 * PARAMETERS, rel=1e-3)
    assert float(found.memory.backward.gradients_bytes) < 0.15 * 4 * PARAMETERS
    assert float(found.memory.host_bytes) == pytest.approx((12 + 2) * PARAMETERS, rel=1e-3)


def test_parameters_leave_but_for_what_is_gathered() -> None:
    found = step(Offload.PARAMETERS)
    assert float(found.memory.backward.weights_bytes) == 0.0
    assert float(found.memory.host_bytes) == pytest.approx((12 + 2 + 2) * PARAMETERS, rel=1e-3)
    assert float(found.memory.backward.buffers_bytes) > 2 * 3 * 218e6  # three layers of 16-bit weights


def test_activations_leave_but_for_two_layers() -> None:
    here, away = step(Offload.NONE), step(Offload.ACTIVATIONS)
    layer = 8 * 512 * 4096 * 2
    assert float(here.memory.backward.activations_bytes) == pytest.approx(32 * layer, rel=1e-3)
    assert float(away.memory.backward.activations_bytes) == pytest.approx(2 * layer, rel=1e-3)
    assert float(away.memory.host_bytes) == pytest.approx(32 * layer, rel=1e-3)


def test_the_cpu_updates_at_its_memorys_rate() -> None:
    found = step(Offload.OPTIMIZER)
    seconds = (28 + 2) * PARAMETERS / (UPDATE_SHARE * float(BOX.host_memory_bytes_per_s))
    back = 2 * PARAMETERS / float(copy_bytes_per_s(BOX))
    gradients = 2 * PARAMETERS / float(copy_bytes_per_s(BOX))  # hidden in part
    assert seconds + back <= float(found.time.offload_seconds) * (1 + 1e-3) <= seconds + back + gradients
    assert float(found.time.optimizer_seconds) == 0.0


def test_zero_offloads_own_measurement() -> None:
    """10 billion parameters in 2.57 s on the CPUs of a DGX-2 (arXiv 2101.06840), whose memory does 256 GB/s."""
    seconds = 30 * 10e9 / (UPDATE_SHARE * 256e9)
    assert seconds == pytest.approx(2.57, rel=0.15)


def test_links_of_hosts() -> None:
    """x16 of PCIe 4; C2C of a GH200, and half of one Grace's for each GPU of a GB200."""
    systems = {"pcie-8x-a100-pcie": 31.5e9, "gh200-node": 450e9, "gb200-nvl72": 225e9}
    for name, rate in systems.items():
        assert float(ps.system(name).host_link_bytes_per_s) <= rate
    assert float(copy_bytes_per_s(ps.system("gh200-node"))) == COPY_SHARE * 450e9


@pytest.mark.parametrize(
    ("software", "offload", "is_refused"),
    [
        ("deepspeed-zero3-2021", Offload.PARAMETERS, False),
        ("llm-c", Offload.OPTIMIZER, True),
        ("torchtitan", Offload.PARAMETERS, False),
        ("torchtitan", Offload.ACTIVATIONS, True),
        ("llm-c", Offload.NONE, False),
    ],
)
def test_software_says_what_it_has(software: str, offload: Offload, is_refused: bool) -> None:
    assert bool(int(step(offload, software).problems) & Problem.OFFLOAD) is is_refused


def test_optimizers_of_gpus_stay_there() -> None:
    for optimizer in ("adamw8bit", "muon"):
        assert int(step(Offload.OPTIMIZER, optimizer=optimizer).problems) & Problem.OFFLOAD
        assert not int(step(Offload.ACTIVATIONS, optimizer=optimizer).problems) & Problem.OFFLOAD


def test_more_host_bandwidth_never_slows_a_step() -> None:
    from dataclasses import replace

    rates = np.array([1e10, 3e10, 1e11, 1e12])
    system = replace(BOX, host_link_bytes_per_s=rates, host_memory_bytes_per_s=2 * rates)
    for offload in Offload:
        seconds = np.broadcast_to(step(offload, system=system).time.total_seconds, rates.shape)
        assert np.all(np.diff(seconds) <= 0)


def test_a_sweep_tries_them() -> None:
    workload = ps.workload("llama3-8b", task="finetune", seq_len=512, global_batch_size=8, precision="bf16-mixed")
    space = Space(counts=(1,), offload=tuple(Offload), recompute=(2,), micro_batch_size=(1,))
    system = ps.catalogue().box("rtx-4090", 1)
    found = sweep(workload, ps.software("deepspeed-zero3-2021"), ps.catalogue().calibration(), [system], space)
    assert set(np.asarray(found.plans.offload)) == {Offload.OPTIMIZER, Offload.PARAMETERS}
