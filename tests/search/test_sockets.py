"""What a machine may draw from its sockets decides which plans run, building and idle boards apart."""

from pathlib import Path

import numpy as np
import pytest

import perfsim as ps
from perfsim.core.site import Site
from perfsim.formulas.energy import machine_watts
from perfsim.inputs.catalogue import catalogue

SCENARIO = """\
[workload]
model = "bert-large"
seq_len = 128
steps = 100
global_batch_size = 32
precision = "amp-fp16"
[search]
gpus = ["RTX 3090"]
counts = [1, 2, 4, 8]
power_limit_watts = [150, 250, 350]
[site]
pue = 2.0
"""


def swept(folder: Path, watts: int) -> ps.Sweep:
    path = folder / "mine.toml"
    path.write_text(SCENARIO + (f"socket_watts = {watts}\n" if watts else ""), encoding="utf-8")
    return ps.sweep(path)


def kept(found: ps.Sweep) -> set[tuple[int, float]]:
    """Counts and power limits of the plans that run."""
    limits = [float(found.systems[i].gpu.power_limit_watts) for i in found.system_index]
    return set(zip(np.asarray(found.plans.gpus).tolist(), limits, strict=True))


@pytest.mark.parametrize("watts", [0, 600, 1400, 1800])
def test_what_runs_is_what_the_sockets_bear(tmp_path: Path, watts: int) -> None:
    found = swept(tmp_path, watts)
    bears = {
        (count, limit)
        for count in (1, 2, 4, 8)
        for limit in (150.0, 250.0, 350.0)
        if not watts or any(
            system.gpu.power_limit_watts == limit and system.max_gpus >= count
            and min(count, system.gpus_per_node) * limit
            + system.host_limit_watts_per_gpu * system.gpus_per_node <= watts
            for system in found.systems
        )
    }  # fmt: skip
    assert kept(found) == bears
    assert bool(found.certificate.problems.get(ps.Problem.SOCKET)) == bool(watts)


def test_eight_cards_are_too_much_for_a_socket_unless_their_limit_is_lowered(tmp_path: Path) -> None:
    found = kept(swept(tmp_path, 1900))
    assert {limit for count, limit in found if count == 8} == {150.0}
    assert {limit for count, limit in found if count == 4} == {150.0, 250.0}


def test_an_estimate_names_the_sockets_and_a_nodes_boards_count_alone() -> None:
    box, node = catalogue().box("rtx-3090", 8), catalogue().system("dgx-h100")
    job = ps.workload("bert-large", seq_len=128, global_batch_size=32, steps=1, precision="amp-fp16")
    plans = ps.Plan(data_parallel=np.array([1, 2, 8]))
    found = ps.estimate(job, box, plans, site=Site(socket_watts=1800.0, pue=3.0))
    assert [bool(bits & ps.Problem.SOCKET) for bits in np.asarray(found.problems)] == [False, False, True]
    assert not np.any(ps.estimate(job, box, plans).problems)
    assert machine_watts(node, 8) == machine_watts(node, 64) > machine_watts(node, 4)
    assert "sockets" in ps.Problem.SOCKET.text and "power_limit_watts" in ps.Problem.SOCKET.remedy
