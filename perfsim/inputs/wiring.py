"""The keys of a system file that say how its GPUs are linked, and the domain that they describe."""

from collections.abc import Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from perfsim.graphs.fat_tree import FatTree
from perfsim.graphs.wiring import Domain, Host, Link, bridge_links, host_links, kind_of, mesh_links, switched_links
from perfsim.inputs.files import Name, Spec, Texts
from perfsim.inputs.gpu import GpuSpec
from perfsim.inputs.positions import Loc
from perfsim.units import BITS_PER_BYTE, GIGA, MICRO

if TYPE_CHECKING:
    from perfsim.inputs.system import SystemSpec

# One direction of 16 lanes after encoding [bytes/s], by PCIe generation.
X16_BYTES_PER_S = {1: 4e9, 2: 8e9, 3: 15.75e9, 4: 31.5e9, 5: 63e9, 6: 126e9, 7: 252e9}

# Assumed where a file says nothing, by PCIe generation, as such hosts usually have it [GB/s]: one way of all the links
# between two sockets (2 UPI at 10.4 GT/s; 3 xGMI of 16 lanes at 18 GT/s, later at 32 GT/s), and a channel of memory
# (DDR4-2666, DDR4-3200, DDR5-4800, DDR5-6400). Desktops, with 16 lanes for cards, have 2, workstations 4, servers 8 a
# socket.
SOCKET_GB_PER_S = {1: 19.2, 2: 25.6, 3: 41.6, 4: 108.0, 5: 192.0, 6: 192.0, 7: 192.0}
DESKTOP_LANES = 20
CHANNEL_GB_PER_S = {1: 12.8, 2: 12.8, 3: 21.3, 4: 25.6, 5: 38.4, 6: 51.2, 7: 51.2}

MAX_COUNTED_GPUS = 64  # whose groups are counted link by link


class WireSpec(Spec):
    """A link between two devices; as fast in both directions."""

    between: Annotated[tuple[Name, Name], Field(strict=False)]
    kind: Literal["nvswitch", "nvlink", "nvlink-mesh", "nvlink-bridge", "pcie", "socket", "memory", "nic"]
    gb_per_s: Annotated[float, Field(gt=0, le=1e6)]
    latency_us: Annotated[float, Field(ge=0, le=1e6)] | None = None

    def to_link(self) -> Link:
        """The record that graphs take."""
        latency = None if self.latency_us is None else self.latency_us * MICRO
        return Link(*self.between, self.kind, self.gb_per_s * GIGA, latency)


class Wiring(Spec):
    """The links of a node one by one, for machines that no topology describes.

    `devices` names what is linked besides the node's GPUs and NICs: switch0, cpu0, memory0, nvswitch0.
    """

    devices: Texts = ()
    link: Annotated[tuple[WireSpec, ...], Field(strict=False, min_length=1, max_length=4096)]

    def problems_of(self, gpus: int, nics: int) -> Iterator[tuple[Loc, str, str]]:
        """What is wrong with the links of a node with so many GPUs and NICs."""
        known = {f"gpu{i}" for i in range(gpus)} | {f"nic{i}" for i in range(nics)} | set(self.devices)
        for i, device in enumerate(self.devices):
            if kind_of(device) not in ("switch", "cpu", "memory", "nvswitch"):
                yield ("devices", i), f"{device} is no device", "write switch, cpu, memory or nvswitch with a number"
        dangling = [(i, end) for i, wire in enumerate(self.link) for end in wire.between if end not in known]
        for i, end in dangling:
            yield ("link", i, "between"), f"{end} is not there", _remedy(end, gpus, nics)
        seen: dict[frozenset[str], int] = {}
        for i, wire in enumerate(self.link):
            first = seen.setdefault(frozenset(wire.between), i)
            if len(set(wire.between)) == 1:
                yield ("link", i, "between"), f"{wire.between[0]} is linked with itself", "name two devices"
            elif first != i:
                yield ("link", i, "between"), "these two are linked already", "write one link with the sum of the rates"
        if not dangling:
            yield from self._tree_problems()
            yield from self._loose_problems(gpus)

    def _tree_problems(self) -> Iterator[tuple[Loc, str, str]]:
        """PCIe is a tree with one socket at most as its root."""
        part = _Parts()
        for i, wire in enumerate(self.link):
            if wire.kind == "pcie" and len(set(wire.between)) == 2:
                a, b = wire.between
                if part.of(a) == part.of(b):
                    yield ("link", i, "between"), f"{a} and {b} close a cycle of PCIe links", "remove one of its links"
                part.join(a, b)
        roots: dict[str, str] = {}
        for device in self.devices:
            if kind_of(device) == "cpu" and (other := roots.setdefault(part.of(device), device)) != device:
                todo = 'join sockets by a link of kind "socket"'
                yield ("link",), f"{other} and {device} are roots of one PCIe tree", todo

    def _loose_problems(self, gpus: int) -> Iterator[tuple[Loc, str, str]]:
        """Every GPU must reach gpu0."""
        part = _Parts()
        for wire in self.link:
            if wire.kind not in ("nic", "memory"):
                part.join(*wire.between)
        for i in range(1, gpus):
            if part.of(f"gpu{i}") != part.of("gpu0"):
                yield ("link",), f"gpu{i} has no way to gpu0", "add the links between them"


