"""The network between nodes as a tree of leaf switches, spines and a core, each level one node for all its switches.

The spines of a pod share its traffic evenly, so they are drawn and counted as one; so is the core.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfsim.graphs.wiring import Link

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class FatTree:
    """`nodes` nodes that send `node_bytes_per_s` each [B/s], in leaves and pods; 0 leaf_nodes: one switch for all.

    leaf_nodes, leaf_oversubscription, pod_nodes, pod_oversubscription: as in fabric.Network; 0 pod_nodes: one pod.
    rails: leaves that every node is linked to, one for each of its NICs; 1 without rails.
    """

    nodes: int
    node_bytes_per_s: float
    leaf_nodes: int = 0
    leaf_oversubscription: float = 1.0
    pod_nodes: int = 0
    pod_oversubscription: float = 1.0
    rails: int = 1


def tree_links(tree: FatTree) -> Iterator[Link]:
    """The links up from node0, node1, ... to leaf0, ..., spine0, ... and core0, lowest first."""
    if not tree.leaf_nodes or tree.leaf_nodes >= tree.nodes:
        for node in range(tree.nodes):
            for rail in range(tree.rails):
                yield Link(f"node{node}", f"leaf{rail}", "network", tree.node_bytes_per_s / tree.rails)
        return
    pod_nodes = tree.pod_nodes or tree.nodes
    for node in range(tree.nodes):
        for rail in range(tree.rails):
            leaf = node // tree.leaf_nodes * tree.rails + rail
            yield Link(f"node{node}", f"leaf{leaf}", "network", tree.node_bytes_per_s / tree.rails)
    up = tree.leaf_nodes * tree.node_bytes_per_s / tree.rails / tree.leaf_oversubscription
    for first in range(0, tree.nodes, tree.leaf_nodes):
        for rail in range(tree.rails):
            leaf = first // tree.leaf_nodes * tree.rails + rail
            yield Link(f"leaf{leaf}", f"spine{first // pod_nodes}", "network", up)
    if pod_nodes < tree.nodes:
        up = pod_nodes * tree.node_bytes_per_s / tree.pod_oversubscription
        for pod in range(-(-tree.nodes // pod_nodes)):
            yield Link(f"spine{pod}", "core0", "network", up)


def tree_graph(tree: FatTree) -> "nx.DiGraph":
    """The network as a graph: an edge each way for each link, with bytes_per_s and kind."""
    import networkx as nx

    graph = nx.DiGraph()
    for link in tree_links(tree):
        graph.add_edge(link.a, link.b, bytes_per_s=link.bytes_per_s, kind=link.kind)
        graph.add_edge(link.b, link.a, bytes_per_s=link.bytes_per_s, kind=link.kind)
    return graph
