"""Rates of groups on graphs of machines: known wirings, laws, and graphs against closed forms."""

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfsim.errors import UnsupportedError
from perfsim.graphs import interconnect
from perfsim.graphs.interconnect import (
    bottleneck_seconds,
    domain_graph,
    fair_rates,
    group_rates,
    groups,
    rates_of,
    routes,
    shapes,
)
from perfsim.graphs.wiring import (
    CUBE_MESH,
    CUBE_MESH_LINKS,
    Domain,
    Host,
    Link,
    bridge_links,
    host_links,
    mesh_links,
    switched_links,
)
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.wiring import domain_of

X16 = 31.5e9


def host(gpus=8, sockets=2, per_switch=0, memory=400e9, socket=60e9, slots=None) -> Host:
    return Host(tuple(slots or (X16,) * gpus), sockets, per_switch, X16, socket, memory, 0, 0.0)


def box(peer=True, extra=(), **keys) -> Domain:
    made = host(**keys)
    return Domain(len(made.slots_bytes_per_s), (*extra, *host_links(made)), peer)


def cube(architecture: str, gpus: int = 8) -> Domain:
    rate = 25e9 * CUBE_MESH_LINKS[architecture]
    return Domain(gpus, (*mesh_links(gpus, architecture, rate), *host_links(host(gpus))), True)


def test_the_cubes_of_both_dgx_1_use_all_links_of_every_gpu():
    for architecture, count in CUBE_MESH_LINKS.items():
        ends = [gpu for pair, links in CUBE_MESH[architecture].items() for gpu in pair * links]
        assert [ends.count(gpu) for gpu in range(8)] == [count] * 8
        assert group_rates(cube(architecture))[8, 1].ring == 25e9 * count  # a ring for each link: 6 on V100, 4 on P100


@pytest.mark.parametrize(
    ("members", "stride", "ring", "transport"),
    [
        (2, 1, 25e9, "nvlink-mesh"),  # the pairs 0-1 and 4-5 have one link
        (2, 4, 25e9, "nvlink-mesh"),  # 0-4 has two, 2-6 one
        (4, 1, 100e9, "nvlink-mesh"),
        (5, 1, 25e9, "nvlink-mesh"),  # GPU 4 has links to GPU 0 alone: no ring, a way through other GPUs
    ],
)
def test_groups_of_a_v100_cube(members, stride, ring, transport):
    found = group_rates(cube("volta"))[members, stride]
    assert (found.ring, found.transport) == (ring, transport)


def test_an_exchange_in_the_cube_goes_through_gpus_between():
    found = group_rates(cube("volta"))[8, 1]
    assert found.exchange < found.ring
    assert found.exchange > 25e9


def test_a_pcie_ring_uses_every_link_once_each_way():
    rates = group_rates(box(per_switch=2))
    assert rates[8, 1].ring == rates[2, 1].ring == X16
    assert rates[2, 4].ring == 60e9 / 4  # four pairs, each across the sockets
    assert rates[8, 1].transport == "pcie"


def test_switches_share_their_uplink():
    """Two GPUs on a switch that both talk to another switch."""
    assert group_rates(box(per_switch=2))[2, 2].ring == X16 / 2
    assert group_rates(box(per_switch=0))[2, 2].ring == X16


def test_without_peer_access_bytes_are_written_and_read():
    rates = group_rates(box(peer=False, gpus=4, sockets=1, memory=100e9))
    assert rates[4, 1].ring == 100e9 / 2 / 4
    assert rates[4, 1].transport == "pcie-host"
    assert group_rates(box(peer=False, gpus=4, sockets=1, memory=1e12))[4, 1].ring == X16


def test_on_hosts_of_intel_peers_meet_below_one_switch_only():
    made = box(per_switch=2)
    rates = group_rates(Domain(made.gpus, made.links, True, "intel"))
    assert (rates[2, 1].ring, rates[2, 1].transport) == (X16, "pcie")
    assert rates[4, 1].transport == rates[8, 1].transport == "pcie-host"  # its sockets cost nothing more
    staged = box(peer=False, per_switch=2)
    assert group_rates(Domain(staged.gpus, staged.links, False, "amd"))[8, 1].transport == "pcie-host-sockets"
    assert group_rates(Domain(staged.gpus, staged.links, False, "intel"))[2, 1].ring == X16 / 2  # both use the uplink


