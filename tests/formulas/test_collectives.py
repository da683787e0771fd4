"""Collectives against published bus bandwidths, and the laws that hold for any machine and payload."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import perfsim as ps
from perfsim.core.fabric import Group
from perfsim.formulas.collectives import (
    all_reduce_seconds,
    all_to_all_seconds,
    half_seconds,
    send_seconds,
)
from perfsim.formulas.groups import route, single_nic

NAMES = ("dgx-h100", "dgx-a100-80gb", "gb200-nvl72", "dgx-1-v100-32gb", "pcie-8x-l40s", "pcie-8x-rtx-a6000")
COLLECTIVES = (all_reduce_seconds, half_seconds, all_to_all_seconds, send_seconds)
systems = st.sampled_from(NAMES)
collectives = st.sampled_from(COLLECTIVES)
sizes = st.floats(1.0, 1e11)
powers = st.integers(0, 8).map(lambda i: 2**i)


@pytest.fixture(scope="module")
def h100():
    return ps.system("dgx-h100")


def test_one_rank_costs_nothing(h100) -> None:
    assert all_reduce_seconds(route(h100, Group(1, 1)), 1e9) == 0.0
    assert half_seconds(route(h100, Group(1, 1)), 1e9) == 0.0
    assert all_to_all_seconds(route(h100, Group(1, 1)), 1e9) == 0.0


@pytest.mark.parametrize(
    ("system", "ranks", "busbw"),
    [
        ("dgx-h200", 4, 363.3e9),  # ring; from 5 on added up in the switch
        ("dgx-h200", 5, 414.2e9),
        ("dgx-h200", 6, 435.6e9),
        ("dgx-h200", 7, 460.0e9),
        ("dgx-h200", 8, 473.1e9),
        ("aws-p6-b200.48xlarge", 4, 673.2e9),  # rings up to 5
        ("aws-p6-b200.48xlarge", 5, 677.8e9),
        ("aws-p6-b200.48xlarge", 6, 778.2e9),
        ("aws-p6-b200.48xlarge", 7, 811.2e9),
        ("aws-p6-b200.48xlarge", 8, 838.0e9),
    ],
)
def test_bus_bandwidth_of_8_gib_as_measured(system, ranks, busbw) -> None:
    """stas00/ml-engineering network/README.md, nccl-tests."""
    size = 2.0**33
    seconds = all_reduce_seconds(route(ps.system(system), Group(ranks, 1)), size)
    assert 2 * (ranks - 1) / ranks * size / seconds == pytest.approx(busbw, rel=0.04)


def test_the_switch_adds_up_from_as_many_ranks_as_measured() -> None:
    """Rings up to four H200 and five B200, the switch beyond (nccl-tests, the same source)."""
    for name, first in (("dgx-h200", 5), ("aws-p6-b200.48xlarge", 6)):
        within = ps.system(name).within
        added = [n for n in range(2, 9) if within.at(n, 1).switch_bytes_per_s > within.at(n, 1).ring_bytes_per_s]
        assert added == list(range(first, 9))


@pytest.mark.parametrize(
    ("system", "ranks", "size", "busbw", "within"),
    [
        ("aws-p5.48xlarge", 16, 2.0**34, 487.1e9, 0.04),  # two nodes: a double binary tree, bound by the switches
        ("aws-p5.48xlarge", 16, 2.0**24, 105.5e9, 0.05),
        ("aws-p4de.24xlarge", 16, 2.0**31, 78.3e9, 0.04),  # 50 GB/s of NICs carry the tree's half of the ring's bytes
        ("gb200-nvl72", 1440, 2.0**34, 405.7e9, 0.08),  # eight NICs of 72
    ],
)
def test_bus_bandwidth_between_nodes_as_measured(system, ranks, size, busbw, within) -> None:
    """nccl-tests logs of aws-samples/awsome-distributed-training and coreweave/nccl-tests."""
    seconds = all_reduce_seconds(route(ps.system(system), Group(ranks, 1)), size)
    assert 2 * (ranks - 1) / ranks * size / seconds == pytest.approx(busbw, rel=within)


def test_a_hand_over_is_no_faster_than_its_link(h100) -> None:
    assert send_seconds(route(h100, Group(2, 1)), 1e9) > 1e9 / 450e9
    assert send_seconds(route(h100, Group(2, 8)), 1e9) > 1e9 / 50e9


def test_strided_groups_share_the_nics(h100) -> None:
    size = 2**30
    assert half_seconds(route(h100, Group(16, 8)), size) > half_seconds(route(h100, Group(16, 1)), size)


def test_one_nic_is_what_software_of_2021_drove(h100) -> None:
    """A ring over two nodes through one NIC of eight: 8 times as long; inside a node no difference."""
    size = 2.0**34
    across, inside = route(h100, Group(16, 1)), route(h100, Group(8, 1))
    ratio = half_seconds(single_nic(across), size) / half_seconds(across, size)
    assert ratio == pytest.approx(360 / 48, rel=0.03)  # with all NICs the ring inside the nodes decides
    assert half_seconds(single_nic(inside), size) == half_seconds(inside, size)


@given(systems, collectives, powers, powers, sizes, st.floats(1.0, 100.0))
def test_a_larger_payload_never_takes_less_time(name, collective, ranks, stride, size, factor) -> None:
    links = route(ps.system(name), Group(ranks, stride))
    assert collective(links, size * factor) >= collective(links, size) * (1 - 1e-12)


@given(systems, collectives, powers, powers, sizes, st.floats(1.0, 10.0))
def test_faster_links_never_take_longer(name, collective, ranks, stride, size, factor) -> None:
    links = route(ps.system(name), Group(ranks, stride))
    names = ("ring_bytes_per_s", "switch_bytes_per_s", "exchange_bytes_per_s", "pair_bytes_per_s")
    within = replace(links.within, **{n: factor * getattr(links.within, n) for n in names})
    faster = replace(
        links, within=within, between=replace(links.between, bytes_per_s=factor * links.between.bytes_per_s)
    )
    assert collective(faster, size) <= collective(links, size) * (1 + 1e-12)


@given(systems, st.sampled_from([2, 4, 8]), sizes)
def test_never_faster_than_the_links_carry(name, ranks, size) -> None:
    """Every rank sends and receives (n-1)/n of the array, once for a half and all-to-all, twice for a ring all-reduce;
    a switch that adds up sends once each way: then (n+1)/n of the array cross a GPU's links."""
    system = ps.system(name)
    links = route(system, Group(ranks, 1))
    rate = 1.13 * links.within.ring_bytes_per_s  # measured rings exceed NCCL's round channels by up to that
    once = (ranks - 1) / ranks * size
    assert half_seconds(links, size) >= once / rate
    assert all_to_all_seconds(links, size) >= once / rate
    has_switch = links.within.switch_bytes_per_s > 0
    assert all_reduce_seconds(links, size) >= ((ranks + 1) / ranks * size / 2 if has_switch else 2 * once) / rate


