"""Seconds of collectives over a group of ranks: NCCL's choice of a protocol, at the pace measured for each.

NCCL chooses by T = latency + wire bytes / bandwidth from its own table (`believed`), whose numbers are far from
measured ones below 64 MB, but whose choice is the one that runs: it shows as jumps in every measured curve. What a
protocol then takes is calibrated: T = √(start² + moved²) + √(slice·wire/B), start = (base + hop·steps)·(1 + growth),
moved = wire·(1 + copy/steps) / (fraction·B), with S the total array as nccl-tests counts it, wire = 2(n-1)/n·S of an
all-reduce, (n-1)/n·S of its halves and of all-to-all, and as many steps as a ring has.
Source: NVIDIA/nccl-tests doc/PERFORMANCE.md; NVIDIA/nccl src/graph/tuning.cc at 5067397 for the choice; the calibrated
form is perfsim's own (docs/formulas.md#collectives).
"""

import numpy as np

from perfsim.core.fabric import Protocol, Route
from perfsim.core.numbers import Floats
from perfsim.formulas.nccl import HEADS

SEND_LOW_LATENCY_BYTES = 16384.0  # NCCL_P2P_LL_THRESHOLD: up to here a message goes by LL
SPREAD_BYTES = 16384.0  # payload [B] from which half of the channels are in use
PAT_SHARE = 0.75  # of the bandwidth, what NCCL takes its logarithmic halves for (src/graph/tuning.cc)


def all_reduce_seconds(route: Route, size_bytes: Floats) -> Floats:
    """Seconds of an all-reduce of `size_bytes` [s]; 0 for one rank.

    Holds for: inside a domain rings and reduction in the switch; between domains rings and double binary trees.
    """
    return _where_needed(route, size_bytes, 2.0)


def half_seconds(route: Route, size_bytes: Floats) -> Floats:
    """Seconds of a reduce-scatter or an all-gather of `size_bytes` in all [s]; 0 for one rank."""
    return _where_needed(route, size_bytes, 1.0)


def all_to_all_seconds(route: Route, size_bytes: Floats) -> Floats:
    """Seconds of an all-to-all in which every rank splits `size_bytes` evenly over all [s]; 0 for one rank.

    All bytes leave a card on its own links, those for other nodes also go through its share of the NICs.
    """
    n, members = 1.0 * np.asarray(route.ranks), 1.0 * np.asarray(route.members)
    own = _exchange_seconds(route, np.maximum(n, 1.0), size_bytes)
    away = size_bytes * (n - members) / np.maximum(n, 1.0)
    hops = np.maximum(n / members - 1.0, 0.0)
    wire_seconds = away / _share_bytes_per_s(route, route.exchange_bytes_per_s)
    remote = _network_seconds(route, hops, 0.0, wire_seconds, size_bytes / np.maximum(n, 1.0))
    return np.where(n > 1.0, np.where(n > members, np.maximum(own, remote), own), 0.0)


def send_seconds(route: Route, size_bytes: Floats) -> Floats:
    """Seconds to hand `size_bytes` to the group's next rank [s]; over the network where the group leaves its domain."""
    within, between = route.within, route.between
    small, large = (
        protocol.base_seconds + protocol.hop_seconds + size_bytes / (within.pair_bytes_per_s * protocol.fraction)
        for protocol in (within.transport.send_low_latency, within.transport.send)
    )
    inside = np.where(size_bytes <= SEND_LOW_LATENCY_BYTES, np.minimum(small, large), large)
    outside = between.base_seconds + size_bytes / _share_bytes_per_s(route, route.between.bytes_per_s)
    return np.where(np.asarray(route.members) > 1, inside, outside)


def _wire_seconds(route: Route, n: Floats, size_bytes: Floats, factor: float) -> Floats:
    """Seconds on the wire of an all-reduce (factor 2) or a half between domains [s]: on NICs or on the links inside.

    The ranks inside one domain drive their NICs together, as far as nccl.HEADS of them can. A ring sends 2(n-1)/n of
    the array out of every node, a double binary tree once over two nodes, 1.5 times over three and twice over many.
    """
    nodes = n / route.members
    sent = factor * (n - 1.0) / np.maximum(n, 1.0)
    inside = (
        sent * size_bytes / np.maximum(route.within.ring_bytes_per_s, route.within.switch_bytes_per_s * (factor > 1.0))
    )
    if factor > 1.0:
        sent = np.minimum(sent, np.where(nodes <= 2.0, 1.0, np.where(nodes <= 3.0, 1.5, 2.0)))
    together = route.members * _share_bytes_per_s(route, route.between.bytes_per_s)
    heads = HEADS * _share_bytes_per_s(route, route.between.head_bytes_per_s)
    outside = sent * size_bytes / np.minimum(together, heads)
    return np.where(np.asarray(route.members) > 1, np.maximum(inside, outside), outside)


def _share_bytes_per_s(route: Route, nics: Floats) -> Floats:
    """A rank's share of the NICs, or what its own way out of the card carries [B/s]."""
    simple, send = route.within.transport.simple, route.within.transport.send
    fraction = np.minimum(simple.fraction, send.fraction)
    own = route.within.pair_bytes_per_s * fraction / (1.0 + np.maximum(simple.copy_share, send.copy_share))
    return np.minimum(nics * route.between.fraction, own)


