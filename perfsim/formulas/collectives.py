"""Seconds of collectives over a group of ranks: the better of two protocols on the slowest link the group crosses.

T = min over protocols of base + hop·(n - 1) + φ·S / (fraction·B), with S the total array as nccl-tests counts it and
φ = 2(n-1)/n for an all-reduce, (n-1)/n for its halves and for all-to-all.
Source: NVIDIA/nccl-tests doc/PERFORMANCE.md for φ; the two-protocol form is perfsim's own fit (docs/formulas.md).
"""

from dataclasses import dataclass

import numpy as np

from perfsim.core.hardware import Link, Protocol, System
from perfsim.core.numbers import Bools, Floats, Ints
from perfsim.core.plan import Plan


@dataclass(frozen=True)
class Group:
    """`ranks` ranks, `stride` apart in the order tensor, context, data, pipeline."""

    ranks: Ints
    stride: Ints


def tensor_group(plan: Plan) -> Group:
    """Neighbouring ranks."""
    return Group(plan.tensor_parallel, 1)


def context_group(plan: Plan) -> Group:
    """Ranks that share a sequence."""
    return Group(plan.context_parallel, plan.tensor_parallel)


def data_group(plan: Plan) -> Group:
    """Ranks that hold the same weights and see other samples; context-parallel ranks reduce gradients with them."""
    return Group(plan.data_parallel * plan.context_parallel, plan.tensor_parallel)


def expert_group(plan: Plan) -> Group:
    """Ranks that split a layer's experts, inside the data-parallel group."""
    return Group(plan.expert_parallel, plan.tensor_parallel)


def is_inside(system: System, group: Group) -> Bools:
    """The group stays in one node or NVLink domain."""
    return np.asarray(group.ranks * group.stride <= system.gpus_per_domain)


def network_bytes_per_s(system: System, group: Group, has_single_nic: bool = False) -> Floats:
    """What a ring over the group gets between nodes [B/s].

    Its ranks inside one node drive their NICs together, the node's other groups share the rest:
    min(members·NIC share, what the links inside the node feed).
    """
    domain = system.gpus_per_domain
    members = np.minimum(group.ranks, np.maximum(1, domain // np.maximum(group.stride, 1)))
    share = system.between.bandwidth_bytes_per_s
    if has_single_nic:
        return 1.0 * share
    inside = system.within.bandwidth_bytes_per_s * system.within.simple.fraction
    return np.minimum(members * share, np.maximum(inside, share))


def collective_seconds(
    system: System, group: Group, size_bytes: Floats, factor: float, has_single_nic: bool = False
) -> Floats:
    """Seconds of an all-reduce (factor 2) or one of its halves (factor 1) of `size_bytes` in all [s]; 0 for one rank.

    Holds for: rings on one link kind; NVLink Switch reductions are faster by up to a quarter.
    """
    n = 1.0 * np.asarray(group.ranks)
    wire = factor * (n - 1.0) / np.maximum(n, 1.0) * size_bytes
    inside = _link_seconds(system.within, system.within.bandwidth_bytes_per_s, n, wire, factor)
    outside = _link_seconds(system.between, network_bytes_per_s(system, group, has_single_nic), n, wire, factor)
    return np.where(n > 1.0, np.where(is_inside(system, group), inside, outside), 0.0)


def all_to_all_seconds(system: System, group: Group, size_bytes: Floats) -> Floats:
    """Seconds of an all-to-all of `size_bytes` in all, split evenly [s]; 0 for one rank.

    Bytes for other nodes go through this rank's share of the NICs, the rest over the node's links at the same time.
    """
    n = 1.0 * np.asarray(group.ranks)
    members = np.minimum(n, np.maximum(1.0, system.gpus_per_domain // np.maximum(group.stride, 1)))
    own = size_bytes / np.maximum(n, 1.0)
    within, between = system.within, system.between
    local = _link_seconds(within, within.bandwidth_bytes_per_s, members, own * (members - 1.0) / n, 1.0)
    remote = _link_seconds(between, between.bandwidth_bytes_per_s, n, own * (n - members) / n, 1.0)
    return np.where(n > 1.0, np.maximum(local, np.where(n > members, remote, 0.0)), 0.0)


def send_seconds(system: System, stride: Ints, size_bytes: Floats, start_seconds: float) -> Floats:
    """Seconds to hand `size_bytes` to the rank `stride` away [s]."""
    within, between = system.within, system.between
    inside = size_bytes / (within.bandwidth_bytes_per_s * within.simple.fraction)
    outside = size_bytes / (between.bandwidth_bytes_per_s * between.simple.fraction)
    return start_seconds + np.where(np.asarray(stride) < system.gpus_per_domain, inside, outside)


def beside_seconds(compute_seconds: Floats, wire_seconds: Floats, multiprocessor_share: float) -> Floats:
    """Seconds of computation with a collective beside it [s]: the collective holds a share of the multiprocessors.

    While both run, compute advances at 1 - share; what of the collective outlasts it is exposed.
    Source: docs/formulas.md#overlap.
    """
    slowed = compute_seconds / (1.0 - multiprocessor_share)
    hidden = compute_seconds + multiprocessor_share * wire_seconds
    return np.where(wire_seconds <= slowed, hidden, wire_seconds)


def _link_seconds(link: Link, bandwidth: Floats, n: Floats, wire: Floats, factor: float) -> Floats:
    return np.minimum(
        _protocol_seconds(link.low_latency, bandwidth, n, wire, factor),
        _protocol_seconds(link.simple, bandwidth, n, wire, factor),
    )


def _protocol_seconds(protocol: Protocol, bandwidth: Floats, n: Floats, wire: Floats, factor: float) -> Floats:
    start = protocol.base_seconds + factor / 2.0 * protocol.hop_seconds * (n - 1.0)
    return start + wire / (protocol.fraction * bandwidth)