class _Parts:
    """Devices that are joined, by a union of sets."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def of(self, device: str) -> str:
        """The device that stands for all that this one is joined with."""
        while (above := self._above.get(device, device)) != device:
            device = above
        return device

    def join(self, a: str, b: str) -> None:
        self._above[self.of(a)] = self.of(b)


def wiring_problems(spec: "SystemSpec") -> Iterator[tuple[Loc, str, str]]:
    """What is wrong with a system's keys about its links, each right by itself."""
    rack, node = spec.nvlink_domain_gpus, spec.gpus_per_node
    if rack > node and spec.topology != "nvswitch":
        yield ("nvlink_domain_gpus",), f"{rack} GPUs in nodes of {node} without NVSwitches", "write at most a node's"
    elif rack > node and rack % node:
        yield ("nvlink_domain_gpus",), f"{rack} GPUs are not whole nodes of {node}", "write a multiple"
    if node > MAX_COUNTED_GPUS and (spec.topology != "nvswitch" or spec.wiring is not None):
        what = f"{node} GPUs without a plane of NVSwitches"
        yield ("gpus_per_node",), what, f"write at most {MAX_COUNTED_GPUS}"
    if spec.slot_lanes and len(spec.slot_lanes) != spec.gpus_per_node:
        what = f"lanes of {len(spec.slot_lanes)} slots for {spec.gpus_per_node} GPUs"
        yield ("slot_lanes",), what, "write a number for each GPU"
    if spec.sockets is not None and spec.sockets > spec.gpus_per_node:
        yield ("sockets",), "more sockets than GPUs", "leave out sockets without GPUs"
    if spec.leaf_oversubscription > 1 and spec.leaf_nodes is None:
        yield ("leaf_oversubscription",), "without the size of a leaf", "add leaf_nodes"
    if spec.pod_oversubscription > 1 and spec.pod_nodes is None:
        yield ("pod_oversubscription",), "without the size of a pod", "add pod_nodes"
    if spec.pod_nodes is not None and spec.pod_nodes % (spec.leaf_nodes or spec.pod_nodes + 1):
        yield ("pod_nodes",), "a pod is not made of whole leaves", "write leaf_nodes and a multiple of it"
    if spec.wiring is not None:
        if spec.nvlink_domain_gpus > spec.gpus_per_node:
            yield ("wiring",), "a rack cannot be wired by hand", "leave out nvlink_domain_gpus or this table"
        for loc, what, todo in spec.wiring.problems_of(spec.gpus_per_node, spec.nics):
            yield ("wiring", *loc), what, todo


