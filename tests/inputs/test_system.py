from pathlib import Path

import numpy as np
import pytest

from perfsim.core.arrays import stack
from perfsim.core.fabric import Group
from perfsim.core.hardware import System
from perfsim.errors import InputError, UnsupportedError
from perfsim.formulas.groups import route
from perfsim.formulas.rent import usd_per_hour
from perfsim.inputs.catalogue import Catalogue, catalogue
from perfsim.inputs.system import load_system, to_system


@pytest.fixture(scope="module")
def specs() -> Catalogue:
    return catalogue()


def test_all_systems_are_there_and_sound(specs: Catalogue) -> None:
    assert len(specs.names("systems")) >= 112
    for key in specs.names("systems"):
        system = specs.system(key)
        check_sound(system)
        assert bool(usd_per_hour(system, 1, "on-demand") > 0) == bool(system.offers)


def check_sound(system: System) -> None:
    assert system.gpus_per_domain >= system.gpus_per_node >= 1
    assert system.max_gpus >= system.gpus_per_node
    assert 1 <= system.host_watts_per_gpu < 2000
    links = system.within.entries
    for bandwidth in (links.ring_bytes_per_s, links.exchange_bytes_per_s, links.pair_bytes_per_s):
        assert np.all((bandwidth > 1e7) & (bandwidth < 1e13))
    assert 1e7 < system.between.bytes_per_s < 1e13
    assert np.all((links.transport.simple.fraction > 0) & (links.transport.simple.fraction <= 1.1))
    assert np.all((links.transport.low_latency.base_seconds > 0) & (links.transport.low_latency.base_seconds < 1e-3))
    assert 0 < system.between.fraction <= 1
    assert 0 < system.between.base_seconds < 1e-3


def test_nvswitch_node(specs: Catalogue) -> None:
    system = specs.system("dgx-h100")
    assert system.within.at(8, 1).ring_bytes_per_s == 360e9  # NCCL's channels on 18 links of 20.6 GB/s
    assert system.within.at(8, 1).switch_bytes_per_s == pytest.approx(490.3e9, rel=1e-3)
    assert system.between.bytes_per_s == 50e9
    assert system.between.bytes_per_s * system.gpus_per_node == 400e9
    assert system.max_gpus == 4096 * 8
    assert system.host_limit_watts_per_gpu == 10200 / 8 - 700 > system.host_watts_per_gpu == 100 + 0.15 * 700


def test_rack_that_shares_nvlink(specs: Catalogue) -> None:
    system = specs.system("gb200-nvl72")
    assert (system.gpus_per_node, system.gpus_per_domain) == (4, 72)


def test_a_machine_is_paid_whole(specs: Catalogue) -> None:
    system = specs.system("aws-p5.48xlarge")
    assert usd_per_hour(system, np.array([1, 7, 8, 9, 16]), "on-demand").tolist() == [
        55.04,
        55.04,
        55.04,
        110.08,
        110.08,
    ]
    assert system.offers[0].startswith("AWS p5.48xlarge, after 2025-11")


def test_bridges_join_pairs_and_pcie_joins_the_pairs(specs: Catalogue) -> None:
    direct = specs.system("pcie-4x-a40-nvlink-pairs").within
    assert direct.at(2, 1).ring_bytes_per_s == pytest.approx(48e9)  # NCCL takes a link for 12 GB/s
    assert direct.at(4, 1).ring_bytes_per_s == direct.at(2, 2).ring_bytes_per_s == 31.5e9  # 16 lanes of PCIe 4
    staged = specs.system("nvlink-4x-rtx-3090").within
    assert staged.at(2, 1).ring_bytes_per_s == pytest.approx(48e9)
    # two of four steps are written to and read from 4 channels of DDR4-3200; a GPU reads less than these have
    assert host_rate(specs) < 4 * 25.6e9 / 2 / 2
    assert staged.at(4, 1).ring_bytes_per_s == host_rate(specs)


def test_a_group_has_the_transport_of_its_slowest_link(specs: Catalogue) -> None:
    within, presets = specs.system("pcie-4x-a40-nvlink-pairs").within, specs.collectives
    assert within.at(2, 1).transport.simple.fraction == presets.preset("nvlink-bridge").simple.fraction
    assert within.at(4, 1).transport.simple.fraction == presets.preset("pcie").simple.fraction