def test_bridges_carry_what_stays_on_them():
    rates = group_rates(box(gpus=4, sockets=1, extra=tuple(bridge_links(4, 2, 56e9))))
    assert (rates[2, 1].ring, rates[2, 1].transport) == (56e9, "nvlink-bridge")
    assert (rates[2, 2].ring, rates[2, 2].transport) == (X16, "pcie")
    assert (rates[4, 1].ring, rates[4, 1].transport) == (X16, "pcie")


def test_gpus_that_are_all_linked_use_all_links():
    rates = group_rates(Domain(4, tuple(mesh_links(4, "ampere", 300e9, "nvlink")), True))
    assert [rates[n, 1].ring for n in (2, 3, 4)] == pytest.approx([100e9, 200e9, 300e9])


@pytest.mark.parametrize("gpus", [2, 4, 8])
def test_a_plane_of_switches_is_what_its_graph_gives(gpus):
    """The closed form, and rates counted on the graph."""
    domain = Domain(gpus, (*switched_links(gpus, 450e9), *host_links(host(gpus, 1))), True)
    (alone,) = group_rates(domain).values()
    for shape in shapes(gpus):
        found = rates_of(routes(domain), *shape)
        for rate in (found.ring, found.exchange, found.pair):
            assert rate == pytest.approx(450e9)
        assert found.transport == alone.transport == "nvswitch"


def test_an_uneven_plane_is_counted():
    links = [Link(f"gpu{i}", "nvswitch0", "nvswitch", 100e9 if i else 50e9) for i in range(4)]
    assert group_rates(Domain(4, tuple(links), True))[4, 1].ring == pytest.approx(50e9)


def test_groups_of_a_domain():
    assert groups(8, 2, 4).tolist() == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert groups(8, 3, 1).tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(UnsupportedError, match="9 GPUs, 1 apart, in a domain of 8"):
        groups(8, 9, 1)


def test_links_to_gpus_that_are_not_there():
    with pytest.raises(UnsupportedError, match="gpu2 is linked, but the domain holds 2 GPUs"):
        domain_graph(Domain(2, (Link("gpu0", "gpu2", "nvlink", 1e9),), True))


def test_gpus_that_are_not_joined():
    with pytest.raises(UnsupportedError, match="no way from gpu0 to gpu1"):
        group_rates(Domain(2, (Link("gpu0", "cpu0", "pcie", 1e9), Link("gpu1", "cpu1", "pcie", 1e9)), True))
    with pytest.raises(UnsupportedError, match="no host memory between gpu0 and gpu1"):
        group_rates(Domain(2, (Link("gpu0", "switch0", "pcie", 1e9), Link("gpu1", "switch0", "pcie", 1e9)), False))


flows = st.integers(1, 12)
links = st.integers(1, 6)


@given(st.data(), flows, links)
def test_fair_shares_fit_their_links_and_none_can_grow_alone(data, flows, links):
    rows = st.lists(st.booleans(), min_size=links, max_size=links).filter(any)
    usage = np.array(data.draw(st.lists(rows, min_size=flows, max_size=flows)), dtype=float)
    capacity = np.array(data.draw(st.lists(st.floats(1.0, 100.0), min_size=links, max_size=links)))
    rates = fair_rates(usage, capacity)
    load = rates @ usage
    assert np.all(load <= capacity * (1 + 1e-9))
    for i in range(flows):  # some full link of its way has no flow that is faster
        full = [k for k in range(links) if usage[i, k] and load[k] >= capacity[k] * (1 - 1e-6)]
        assert any(rates[i] >= rates[usage[:, k] > 0].max() * (1 - 1e-6) for k in full)


@given(st.data(), flows, links)
def test_no_sharing_is_faster_than_the_most_loaded_link(data, flows, links):
    rows = st.lists(st.booleans(), min_size=links, max_size=links).filter(any)
    usage = np.array(data.draw(st.lists(rows, min_size=flows, max_size=flows)), dtype=float)
    capacity = np.array(data.draw(st.lists(st.floats(1.0, 100.0), min_size=links, max_size=links)))
    sizes = np.array(data.draw(st.lists(st.floats(1.0, 100.0), min_size=flows, max_size=flows)))
    rates = fair_rates(usage, capacity)
    assert bottleneck_seconds(sizes, usage, capacity) <= np.max(sizes / rates) * (1 + 1e-9)
    alike = np.ones(flows)
    assert bottleneck_seconds(alike, usage, capacity) == pytest.approx(1.0 / rates.min())


