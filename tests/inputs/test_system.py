from pathlib import Path

import numpy as np
import pytest

from perfsim.core.hardware import System
from perfsim.errors import InputError, UnsupportedError
from perfsim.inputs.catalogue import Catalogue, catalogue
from perfsim.inputs.system import load_system


@pytest.fixture(scope="module")
def specs() -> Catalogue:
    return catalogue()


def test_all_systems_are_there_and_sound(specs: Catalogue) -> None:
    assert len(specs.names("systems")) >= 112
    for key in specs.names("systems"):
        system = specs.system(key)
        check_sound(system)
        assert system.has_price == (system.usd_per_gpu_hour > 0) == bool(system.price_basis)


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
    assert system.within.at(8, 1).switch_bytes_per_s == pytest.approx(476e9)
    assert system.between.bytes_per_s == 50e9
    assert system.between.bytes_per_s * system.gpus_per_node == 400e9
    assert system.max_gpus == 4096 * 8
    assert system.host_watts_per_gpu == 10200 / 8 - 700


def test_rack_that_shares_nvlink(specs: Catalogue) -> None:
    system = specs.system("gb200-nvl72")
    assert (system.gpus_per_node, system.gpus_per_domain) == (4, 72)


def test_price_per_gpu_with_its_date(specs: Catalogue) -> None:
    system = specs.system("aws-p4d.24xlarge")
    assert system.usd_per_gpu_hour == pytest.approx(21.957642 / 8)
    assert system.price_basis.startswith("AWS p4d.24xlarge, after 2025-11")


def test_bridges_count_only_where_they_join_all_gpus(specs: Catalogue) -> None:
    pair, two_pairs = specs.system("nvlink-2x-rtx-3090"), specs.system("nvlink-4x-rtx-3090")
    assert pair.within.at(2, 1).ring_bytes_per_s == pytest.approx(48e9)
    assert two_pairs.within.at(2, 1).ring_bytes_per_s == pytest.approx(48e9)
    assert two_pairs.within.at(4, 1).ring_bytes_per_s == 31.5e9  # 16 lanes of PCIe 4 between the pairs
    assert two_pairs.within.at(2, 2).ring_bytes_per_s == 31.5e9


def test_cards_without_peer_access_go_through_host_memory(specs: Catalogue) -> None:
    staged = specs.system("pcie-4x-rtx-4090").within.at(4, 1)
    direct = specs.system("pcie-4x-rtx-a6000").within.at(4, 1)
    assert staged.ring_bytes_per_s == direct.ring_bytes_per_s == 31.5e9
    assert staged.transport.simple.fraction < direct.transport.simple.fraction


def test_a_machine_without_nics_is_one_node(specs: Catalogue) -> None:
    system = specs.system("pcie-2x-rtx-4090")
    assert system.max_gpus == 2
    assert system.within.entries.ring_bytes_per_s[0] == 31.5e9 / 2  # 8 lanes each
    assert system.between.bytes_per_s * system.gpus_per_node == 1.25e9
    assert system.host_watts_per_gpu == 75


def test_every_card_has_a_box(specs: Catalogue) -> None:
    for key in specs.names("gpus"):
        for count in (1, 2, 8):
            system = specs.box(key, count)
            check_sound(system)
            assert (system.gpu.key, system.max_gpus, system.has_price) == (key, count, False)
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
