"""What the groups of a system get to send over: the links of its domain as NCCL takes them, and its network."""

from math import inf
from typing import TYPE_CHECKING

import numpy as np

from perfsim.calibration.collectives import rate_at
from perfsim.core.arrays import Lookup
from perfsim.core.fabric import Network, Segment
from perfsim.formulas.nccl import link_bytes_per_s, ring_bytes_per_s, switch_bytes_per_s
from perfsim.graphs import interconnect
from perfsim.graphs.interconnect import NVLINKS, GroupRates
from perfsim.graphs.wiring import Domain
from perfsim.inputs.collectives import NetworkPreset, Preset, Presets
from perfsim.inputs.gpu import GpuSpec
from perfsim.inputs.wiring import slot_bytes_per_s
from perfsim.units import BITS_PER_BYTE, GIGA

if TYPE_CHECKING:
    from perfsim.inputs.system import SystemSpec

# Assumed where a file says nothing: a node without known NICs has plain 10 Gbit/s Ethernet.
ETHERNET_BYTES_PER_S = 10 * GIGA / BITS_PER_BYTE

SWITCH_PRESETS = ((10.0, "nvswitch-5"), (9.0, "nvswitch-3"), (0.0, "nvswitch-2"))  # by compute capability
NETWORK_WORDS = {  # in a system's `fabric`; the first that is there counts
    "EFA v1": "efa-1", "EFA v": "efa-2", "EFA": "efa-1", "InfiniBand": "infiniband", "RoCE": "roce",
}  # fmt: skip


def segments(spec: "SystemSpec", domain: Domain, card: GpuSpec, collectives: Presets) -> Lookup[Segment]:
    """What each group inside the domain gets, by its ranks and their stride.

    A preset that the system names counts before the rule; the rates that it holds, before those of the links.
    """
    named = collectives.preset(spec.collectives) if spec.collectives else None
    if named and named.rate:
        entries = [_measured(named, n) for n in range(domain.gpus + 1)]
        return Lookup.of(np.arange(domain.gpus + 1, dtype=np.int64)[:, None], entries)
    capability = float(card.compute_capability)

    def segment(rates: GroupRates, members: int) -> Segment:
        preset = named or collectives.preset(preset_name(rates.transport, capability))
        return _segment(rates, members, capability, preset)

    return interconnect.segments(domain, segment)


def network(spec: "SystemSpec", domain: Domain, collectives: Presets) -> Network:
    """A GPU's share of its node's NICs, the tree above them, and how NCCL does on such a network."""
    node = spec.nics * (spec.nic_gbit_per_s or 0.0) * GIGA / BITS_PER_BYTE or ETHERNET_BYTES_PER_S
    preset = network_preset(spec, collectives)
    share, nic = node / spec.gpus_per_node, (spec.nic_gbit_per_s or 0.0) * GIGA / BITS_PER_BYTE
    slot = slot_bytes_per_s(domain)
    return preset.to_network(
        min(share, slot),
        head_bytes_per_s=min(max(share, nic), slot),
        leaf_nodes=spec.leaf_nodes or 1,
        leaf_oversubscription=spec.leaf_oversubscription,
        pod_nodes=spec.pod_nodes or 1,
        pod_oversubscription=spec.pod_oversubscription,
    )


def link_presets(spec: "SystemSpec", domain: Domain, card: GpuSpec, collectives: Presets) -> list[Preset]:
    """The presets that `segments` takes: the one that the system names, else those of its kinds of links."""
    if spec.collectives:
        return [collectives.preset(spec.collectives)]
    transports = sorted({rates.transport for rates in interconnect.group_rates(domain).values()})
    return [collectives.preset(preset_name(one, float(card.compute_capability))) for one in transports]


def network_preset(spec: "SystemSpec", collectives: Presets) -> NetworkPreset:
    """The preset of what joins the nodes."""
    words = (name for word, name in NETWORK_WORDS.items() if word in (spec.fabric or ""))
    return collectives.network(next(words, "ethernet"))


def preset_name(transport: str, compute_capability: float) -> str:
    """The preset of a kind of link; NVSwitches by their generation, which goes with the card's.

    >>> preset_name("nvswitch", 9.0), preset_name("pcie-host", 8.9)
    ('nvswitch-3', 'pcie-host')
    """
    if transport != "nvswitch":
        return transport
    return next(name for since, name in SWITCH_PRESETS if compute_capability >= since)


def _segment(rates: GroupRates, members: int, capability: float, preset: Preset) -> Segment:
    transport = preset.to_transport()
    if rates.transport not in NVLINKS:
        most = (preset.most_gb_per_s or inf) * GIGA / preset.simple.fraction
        return Segment(min(rates.ring, most), 0.0, min(rates.exchange, most), min(rates.pair, most), transport)
    ring = ring_bytes_per_s(rates.ring, capability)
    if rates.transport == "nvswitch":
        return Segment(ring, switch_bytes_per_s(rates.ring, capability, members), ring, ring, transport)
    exchange, pair = (link_bytes_per_s(rate, capability) for rate in (rates.exchange, rates.pair))
    return Segment(ring, 0.0, exchange, pair, transport)


def _measured(preset: Preset, ranks: int) -> Segment:
    """The measured rates, carried to this number of ranks."""
    ring, exchange = (
        rate_at({int(n): getattr(rate, name) for n, rate in preset.rate.items()}, ranks) * GIGA
        for name in ("ring_gb_per_s", "exchange_gb_per_s")
    )
    return Segment(ring, 0.0, exchange, exchange, preset.to_transport())