def test_cards_without_peer_access_go_through_host_memory(specs: Catalogue) -> None:
    staged, direct = specs.system("pcie-4x-rtx-4090").within.at(4, 1), specs.system("pcie-4x-rtx-a6000").within.at(4, 1)
    assert direct.ring_bytes_per_s == 31.5e9
    assert staged.ring_bytes_per_s == host_rate(specs) < direct.ring_bytes_per_s * direct.transport.simple.fraction


def host_rate(specs: Catalogue) -> float:
    """Of the links' rate, what a GPU uses at most that reads host memory [B/s]."""
    preset = specs.collectives.preset("pcie-host")
    assert preset.most_gb_per_s
    return preset.most_gb_per_s * 1e9 / preset.simple.fraction


def test_gpus_below_one_switch_share_its_uplink_to_host_memory(specs: Catalogue) -> None:
    """Both write and read over 16 lanes of PCIe 3, which leaves each less than it could read."""
    spec = specs.system_spec("pcie-8x-rtx-2080-ti").model_copy(update={"gpus_per_pcie_switch": 2, "host_cpu": "intel"})
    system = to_system("box", spec, specs.gpu("rtx-2080-ti"), specs.gpu_spec("rtx-2080-ti"), specs.collectives)
    for members in (2, 4, 8):
        assert system.within.at(members, 1).ring_bytes_per_s == 15.75e9 / 2


def test_slots_may_differ(tmp_path: Path, specs: Catalogue) -> None:
    path = tmp_path / "box.toml"
    path.write_text(GOOD.replace("= 4\n", '= 4\nslot_lanes = [16, 8, 8, 4]\npeer_to_peer = "yes"\n'))
    spec = load_system(path, specs.names("gpus"))
    system = to_system("box", spec, specs.gpu("rtx-4090"), specs.gpu_spec("rtx-4090"), specs.collectives)
    assert system.within.at(4, 1).ring_bytes_per_s == 31.5e9 / 4
    assert system.within.at(2, 1).ring_bytes_per_s == 31.5e9 / 4


def test_a_machine_without_nics_is_one_node(specs: Catalogue) -> None:
    system = specs.system("pcie-2x-rtx-4090")
    assert system.max_gpus == 2
    assert system.within.at(2, 1).ring_bytes_per_s == host_rate(specs) < 2 * 25.6e9 / 4  # two channels of DDR4-3200
    assert system.between.bytes_per_s * system.gpus_per_node == 1.25e9
    assert system.host_watts_per_gpu == 75


def test_every_card_has_a_box(specs: Catalogue) -> None:
    for key in specs.names("gpus"):
        for count in (1, 2, 8):
            system = specs.box(key, count)
            check_sound(system)
            assert (system.gpu.key, system.max_gpus, system.offers) == (key, count, ())
    assert specs.box(specs.gpu("b100"), 8).within.at(8, 1).ring_bytes_per_s == 720e9


@pytest.mark.parametrize("count", [0, -1, 9, 10**9])
def test_a_box_has_an_end(specs: Catalogue, count: int) -> None:
    with pytest.raises(UnsupportedError, match="a plain machine holds 1 to 8"):
        specs.box("rtx-4090", count)


GOOD = """\
name = "My box"
kind = "pcie-box"
gpu = "rtx-4090"
gpus_per_node = 4
topology = "pcie"
[sources]
"*" = "mine"
"""


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            '"pcie"',
            '"nvswitch"',
            "5: topology: nvswitch without a rate; add nvlink_gb_per_s (both directions, per GPU)",
        ),
        ('"pcie"', '"pcie"\nnics = 2', "6: nics: NICs without a rate; add nic_gbit_per_s"),
        ('"pcie"', '"pcie"\nmax_nodes = 900_000', "6: max_nodes: more than 1,000,000 GPUs; write fewer nodes"),
        ("rtx-4090", "rtx-4909", "3: gpu: rtx-4909 is not among the GPUs; did you mean rtx-4090"),
        ("= 4\n", "= 0\n", "4: gpus_per_node: 0 is not allowed; write a number of at least 1"),
        ('"pcie-box"', '"pcie box"', "2: kind: 'pcie box' is none of node, pcie-box, cloud; did you mean pcie-box?"),
        ('"*" = "mine"', "", "4: gpus_per_node: has no source; add a line to [sources]"),
    ],
)
def test_bad_systems(tmp_path: Path, specs: Catalogue, old: str, new: str, line: str) -> None:
    path = tmp_path / "box.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(InputError) as error:
        load_system(path, specs.names("gpus"))
    assert str(error.value).startswith(f"{path}:{line}")