boxes = st.builds(
    box,
    peer=st.booleans(),
    sockets=st.sampled_from([1, 2]),
    per_switch=st.sampled_from([0, 2, 4]),
    memory=st.floats(10e9, 500e9),
    socket=st.floats(5e9, 200e9),
    slots=st.lists(st.sampled_from([X16, X16 / 2, X16 / 4]), min_size=4, max_size=8),
)
machines = st.one_of(
    boxes,
    st.sampled_from([cube("volta"), cube("pascal"), cube("volta", 4), cube("volta", 6)]),
    boxes.map(lambda d: replace(d, links=(*d.links, *bridge_links(d.gpus, 2, 56e9)))),
)


@settings(max_examples=60, deadline=None)
@given(machines, st.data())
def test_never_faster_than_a_bisection_allows(domain, data):
    """Any cut of the GPUs: what crosses it in a second is no more than its links carry."""
    graph = domain_graph(domain)
    side = data.draw(st.lists(st.booleans(), min_size=domain.gpus, max_size=domain.gpus))
    left = [f"gpu{i}" for i in range(domain.gpus) if side[i]]
    right = [f"gpu{i}" for i in range(domain.gpus) if not side[i]]
    if not left or not right:
        return
    cut = _cut(graph, left, right)
    for (members, stride), rates in group_rates(domain).items():
        if members < 2:
            continue
        found = groups(domain.gpus, members, stride)
        across = sum(side[a] and not side[b] for group in found for a in group for b in group)
        rings = sum(any(side[a] for a in group) and not all(side[a] for a in group) for group in found)
        assert across * rates.exchange / (members - 1) <= cut * (1 + 1e-6)
        assert rings * rates.ring <= cut * (1 + 1e-6)


def _cut(graph, left, right) -> float:
    """The most that can flow from some GPUs to the others, whatever the ways."""
    whole = nx.DiGraph(graph)
    whole.add_edges_from([("source", gpu) for gpu in left] + [(gpu, "sink") for gpu in right])
    return nx.maximum_flow_value(whole, "source", "sink", capacity="bytes_per_s")


@settings(max_examples=100, deadline=None)
@given(machines, st.data(), st.floats(1.0, 4.0))
def test_a_faster_link_never_slows_a_group(domain, data, factor):
    i = data.draw(st.integers(0, len(domain.links) - 1))
    link = domain.links[i]
    better = replace(link, bytes_per_s=factor * link.bytes_per_s)
    faster = replace(domain, links=(*domain.links[:i], better, *domain.links[i + 1 :]))
    before, after = group_rates(domain), group_rates(faster)
    for shape in shapes(domain.gpus):
        for name in ("ring", "exchange", "pair"):
            assert getattr(after[shape], name) >= getattr(before[shape], name) * (1 - 1e-9)


@settings(max_examples=40, deadline=None)
@given(machines, st.floats(0.5, 4.0))
def test_rates_scale_with_all_links(domain, factor):
    scaled = replace(domain, links=tuple(replace(k, bytes_per_s=factor * k.bytes_per_s) for k in domain.links))
    before, after = group_rates(domain), group_rates(scaled)
    for shape in shapes(domain.gpus):
        assert after[shape].ring == pytest.approx(factor * before[shape].ring)
        assert after[shape].transport == before[shape].transport


def test_a_group_inside_a_node_is_never_slower_than_across_nodes():
    """Neighbours get at least a GPU's share of the NICs, in every listed system that has NICs."""
    known = catalogue()
    for key in known.names("systems"):
        system, spec = known.system(key), known.system_spec(key)
        if spec.nics and system.gpus_per_domain > 1:
            rates = group_rates(domain_of(spec, known.gpu_spec(spec.gpu)))
            neighbours = [found.ring for (_, stride), found in rates.items() if stride == 1]
            assert min(neighbours) >= system.between.bytes_per_s, key


def test_no_graph_is_built_for_a_plane_of_switches(monkeypatch):
    monkeypatch.setattr(interconnect, "domain_graph", lambda domain: pytest.fail("built a graph"))
    domain = Domain(72, tuple(switched_links(72, 899e9)), True)
    assert group_rates(domain)[1, 1].ring == 899e9
