"""The closed forms of contention against the most loaded link of a graph, counted flow by flow."""

from collections import defaultdict
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfsim.core.fabric import Network
from perfsim.formulas.contention import exchange_contention, ring_contention
from perfsim.graphs.fat_tree import FatTree, tree_graph
from perfsim.graphs.interconnect import groups

RATE = 1.0


def slowed(tree: FatTree, flows: list[tuple[int, int]]) -> float:
    """Load of the most loaded link over that of the most loaded link of a node."""
    graph = tree_graph(tree)
    load: dict[tuple[str, str], float] = defaultdict(float)
    for a, b in flows:
        paths = list(nx.all_shortest_paths(graph, f"node{a}", f"node{b}"))
        for path in paths:
            for edge in pairwise(path):
                load[edge] += 1.0 / len(paths)
    seconds = {edge: count / graph.edges[edge]["bytes_per_s"] for edge, count in load.items()}
    return max(seconds.values()) / max(s for (a, _), s in seconds.items() if a.startswith("node"))


def ring_flows(tree: FatTree, members: int, stride: int) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for group in groups(tree.nodes, members, stride) for a, b in pairwise([*group, group[0]])]


def exchange_flows(tree: FatTree, members: int, stride: int) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for group in groups(tree.nodes, members, stride) for a in group for b in group if a != b]


def network_of(tree: FatTree) -> Network:
    return Network(
        RATE, 0.0, 0.0, 1.0, tree.leaf_nodes, tree.leaf_oversubscription, tree.pod_nodes or 1, tree.pod_oversubscription
    )


power = st.integers(0, 6).map(lambda i: 2**i)
oversubscription = st.sampled_from([1.0, 1.5, 2.0, 4.0, 7.0])


@settings(max_examples=60, deadline=None)
@given(leaf=power, over=oversubscription, members=power, stride=power, rails=st.sampled_from([1, 2]))
def test_closed_forms_are_the_most_loaded_link_of_aligned_groups(leaf, over, members, stride, rails):
    if members < 2 or members * stride > 64 or leaf > 32:
        return
    tree = FatTree(64, RATE, leaf, over, rails=rails)
    network = network_of(tree)
    assert ring_contention(network, members, stride) == pytest.approx(slowed(tree, ring_flows(tree, members, stride)))
    if members * 64 <= 1024:
        flows = exchange_flows(tree, members, stride)
        assert exchange_contention(network, members, stride) == pytest.approx(slowed(tree, flows))


@settings(max_examples=80, deadline=None)
@given(
    nodes=st.integers(4, 40), leaf=st.integers(1, 16), over=oversubscription, members=st.integers(2, 12),
    stride=st.integers(1, 12),
)  # fmt: skip
def test_closed_forms_bound_groups_of_any_size_and_stride(nodes, leaf, over, members, stride):
    if members * stride > nodes or leaf >= nodes:
        return
    tree = FatTree(nodes, RATE, leaf, over)
    network = network_of(tree)
    assert slowed(tree, ring_flows(tree, members, stride)) <= ring_contention(network, members, stride) * (1 + 1e-9)
    exchanged = slowed(tree, exchange_flows(tree, members, stride))
    assert exchanged <= exchange_contention(network, members, stride) * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(over=oversubscription, pod_over=oversubscription, members=power, stride=power)
def test_pods_are_a_second_level(over, pod_over, members, stride):
    if members < 2 or members * stride > 64:
        return
    tree = FatTree(64, RATE, 4, over, 16, pod_over)
    found = ring_contention(network_of(tree), members, stride)
    assert found == pytest.approx(slowed(tree, ring_flows(tree, members, stride)))


def test_numbers_broadcast():
    network = Network(RATE, 0.0, 0.0, 1.0, leaf_nodes=8, leaf_oversubscription=np.array([1.0, 2.0, 4.0]))
    assert ring_contention(network, 16, 4).tolist() == [1.0, 1.0, 2.0]
    assert ring_contention(network, np.array([[2], [16]]), 4).shape == (2, 3)
    assert exchange_contention(network, 2, 4).tolist() == [1.0, 1.0, 1.0]  # stays below its leaf


def test_a_small_cluster_has_one_switch():
    assert "spine0" not in tree_graph(FatTree(8, RATE, 8, 4.0))
    assert len([n for n in tree_graph(FatTree(8, RATE, rails=4)) if n.startswith("leaf")]) == 4