def domain_of(spec: "SystemSpec", card: GpuSpec) -> Domain:
    """The domain of a system: a node, or the nodes of a rack that share NVLink, with `card` as its GPU."""
    has_peer_access = spec.peer_to_peer == "yes"
    if spec.wiring is not None:
        wires = tuple(wire.to_link() for wire in spec.wiring.link)
        return Domain(spec.gpus_per_node, wires, has_peer_access, spec.host_cpu or "")
    gpus = max(spec.nvlink_domain_gpus, spec.gpus_per_node)
    host = host_of(spec, card)
    links = [link for node in range(gpus // spec.gpus_per_node) for link in host_links(host, node)]
    return Domain(gpus, (*_nvlinks(spec, card, gpus), *links), has_peer_access, spec.host_cpu or "")


def network_of(spec: "SystemSpec") -> FatTree | None:
    """The network between a system's nodes, None without NICs; a few leaves or pods where no size is told."""
    if not spec.nics:
        return None
    few = 2 * spec.pod_nodes if spec.pod_nodes else 4 * (spec.leaf_nodes or 2)
    return FatTree(
        nodes=spec.max_nodes or few,
        node_bytes_per_s=spec.nics * (spec.nic_gbit_per_s or 0.0) * GIGA / BITS_PER_BYTE,
        leaf_nodes=spec.leaf_nodes or 0,
        leaf_oversubscription=spec.leaf_oversubscription,
        pod_nodes=spec.pod_nodes or 0,
        pod_oversubscription=spec.pod_oversubscription,
        rails=spec.nics if spec.rails else 1,
    )


def host_of(spec: "SystemSpec", card: GpuSpec) -> Host:
    """The PCIe side of one node; what the file leaves open as such machines usually are."""
    generation = min(spec.pcie_generation or card.pcie_generation, card.pcie_generation)
    gpus = spec.gpus_per_node
    lanes: Sequence[int] = spec.slot_lanes or (spec.pcie_lanes or card.pcie_lanes,) * gpus
    x16 = X16_BYTES_PER_S[generation]
    channels = 8 if spec.kind != "pcie-box" or gpus > 4 else 4 if sum(lanes) > DESKTOP_LANES else 2
    return Host(
        slots_bytes_per_s=tuple(min(own, card.pcie_lanes) / 16 * x16 for own in lanes),
        sockets=spec.sockets or (2 if gpus > 4 else 1),
        gpus_per_switch=spec.gpus_per_pcie_switch,
        uplink_bytes_per_s=x16,
        socket_bytes_per_s=(spec.socket_link_gb_per_s or SOCKET_GB_PER_S[generation]) * GIGA,
        memory_bytes_per_s=(spec.host_memory_gb_per_s or channels * CHANNEL_GB_PER_S[generation]) * GIGA,
        nics=spec.nics,
        nic_bytes_per_s=(spec.nic_gbit_per_s or 0.0) * GIGA / BITS_PER_BYTE,
    )


def host_link_bytes_per_s(spec: "SystemSpec", card: GpuSpec) -> float:
    """What the slowest GPU has to its host's memory, one direction, while all of the node do: C2C, or PCIe [B/s]."""
    if card.c2c_gb_per_s:
        return card.c2c_gb_per_s * GIGA / 2
    host = host_of(spec, card)
    shared = host.uplink_bytes_per_s / host.gpus_per_switch if host.gpus_per_switch else inf
    return min(*host.slots_bytes_per_s, shared)


def slot_bytes_per_s(domain: Domain) -> float:
    """What the slowest slot carries, and so what a GPU hands to its NIC at most [B/s]."""
    slots = [k.bytes_per_s for k in domain.links if k.kind == "pcie" and "gpu" in (kind_of(k.a), kind_of(k.b))]
    return min(slots, default=inf)


def _nvlinks(spec: "SystemSpec", card: GpuSpec, gpus: int) -> Iterator[Link]:
    """The NVLinks of a domain."""
    per_gpu = (spec.nvlink_gb_per_s or 0.0) * GIGA / 2
    if not per_gpu or gpus == 1:
        return iter(())
    if spec.topology == "nvswitch":
        return switched_links(gpus, per_gpu)
    if spec.topology in ("nvlink", "nvlink-mesh"):
        return mesh_links(gpus, card.architecture, per_gpu, spec.topology)
    if spec.topology == "nvlink-bridge":
        return bridge_links(gpus, min(gpus, max(2, spec.nvlink_domain_gpus)), per_gpu)
    return iter(())


def _remedy(device: str, gpus: int, nics: int) -> str:
    kind = kind_of(device)
    if kind == "gpu":
        return f"the node has gpu0 to gpu{gpus - 1}; see gpus_per_node"
    if kind == "nic":
        return f"the node has nic0 to nic{nics - 1}; see nics" if nics else "the node has no NICs; add nics"
    return f'add "{device}" to wiring.devices'