def test_a_good_system(tmp_path: Path, specs: Catalogue) -> None:
    path = tmp_path / "box.toml"
    path.write_text(GOOD)
    assert load_system(path, specs.names("gpus")).gpus_per_node == 4


WIRED = """\
name = "My machine"
kind = "pcie-box"
gpu = "rtx-a6000"
gpus_per_node = 3
topology = "pcie"
peer_to_peer = "yes"
nics = 1
nic_gbit_per_s = 100
[wiring]
devices = ["cpu0", "memory0", "switch0"]
[[wiring.link]]
between = ["cpu0", "switch0"]
kind = "pcie"
gb_per_s = 31.5
latency_us = 0.5
[[wiring.link]]
between = ["switch0", "gpu0"]
kind = "pcie"
gb_per_s = 31.5
[[wiring.link]]
between = ["switch0", "gpu1"]
kind = "pcie"
gb_per_s = 15.75
[[wiring.link]]
between = ["cpu0", "gpu2"]
kind = "pcie"
gb_per_s = 7.875
[[wiring.link]]
between = ["cpu0", "nic0"]
kind = "nic"
gb_per_s = 12.5
[[wiring.link]]
between = ["cpu0", "memory0"]
kind = "memory"
gb_per_s = 50
[sources]
"*" = "mine"
"""


def test_a_machine_that_is_wired_by_hand(tmp_path: Path, specs: Catalogue) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(WIRED)
    spec = load_system(path, specs.names("gpus"))
    system = to_system("odd", spec, specs.gpu("rtx-a6000"), specs.gpu_spec("rtx-a6000"), specs.collectives)
    assert system.within.at(2, 1).ring_bytes_per_s == 15.75e9
    assert system.within.at(3, 1).ring_bytes_per_s == 7.875e9
    assert system.within.at(1, 1).ring_bytes_per_s > 0
    assert system.between.bytes_per_s == 12.5e9 / 3
    check_sound(system)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('["switch0", "gpu0"]', '["switch0", "gpu7"]', "17: wiring.link[1].between: gpu7 is not there; the node has"),
        ('["switch0", "gpu0"]', '["switch1", "gpu0"]', '17: wiring.link[1].between: switch1 is not there; add "switch'),
        ('["cpu0", "nic0"]', '["cpu0", "nic1"]', "29: wiring.link[4].between: nic1 is not there; the node has nic0 to"),
        ('["cpu0", "gpu2"]', '["cpu0", "cpu0"]', "25: wiring.link[3].between: cpu0 is linked with itself; name two"),
        ('["cpu0", "gpu2"]', '["gpu0", "switch0"]', "25: wiring.link[3].between: these two are linked already; write"),
        ('["cpu0", "memory0"]\nkind = "memory"', '["cpu0", "gpu1"]\nkind = "pcie"', "33: wiring.link[5].between: cpu0"),
        ("= 7.875", "= 0", "27: wiring.link[3].gb_per_s: 0 is not allowed; write a number greater than 0"),
        ("= 7.875", "= -1.0", "27: wiring.link[3].gb_per_s: -1.0 is not allowed; write a number greater than 0"),
        ("gpus_per_node = 3", "gpus_per_node = 4", "11: wiring.link: gpu3 has no way to gpu0; add the links between"),
        ('"memory0", "switch0"', '"memory0", "switch0", "box1"', "10: wiring.devices[3]: box1 is no device; write swi"),
        ('kind = "memory"', 'kind = "pci"', "34: wiring.link[5].kind: 'pci' is none of nvswitch, "),
        ("nics = 1", "nics = 1\nnvlink_domain_gpus = 6", "10: wiring: a rack cannot be wired by hand; leave out"),
    ],
)  # fmt: skip
def test_bad_wirings(tmp_path: Path, specs: Catalogue, old: str, new: str, line: str) -> None:
    path = tmp_path / "odd.toml"
    assert old in WIRED
    path.write_text(WIRED.replace(old, new))
    with pytest.raises(InputError) as error:
        load_system(path, specs.names("gpus"))
    assert f"{path}:{line}" in str(error.value)


