"""What a fat tree's thinner upper links leave of the NICs, when every node's groups exchange at once.

Nodes are numbered leaf by leaf; a group is `nodes` of them, `stride` apart, and the nodes between belong to like
groups. Source: perfsim's own closed forms of the most loaded link; tests/graphs/test_fat_tree.py counts it on graphs.
"""

import numpy as np

from perfsim.core.fabric import Network
from perfsim.core.numbers import Bools, Floats, Ints


def ring_contention(network: Network, nodes: Ints, stride: Ints) -> Floats:
    """By how much a ring over the nodes is slower than their NICs, at least 1.

    A ring enters and leaves a switch of L nodes once, and min(stride, L) rings cross there: o·min(stride, L)/L for
    links up that are o times thinner than those down. Groups that do not fill whole switches can meet two rings there.

    >>> float(ring_contention(Network(1.0, 0.0, 0.0, 1.0, leaf_nodes=8, leaf_oversubscription=4.0), 16, 4))
    2.0
    """
    found: Floats = 1.0
    for size, oversubscription in _levels(network):
        crossing = np.where(_fills(size, nodes, stride), 1.0, 2.0) * stride
        slower = oversubscription * np.minimum(crossing, size) / size
        found = np.where(_leaves(size, nodes, stride), np.maximum(found, slower), found)
    return found


def exchange_contention(network: Network, nodes: Ints, stride: Ints) -> Floats:
    """By how much an all-to-all over the nodes is slower than their NICs, at least 1.

    With m of k nodes below a switch, (k - m)/(k - 1) of what a NIC sends goes up: o·(k - m)/(k - 1). Where groups do
    not fill whole switches, m counts half.

    >>> float(exchange_contention(Network(1.0, 0.0, 0.0, 1.0, leaf_nodes=8, leaf_oversubscription=4.0), 15, 1))
    3.142857142857143
    """
    found: Floats = 1.0
    for size, oversubscription in _levels(network):
        near = np.minimum(nodes, size / stride) / np.where(_fills(size, nodes, stride), 1.0, 2.0)
        leaving = (nodes - np.maximum(1.0, near)) / np.maximum(1.0, nodes - 1.0)
        found = np.where(_leaves(size, nodes, stride), np.maximum(found, oversubscription * leaving), found)
    return found


def _levels(network: Network) -> tuple[tuple[Floats, Floats], ...]:
    return (
        (1.0 * np.asarray(network.leaf_nodes), network.leaf_oversubscription),
        (1.0 * np.asarray(network.pod_nodes), network.pod_oversubscription),
    )


def _leaves(size: Floats, nodes: Ints, stride: Ints) -> Bools:
    """Whether some groups reach beyond their switch: all, or those across its edge."""
    return np.asarray(np.mod(size, nodes * stride) != 0)


def _fills(size: Floats, nodes: Ints, stride: Ints) -> Bools:
    """Whether a block of like groups ends where a switch's nodes end."""
    return np.asarray(np.mod(nodes * stride, size) == 0)