def _where_needed(route: Route, size_bytes: Floats, factor: float) -> Floats:
    """The seconds inside domains and between them, each computed only where some group needs it."""
    is_inside = np.asarray(route.ranks <= route.members)
    inside = _ring_seconds(route, size_bytes, factor) if np.any(is_inside) else 0.0
    outside = 0.0 if np.all(is_inside) else _between_seconds(route, size_bytes, factor)
    return np.where(np.asarray(route.ranks) > 1, np.where(is_inside, inside, outside), 0.0 * np.asarray(size_bytes))


def _ring_seconds(route: Route, size_bytes: Floats, factor: float) -> Floats:
    """An all-reduce (factor 2) or one of its halves (factor 1) inside a domain.

    By the protocol that NCCL believes in, or a later one that is quicker: NCCL leaves a protocol for good as payloads
    grow, so that no larger payload takes less time.
    """
    within, transport = route.within, route.within.transport
    n = 1.0 * np.asarray(route.members)
    steps = np.maximum(factor * (n - 1.0), 1.0)
    wire = factor * (n - 1.0) / n * size_bytes
    least: Floats = np.inf
    found: Floats = np.inf
    for protocol in (transport.low_latency, transport.low_latency_128, transport.simple):
        believed = _believed_seconds(protocol, within.ring_bytes_per_s, steps, wire)
        seconds = _protocol_seconds(protocol, within.ring_bytes_per_s, steps, wire, size_bytes)
        found = np.where(believed < least, seconds, np.minimum(found, seconds))
        least = np.minimum(believed, least)
    if factor < 2.0:
        return found
    has_switch = np.asarray(within.switch_bytes_per_s > within.ring_bytes_per_s)
    rate = np.where(has_switch, within.switch_bytes_per_s, within.ring_bytes_per_s)
    seconds = _protocol_seconds(transport.switch, rate, steps, wire, size_bytes)
    is_chosen = has_switch & (_believed_seconds(transport.switch, rate, steps, wire) < least)
    return np.where(is_chosen, seconds, np.where(has_switch, np.minimum(found, seconds), found))


def _exchange_seconds(route: Route, n: Floats, size_bytes: Floats) -> Floats:
    """An all-to-all inside a domain: LL for small messages, Simple beyond."""
    within = route.within
    steps, wire = np.maximum(n - 1.0, 1.0), (n - 1.0) / n * size_bytes
    small, large = (
        _protocol_seconds(protocol, within.exchange_bytes_per_s, steps, wire, size_bytes)
        for protocol in (within.transport.send_low_latency, within.transport.send)
    )
    return np.where(size_bytes / n <= SEND_LOW_LATENCY_BYTES, np.minimum(small, large), large)


def _between_seconds(route: Route, size_bytes: Floats, factor: float) -> Floats:
    """A ring or tree over nodes: the network's rate, and the steps inside nodes and between them."""
    n, members = 1.0 * np.asarray(route.ranks), 1.0 * np.asarray(route.members)
    wire = _wire_seconds(route, n, size_bytes, factor)
    nodes = n / members
    rounds = np.log2(np.maximum(nodes, 1.0))
    if factor > 1.0:
        return _network_seconds(route, factor * rounds, factor * (members - 1.0), wire, size_bytes)
    ring = _network_seconds(route, nodes - 1.0, n - nodes, wire, size_bytes)
    pat = _network_seconds(route, rounds, 0.0, wire / PAT_SHARE, size_bytes)
    return np.where(members > 1.0, ring, np.minimum(ring, pat))


def _network_seconds(route: Route, hops: Floats, steps: Floats, wire_seconds: Floats, size_bytes: Floats) -> Floats:
    """The quicker of two protocols for so many messages between nodes and steps inside them, one after another."""
    between = route.between
    start = between.base_seconds + hops * between.hop_seconds
    start = start + steps * route.within.transport.low_latency.hop_seconds
    small = start * _grown(between.growth, size_bytes) + wire_seconds / between.low_latency_share
    filling = np.sqrt(between.slice_seconds * wire_seconds)
    return np.minimum(small, _overlapped(start + between.start_seconds + filling, wire_seconds))


def _overlapped(start: Floats, moved: Floats) -> Floats:
    """Seconds of a start and a transfer that overlap in part: between their sum and the longer of the two [s]."""
    return np.sqrt(start * start + moved * moved)


def _grown(growth: Floats, size_bytes: Floats) -> Floats:
    return 1.0 + growth * size_bytes / (size_bytes + SPREAD_BYTES)


def _believed_seconds(protocol: Protocol, rate: Floats, steps: Floats, wire: Floats) -> Floats:
    """What NCCL's own table says."""
    latency = protocol.believed_base_seconds + protocol.believed_hop_seconds * steps
    return latency + wire / (protocol.believed_fraction * rate)


def _protocol_seconds(protocol: Protocol, rate: Floats, steps: Floats, wire: Floats, size_bytes: Floats) -> Floats:
    start = (protocol.base_seconds + protocol.hop_seconds * steps) * _grown(protocol.growth, size_bytes)
    moved = wire * (1.0 + protocol.copy_share / steps) / (protocol.fraction * rate)
    return _overlapped(start, moved) + np.sqrt(protocol.slice_seconds * wire / rate)