@given(systems, collectives, st.sampled_from([2, 4, 8]), sizes)
def test_inside_a_node_is_never_slower_than_across_nodes(name, collective, ranks, size) -> None:
    system = ps.system(name)
    inside = route(system, Group(ranks, 1))
    across = route(system, Group(ranks, int(system.gpus_per_domain)))
    assert collective(inside, size) <= collective(across, size) * (1 + 1e-9)


@settings(max_examples=30)
@given(systems, collectives, st.lists(st.tuples(powers, powers, sizes), min_size=1, max_size=8))
def test_alone_as_in_an_array(name, collective, cases) -> None:
    system = ps.system(name)
    ranks, strides, payloads = (np.array(column) for column in zip(*cases, strict=True))
    together = collective(route(system, Group(ranks, strides)), payloads)
    alone = [collective(route(system, Group(n, s)), size) for n, s, size in cases]
    assert together.tolist() == [float(a) for a in alone]


def test_a_node_with_fewer_nics_than_gpus_uses_all_its_nics() -> None:
    """16 GPUs share 8 NICs of a DGX-2: 8 heads that send alone fill them all."""
    size, system = 2.0**34, ps.system("dgx-2")
    nics = float(system.between.bytes_per_s) * int(system.gpus_per_node)
    bus = 2 * 63 / 64 * size / all_reduce_seconds(route(system, Group(64, 1)), size)
    assert 0.9 * nics < bus <= nics
