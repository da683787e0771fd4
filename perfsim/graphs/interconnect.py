"""What a group of GPUs inside one domain gets of its links, while the domain's other GPUs do the same.

A domain becomes a directed graph, flows take its shortest paths, and links that several flows cross are shared:
`bottleneck_seconds` bounds the time from below (the most loaded link), `fair_rates` fills links evenly. Flows that
carry as much each end no sooner than the slowest of them, so there both agree. Source: docs/formulas.md#topology.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from perfsim.core.arrays import Lookup
from perfsim.core.fabric import Segment
from perfsim.errors import UnsupportedError
from perfsim.graphs.rings import ring_count
from perfsim.graphs.wiring import Domain, kind_of

if TYPE_CHECKING:
    import networkx as nx

# By falling speed: the slowest that a group crosses is its transport.
TRANSPORTS = ("nvswitch", "nvlink", "nvlink-mesh", "nvlink-bridge", "pcie", "pcie-host", "pcie-host-sockets")
NVLINKS = TRANSPORTS[:4]
SLACK = 1e-9  # relative, for rounding


@dataclass(frozen=True)
class GroupRates:
    """Bytes/s of each GPU of a group, one direction, and the name of its transport; compare fabric.Segment."""

    ring: float
    exchange: float
    pair: float
    transport: str


@dataclass(frozen=True)
class Routes:
    """The way from every GPU to every other.

    usage: [gpus, gpus, links] share of a flow's bytes that crosses a link. transport: [gpus, gpus] place in TRANSPORTS.
    capacity: [links] [B/s]. straight: [gpus, gpus] NVLink from GPU to GPU [B/s].
    """

    usage: np.ndarray
    transport: np.ndarray
    capacity: np.ndarray
    straight: np.ndarray


def domain_graph(domain: Domain) -> "nx.DiGraph":
    """The domain as a graph: an edge each way for each link, with bytes_per_s, kind and latency_seconds.

    Raises: UnsupportedError for a link to a GPU that the domain does not have.
    """
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_nodes_from(f"gpu{i}" for i in range(domain.gpus))
    for link in domain.links:
        for device in (link.a, link.b):
            if kind_of(device) == "gpu" and device not in graph:
                raise UnsupportedError(f"{device} is linked, but the domain holds {domain.gpus} GPUs")
        numbers: dict[str, Any] = {
            "bytes_per_s": link.bytes_per_s, "kind": link.kind, "latency_seconds": link.latency_seconds,
        }  # fmt: skip
        graph.add_edge(link.a, link.b, **numbers)
        graph.add_edge(link.b, link.a, **numbers)
    return graph


def segments(domain: Domain, segment_of: Callable[["GroupRates", int], Segment]) -> Lookup[Segment]:
    """What groups inside the domain get, by their ranks and stride; `segment_of` makes it of rates and ranks."""
    rates = group_rates(domain)
    if len(rates) == 1:  # a plane of switches: whatever the stride
        alone = rates[1, 1]
        entries = [segment_of(alone, members) for members in range(domain.gpus + 1)]
        return Lookup.of(np.arange(domain.gpus + 1, dtype=np.int64)[:, None], entries)
    kinds = list(dict.fromkeys((found, members) for (members, _), found in rates.items()))
    index = np.full((domain.gpus + 1, domain.gpus // 2 + 1), kinds.index((rates[1, 1], 1)), dtype=np.int64)
    for (members, stride), found in rates.items():
        if members > 1:
            index[members, stride] = kinds.index((found, members))
    return Lookup.of(index, [segment_of(found, members) for found, members in kinds])


@lru_cache(maxsize=4096)
def group_rates(domain: Domain) -> dict[tuple[int, int], GroupRates]:
    """Rates by (members, stride) of every group that fits into the domain; (1, 1) is a GPU alone.

    A plane of NVSwitches that gives all GPUs as much needs no graph: every group has its GPUs' full rate.
    """
    alone = _alone(domain)
    if alone.transport == "nvswitch" and _is_even_plane(domain):
        return {(1, 1): alone}
    ways = routes(domain)
    found = {shape: rates_of(ways, *shape) for shape in shapes(domain.gpus)}
    return {(1, 1): alone} | found


def shapes(gpus: int) -> Iterator[tuple[int, int]]:
    """(members, stride) of every group of at least two that fits into so many GPUs."""
    for members in range(2, gpus + 1):
        for stride in range(1, gpus // members + 1):
            yield members, stride


def groups(gpus: int, members: int, stride: int) -> np.ndarray:
    """All like groups of the GPUs at once, [groups, members].

    Raises: UnsupportedError where not even one fits.

    >>> groups(8, 2, 2).tolist()
    [[0, 2], [1, 3], [4, 6], [5, 7]]
    """
    block = members * stride
    if block > gpus:
        raise UnsupportedError(f"{members} GPUs, {stride} apart, in a domain of {gpus}; use fewer or nearer ones")
    first = (np.arange(0, gpus - block + 1, block)[:, None] + np.arange(stride)).ravel()
    return first[:, None] + stride * np.arange(members)


def rates_of(ways: Routes, members: int, stride: int) -> GroupRates:
    """What each GPU of such groups gets while all of them exchange at once.

    ring: rings over NVLinks that join all members directly, else one ring in the GPUs' order, which crosses every
    link of a PCIe tree once each way. exchange: to all others at once, the slowest of them counts.
    """
    found = groups(len(ways.usage), members, stride)
    following = np.roll(found, -1, axis=1)
    i, j = np.nonzero(~np.eye(members, dtype=bool))
    ring = min(_straight_rate(ways.straight[np.ix_(group, group)]) for group in found)
    used = ways.transport[found, following]
    if not ring:
        ring = _shared(ways, found.ravel(), following.ravel())
    elif members > 2:
        used = ways.transport[found[:, i], found[:, j]][ways.straight[found[:, i], found[:, j]] > 0]
    return GroupRates(
        ring=ring,
        exchange=(members - 1) * _shared(ways, found[:, i].ravel(), found[:, j].ravel()),
        pair=_shared(ways, found[:, :-1].ravel(), found[:, 1:].ravel()),
        transport=TRANSPORTS[int(used.max())],
    )


def fair_rates(usage: np.ndarray, capacity: np.ndarray) -> np.ndarray:
    """Max-min fair rates [flows] of flows that share links: all grow alike until a link is full, then the others do.

    usage: [flows, links] share of a flow's bytes that crosses a link. capacity: [links] [B/s].
    Source: progressive filling, Bertsekas and Gallager, Data Networks, 6.5.2.

    >>> fair_rates(np.array([[1, 0], [1, 1], [0, 1]]), np.array([10.0, 4.0])).tolist()
    [8.0, 2.0, 2.0]
    """
    rates, free, grows = np.zeros(len(usage)), 1.0 * capacity, usage.any(axis=1)
    while grows.any():
        load = usage[grows].sum(axis=0)
        step = np.min(np.divide(free, load, out=np.full(len(load), np.inf), where=load > 0.0))
        rates[grows] += step
        free = free - step * load
        is_full = (load > 0.0) & (free <= SLACK * capacity)
        grows &= ~usage[:, is_full].any(axis=1)
    return rates


def bottleneck_seconds(flow_bytes: np.ndarray, usage: np.ndarray, capacity: np.ndarray) -> float:
    """The least time [s] in which flows of `flow_bytes` [flows] can end: that of the most loaded link."""
    return float(np.max(flow_bytes @ usage / capacity))


@lru_cache(maxsize=256)
def routes(domain: Domain) -> Routes:
    """The ways between the domain's GPUs: over NVLink, at most one device between, else over PCIe.

    Several shortest ways share the bytes evenly. Without peer access a byte over PCIe is written to the memory of the
    sender's socket and read from there; so it is on Intel's hosts where the way leads through a CPU (NVIDIA/nccl
    src/graph/paths.cc, ncclTopoCheckP2p).

    Raises: UnsupportedError where two GPUs are not joined.
    """
    graph = domain_graph(domain)
    edges = {edge: i for i, edge in enumerate(graph.edges)}
    n = domain.gpus
    usage, transport = np.zeros((n, n, len(edges))), np.zeros((n, n), dtype=np.int64)
    straight = np.zeros((n, n))
    finder = _Finder(graph, domain.has_peer_access, domain.host_cpu)
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            name, paths = finder.paths(f"gpu{i}", f"gpu{j}")
            transport[i, j] = TRANSPORTS.index(name)
            for path in paths:
                for edge in pairwise(path):
                    usage[i, j, edges[edge]] += 1.0 / len(paths)
            if graph.has_edge(f"gpu{i}", f"gpu{j}"):
                straight[i, j] = graph.edges[f"gpu{i}", f"gpu{j}"]["bytes_per_s"]
    capacity = np.array([graph.edges[edge]["bytes_per_s"] for edge in edges])
    return Routes(usage, transport, capacity, straight)


class _Finder:
    """Shortest ways between GPUs in a domain's graph, by the kind of link."""

    def __init__(self, graph: "nx.DiGraph", has_peer_access: bool, host_cpu: str) -> None:
        self._graph, self._is_staged, self._is_intel = graph, not has_peer_access, host_cpu == "intel"
        self._nvlink = graph.edge_subgraph([e for e in graph.edges if graph.edges[e]["kind"] in NVLINKS])
        self._host = graph.edge_subgraph([e for e in graph.edges if graph.edges[e]["kind"] in ("pcie", "socket")])

    def paths(self, source: str, target: str) -> tuple[str, list[list[str]]]:
        """The transport's name and the ways that share the bytes."""
        import networkx as nx

        if source in self._nvlink and target in self._nvlink and nx.has_path(self._nvlink, source, target):
            paths = list(nx.all_shortest_paths(self._nvlink, source, target))
            if len(paths[0]) <= 3:
                kinds = {self._nvlink.edges[e]["kind"] for path in paths for e in pairwise(path)}
                return max(kinds, key=TRANSPORTS.index), paths
        between = [d for d in self._host if kind_of(d) != "gpu" or d in (source, target)]
        tree = self._host.subgraph(between)
        if source not in tree or target not in tree or not nx.has_path(tree, source, target):
            raise UnsupportedError(f"no way from {source} to {target}; link them, or both to a PCIe switch or socket")
        straight = nx.shortest_path(tree, source, target)
        sockets = {device for device in straight if kind_of(device) == "cpu"}
        if self._is_staged or (self._is_intel and sockets):
            path = self._staged(tree, source, target)
            return "pcie-host" if len(sockets) < 2 or self._is_intel else "pcie-host-sockets", [path]
        return "pcie", [straight]

    def _staged(self, tree: "nx.DiGraph", source: str, target: str) -> list[str]:
        import networkx as nx

        ways = nx.single_source_shortest_path(tree, source)
        hosts = [device for device in ways if kind_of(device) == "cpu"]
        if not hosts:
            raise UnsupportedError(f"no host memory between {source} and {target}, which cannot reach each other's")
        host = min(hosts, key=lambda device: len(ways[device]))
        memory = [device for device in self._graph[host] if kind_of(device) == "memory"][:1]
        stop = [*memory, host] if memory else []
        return [*ways[host], *stop, *nx.shortest_path(tree, host, target)[1:]]


