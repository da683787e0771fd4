"""Seconds to build the network of 1,024 nodes, the links of nodes, and what groups of all shapes get of both.

Run: python benchmarks/fabric_table.py
"""

import time
from collections.abc import Callable

import numpy as np

from perfsim.core.fabric import Network
from perfsim.formulas.contention import exchange_contention, ring_contention
from perfsim.graphs.fat_tree import FatTree, tree_graph
from perfsim.graphs.interconnect import group_rates, routes
from perfsim.graphs.rings import ring_count
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.wiring import domain_of

NODES, LEAF, POD, RAILS = 1024, 32, 256, 8


def timed(name: str, run: Callable[[], object]) -> float:
    """Print and return the wall seconds of one call."""
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    print(f"{name:<60} {seconds:8.3f} s")
    return seconds


def main() -> None:
    """Print each part's time and their sum, which is to stay within 2 s."""
    tree = FatTree(NODES, 400e9, LEAF, 2.0, POD, 4.0, RAILS)
    network = Network(400e9, None, LEAF, 2.0, POD, 4.0)  # type: ignore[arg-type]
    total = timed("import networkx", lambda: __import__("networkx"))
    total += timed(f"graph of {NODES:,} nodes on {RAILS} rails", lambda: tree_graph(tree))

    nodes, stride = np.meshgrid(np.arange(2, NODES + 1), np.arange(1, NODES // 2 + 1), indexing="ij")
    fits = nodes * stride <= NODES

    def contention() -> None:
        ring_contention(network, nodes[fits], stride[fits])
        exchange_contention(network, nodes[fits], stride[fits])

    total += timed(f"contention of {fits.sum():,} shapes of groups", contention)
    known = catalogue()
    specs = {key: known.system_spec(key) for key in known.names("systems")}
    domains = {key: domain_of(spec, known.gpu_spec(spec.gpu)) for key, spec in specs.items()}
    for key in ("dgx-1-v100-16gb", "pcie-8x-rtx-4090", "gb200-nvl72"):
        total += timed(f"groups inside {key}", lambda key=key: group_rates(domains[key]))
    print(f"{'in all':<60} {total:8.3f} s")
    group_rates.cache_clear()
    routes.cache_clear()
    timed(f"groups inside all {len(domains)} systems", lambda: [group_rates(domain) for domain in domains.values()])
    mesh = np.array([[0, 1, 1, 2], [1, 0, 2, 1], [1, 2, 0, 2], [2, 1, 2, 0]])
    timed("rings on four GPUs of a DGX-1", lambda: ring_count(mesh))


if __name__ == "__main__":
    main()
