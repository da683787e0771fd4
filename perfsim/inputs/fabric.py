"""What the groups of a system get to send over: the links of its node by the shape of the group, and its network."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from perfsim.core.arrays import Lookup, stack
from perfsim.core.fabric import Network, Segment
from perfsim.formulas.nccl import ring_bytes_per_s, switch_bytes_per_s
from perfsim.inputs.collectives import Collectives, Preset
from perfsim.inputs.gpu import GpuSpec
from perfsim.units import BITS_PER_BYTE, GIGA

if TYPE_CHECKING:
    from perfsim.inputs.system import SystemSpec

# One direction of 16 lanes after encoding [bytes/s], by PCIe generation.
X16_BYTES_PER_S = {1: 4e9, 2: 8e9, 3: 15.75e9, 4: 31.5e9, 5: 63e9, 6: 126e9, 7: 252e9}

# Assumed where a file says nothing: a node without known NICs has plain 10 Gbit/s Ethernet.
ETHERNET_BYTES_PER_S = 10 * GIGA / BITS_PER_BYTE

# Of a GPU's links in a hybrid cube mesh, what joins it to its group: one of six to its neighbour, four to its quad.
MESH_SHARE = {2: 1 / 6, 3: 1 / 3, 4: 2 / 3}

SWITCH_PRESETS = ((10.0, "nvswitch-5"), (9.0, "nvswitch-3"), (0.0, "nvswitch-2"))
NETWORK_WORDS = {
    "EFA v1": "efa-1",
    "EFA v": "efa-2",
    "EFA": "efa-1",
    "InfiniBand": "infiniband",
    "RoCE": "roce",
}  # in a system's `fabric`, the first counts


def segments(spec: "SystemSpec", card: GpuSpec, collectives: Collectives) -> Lookup[Segment]:
    """What each group inside a domain gets, by its ranks [0..domain] and their stride.

    A preset that the system names counts before the rules; the rates that it holds, before those of the links.
    """
    domain = max(spec.nvlink_domain_gpus, spec.gpus_per_node)
    host = collectives.preset(spec.collectives or _host_preset(spec))
    if host.rate:
        return _lookup(domain, [_measured(host, n) for n in range(domain + 1)])
    outer = _pcie(spec, card, host)
    if spec.nvlink_gb_per_s is None or spec.topology == "pcie":
        return _lookup(domain, [outer])
    links = collectives.preset(spec.collectives or _link_preset(spec, card))
    joined = [_nvlink(spec, card, links, n) for n in range(spec.nvlink_domain_gpus + 1)]
    if spec.nvlink_domain_gpus >= spec.gpus_per_node:
        return _lookup(domain, joined)
    # bridges join neighbours only: whatever is larger or further apart crosses PCIe
    return _lookup(domain, [*joined, outer], lambda n, stride: n if n * stride <= spec.nvlink_domain_gpus else -1)


def network(spec: "SystemSpec", collectives: Collectives) -> Network:
    """A GPU's share of its node's NICs, and how NCCL does on such a network."""
    node = spec.nics * (spec.nic_gbit_per_s or 0.0) * GIGA / BITS_PER_BYTE or ETHERNET_BYTES_PER_S
    words = (name for word, name in NETWORK_WORDS.items() if word in (spec.fabric or ""))
    return collectives.network(next(words, "ethernet")).to_network(node / spec.gpus_per_node)


def _host_preset(spec: "SystemSpec") -> str:
    return "pcie" if spec.peer_to_peer == "yes" else "pcie-host"


def _link_preset(spec: "SystemSpec", card: GpuSpec) -> str:
    if spec.topology != "nvswitch":
        return spec.topology
    return next(name for since, name in SWITCH_PRESETS if float(card.compute_capability) >= since)


def _lookup(domain: int, entries: list[Segment], place: Callable[[int, int], int] | None = None) -> Lookup[Segment]:
    """The entries by ranks and stride; one entry holds for all, several are by ranks unless `place` says otherwise."""
    if len(entries) == 1:
        return Lookup(0, np.zeros((1, domain + 1, 1), dtype=np.int64), stack(entries))
    if place is None:
        return Lookup(0, np.arange(domain + 1, dtype=np.int64).reshape(1, -1, 1), stack(entries))
    index = [[place(n, stride) % len(entries) for stride in range(domain + 1)] for n in range(domain + 1)]
    return Lookup(0, np.array([index], dtype=np.int64), stack(entries))


def _pcie(spec: "SystemSpec", card: GpuSpec, preset: Preset) -> Segment:
    generation = min(spec.pcie_generation or card.pcie_generation, card.pcie_generation)
    lanes = min(spec.pcie_lanes or card.pcie_lanes, card.pcie_lanes)
    slot = lanes / 16 * X16_BYTES_PER_S[generation]
    return Segment(slot, 0.0, slot, slot, preset.to_transport())


def _nvlink(spec: "SystemSpec", card: GpuSpec, preset: Preset, ranks: int) -> Segment:
    rate, capability = (spec.nvlink_gb_per_s or 0.0) * GIGA / 2, float(card.compute_capability)
    if spec.topology == "nvlink-mesh":
        rate = rate * MESH_SHARE.get(ranks, 1.0)
    ring = ring_bytes_per_s(rate, capability)
    switch = switch_bytes_per_s(rate, capability, ranks) if spec.topology == "nvswitch" else 0.0
    return Segment(ring, switch, ring, ring, preset.to_transport())


def _measured(preset: Preset, ranks: int) -> Segment:
    """The measured rates; between two measured sizes on a line over the logarithms, beyond them the nearest."""
    sizes = sorted(preset.rate, key=int)
    ring, exchange = (
        float(
            np.exp(
                np.interp(
                    np.log(max(ranks, 1)),
                    np.log([int(n) for n in sizes]),
                    np.log([getattr(preset.rate[n], f"{kind}_gb_per_s") for n in sizes]),
                )
            )
        )
        for kind in ("ring", "exchange")
    )
    return Segment(ring * GIGA, 0.0, exchange * GIGA, exchange * GIGA, preset.to_transport())
