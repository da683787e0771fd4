"""Seconds of collectives over a group of ranks: the better of two protocols on the slowest link the group crosses.

T = min over protocols of base + hop·(n - 1) + φ·S / (fraction·B), with S the total array as nccl-tests counts it and
φ = 2(n-1)/n for an all-reduce, (n-1)/n for its halves and for all-to-all.
Source: NVIDIA/nccl-tests doc/PERFORMANCE.md for φ; the two-protocol form is perfsim's own fit (docs/formulas.md).
"""

import numpy as np

from perfsim.core.fabric import Protocol, Route, Transport
from perfsim.core.numbers import Floats


def all_reduce_seconds(route: Route, size_bytes: Floats) -> Floats:
    """Seconds of an all-reduce of `size_bytes` [s]; 0 for one rank."""
    return _ring_seconds(route, size_bytes, 2.0)


def half_seconds(route: Route, size_bytes: Floats) -> Floats:
    """Seconds of a reduce-scatter or an all-gather of `size_bytes` in all [s]; 0 for one rank."""
    return _ring_seconds(route, size_bytes, 1.0)


def all_to_all_seconds(route: Route, size_bytes: Floats) -> Floats:
    """Seconds of an all-to-all of `size_bytes` in all, split evenly [s]; 0 for one rank.

    Bytes for other nodes go through this rank's share of the NICs, the rest over the node's links at the same time.
    """
    n, members = 1.0 * np.asarray(route.ranks), 1.0 * np.asarray(route.members)
    own = size_bytes / np.maximum(n, 1.0)
    within, between = route.within, route.between
    local = _seconds(within.transport, within.exchange_bytes_per_s, members, own * (members - 1.0) / n, 1.0)
    remote = _seconds(between.transport, route.exchange_bytes_per_s, n, own * (n - members) / n, 1.0)
    return np.where(n > 1.0, np.maximum(local, np.where(n > members, remote, 0.0)), 0.0)


def send_seconds(route: Route, size_bytes: Floats, start_seconds: float) -> Floats:
    """Seconds to hand `size_bytes` to the group's next rank [s]; over the network where the group leaves its domain."""
    within, between = route.within, route.between
    inside = size_bytes / (within.pair_bytes_per_s * within.transport.simple.fraction)
    outside = size_bytes / (between.bytes_per_s * between.transport.simple.fraction)
    return start_seconds + np.where(np.asarray(route.members) > 1, inside, outside)


def beside_seconds(compute_seconds: Floats, wire_seconds: Floats, multiprocessor_share: float) -> Floats:
    """Seconds of computation with a collective beside it [s]: the collective holds a share of the multiprocessors.

    While both run, compute advances at 1 - share; what of the collective outlasts it is exposed.
    Source: docs/formulas.md#overlap.
    """
    slowed = compute_seconds / (1.0 - multiprocessor_share)
    hidden = compute_seconds + multiprocessor_share * wire_seconds
    return np.where(wire_seconds <= slowed, hidden, wire_seconds)


def network_bytes_per_s(route: Route) -> Floats:
    """What a ring over the group gets between domains [B/s].

    Its ranks inside one domain drive their NICs together: min(members·NIC share, what the links inside feed).
    """
    share = route.between.bytes_per_s
    inside = route.within.ring_bytes_per_s * route.within.transport.simple.fraction
    return np.minimum(route.members * share, np.maximum(inside, share))


def _ring_seconds(route: Route, size_bytes: Floats, factor: float) -> Floats:
    n = 1.0 * np.asarray(route.ranks)
    wire = factor * (n - 1.0) / np.maximum(n, 1.0) * size_bytes
    inside = _seconds(route.within.transport, route.within.ring_bytes_per_s, n, wire, factor)
    outside = _seconds(route.between.transport, network_bytes_per_s(route), n, wire, factor)
    return np.where(n > 1.0, np.where(np.asarray(route.ranks <= route.members), inside, outside), 0.0)


def _seconds(transport: Transport, bandwidth: Floats, n: Floats, wire: Floats, factor: float) -> Floats:
    return np.minimum(
        _protocol_seconds(transport.low_latency, bandwidth, n, wire, factor),
        _protocol_seconds(transport.simple, bandwidth, n, wire, factor),
    )


def _protocol_seconds(protocol: Protocol, bandwidth: Floats, n: Floats, wire: Floats, factor: float) -> Floats:
    start = protocol.base_seconds + factor / 2.0 * protocol.hop_seconds * (n - 1.0)
    return start + wire / (protocol.fraction * bandwidth)