def test_a_pcie_tree_has_one_root(tmp_path: Path, specs: Catalogue) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(WIRED.replace('"memory0"', '"cpu1"').replace('kind = "memory"', 'kind = "pcie"'))
    with pytest.raises(InputError, match=r"cpu0 and cpu1 are roots of one PCIe tree; join sockets by a link of kind"):
        load_system(path, specs.names("gpus"))


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("slot_lanes = [16, 8]", "6: slot_lanes: lanes of 2 slots for 4 GPUs; write a number for each GPU"),
        ("sockets = 5", "6: sockets: more sockets than GPUs; leave out sockets without GPUs"),
        ("leaf_oversubscription = 2.0", "6: leaf_oversubscription: without the size of a leaf; add leaf_nodes"),
        ("pod_oversubscription = 2.0", "6: pod_oversubscription: without the size of a pod; add pod_nodes"),
        ("leaf_nodes = 8\npod_nodes = 12", "7: pod_nodes: a pod is not made of whole leaves; write leaf_nodes and a"),
        ("nvlink_domain_gpus = 8", "6: nvlink_domain_gpus: 8 GPUs in nodes of 4 without NVSwitches; write at most"),
        ("leaf_oversubscription = 0.5", "6: leaf_oversubscription: 0.5 is not allowed; write a number of at least 1"),
    ],
)
def test_bad_networks(tmp_path: Path, specs: Catalogue, keys: str, line: str) -> None:
    path = tmp_path / "box.toml"
    path.write_text(GOOD.replace('"pcie"\n', f'"pcie"\n{keys}\n'))
    with pytest.raises(InputError) as error:
        load_system(path, specs.names("gpus"))
    assert str(error.value).startswith(f"{path}:{line}")


def test_oversubscribed_leaves_slow_groups_that_leave_them(tmp_path: Path, specs: Catalogue) -> None:
    path = tmp_path / "cluster.toml"
    text = specs.path("systems", "dgx-h100").read_text()
    path.write_text(text.replace("pcie_lanes", "leaf_nodes = 4\nleaf_oversubscription = 2.0\npcie_lanes"))
    spec = load_system(path, specs.names("gpus"))
    system = to_system(
        "cluster", spec, specs.gpu("h100-sxm5-80gb"), specs.gpu_spec("h100-sxm5-80gb"), specs.collectives
    )
    share = system.between.bytes_per_s
    near, far = route(system, Group(4, 8)), route(system, Group(8, 8))
    assert near.between.bytes_per_s == near.exchange_bytes_per_s == share
    assert far.between.bytes_per_s == share  # one ring of four leaves a leaf, which carries two
    assert far.exchange_bytes_per_s == pytest.approx(share / (2 * 4 / 7))
    assert route(system, Group(8, 32)).between.bytes_per_s == share / 2
    assert route(system, Group(64, 1)).between.bytes_per_s == share


def test_a_rack_holds_whole_nodes_and_a_node_without_switches_few_gpus(tmp_path: Path, specs: Catalogue) -> None:
    path = tmp_path / "rack.toml"
    rack = GOOD.replace('"pcie"', '"nvswitch"\nnvlink_gb_per_s = 900\nnvlink_domain_gpus = 6')
    for text, line in (
        (rack, "7: nvlink_domain_gpus: 6 GPUs are not whole nodes of 4; write a multiple"),
        (GOOD.replace("= 4\n", "= 65\n"), "4: gpus_per_node: 65 GPUs without a plane of NVSwitches; write at most 64"),
    ):
        path.write_text(text)
        with pytest.raises(InputError) as error:
            load_system(path, specs.names("gpus"))
        assert str(error.value) == f"{path}:{line}"


def test_systems_of_all_kinds_stack(specs: Catalogue) -> None:
    keys = ("dgx-1-v100-16gb", "gb200-nvl72", "pcie-2x-rtx-4090", "nvlink-4x-rtx-3090", "dgx-h100", "gh200-node")
    systems = [specs.system(key) for key in keys]
    together = stack(systems)
    for ranks, stride in ((2, 1), (2, 2), (4, 1), (8, 1), (16, 4), (3, 1)):
        found = route(together, Group(ranks, stride))
        for i, system in enumerate(systems):
            alone = route(system, Group(ranks, stride))
            assert found.members[i] == alone.members
            assert found.within.ring_bytes_per_s[i] == alone.within.ring_bytes_per_s
            assert found.within.transport.simple.fraction[i] == alone.within.transport.simple.fraction


def test_a_preset_that_is_nowhere_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "systems").mkdir()
    path = tmp_path / "systems" / "box.toml"
    path.write_text(GOOD.replace("= 4\n", '= 4\ncollectives = "nvswitch-33"\n', 1))
    with pytest.raises(InputError) as error:
        catalogue((tmp_path,)).system("box")
    line = path.read_text().splitlines().index('collectives = "nvswitch-33"') + 1
    assert f"{path}:{line}: collectives: nvswitch-33 is no preset" in str(error.value)
    assert "did you mean nvswitch-3" in str(error.value)