def _shared(ways: Routes, sources: np.ndarray, targets: np.ndarray) -> float:
    """The rate of the slowest of flows that run at once [B/s]."""
    return float(fair_rates(ways.usage[sources, targets], ways.capacity).min())


def _straight_rate(straight: np.ndarray) -> float:
    """Bytes/s of all rings over direct NVLinks together, at the best of the links' rates; 0 where there is none."""
    speeds = np.unique(straight[straight > 0.0])
    return max(
        (float(one) * ring_count(np.floor(straight / one + SLACK).astype(np.int64)) for one in speeds), default=0.0
    )


def _alone(domain: Domain) -> GroupRates:
    """A GPU without partners: the fastest link it has."""
    own = [link for link in domain.links if "gpu0" in (link.a, link.b)]
    if not own:
        raise UnsupportedError("gpu0 has no link")
    link = max(own, key=lambda link: link.bytes_per_s)
    name = "pcie-host" if link.kind == "pcie" and not domain.has_peer_access else link.kind
    return GroupRates(link.bytes_per_s, link.bytes_per_s, link.bytes_per_s, name)


def _is_even_plane(domain: Domain) -> bool:
    """Whether one plane of NVSwitches gives every GPU the same rate."""
    links = [link for link in domain.links if link.kind == "nvswitch"]
    ends: Sequence[str] = [end for link in links for end in (link.a, link.b)]
    return len(set(ends)) == len(ends) // 2 + 1 == domain.gpus + 1 and len({link.bytes_per_s for link in links}) == 1
