"""What GPUs send over: inside a node or NVLink domain by the shape of the group, and the network between nodes."""

from dataclasses import dataclass

import numpy as np

from perfsim.core.numbers import Floats, Ints


@dataclass(frozen=True)
class Protocol:
    """One way in which NCCL moves bytes, measured (formulas.collectives), and what NCCL itself believes of it.

    base_seconds, hop_seconds: start, and every step of the algorithm.
    fraction: of the link's bandwidth, once under way.
    growth: by how much the start grows from a payload on one channel to one on all, [-].
    copy_share: a rank's own chunk costs this share of a step's time.
    slice_seconds: of every slice that a chunk is cut into; the best slices cost its square root (formulas.collectives).
    believed_…: the latencies and the share of the bandwidth from which NCCL chooses; infinite where it never does.
    """

    base_seconds: Floats
    hop_seconds: Floats
    fraction: Floats
    growth: Floats
    copy_share: Floats
    slice_seconds: Floats
    believed_base_seconds: Floats
    believed_hop_seconds: Floats
    believed_fraction: Floats


@dataclass(frozen=True)
class Transport:
    """NCCL's protocols on a kind of link: rings by LL, LL128 or Simple, reduction in the switch, and sends."""

    low_latency: Protocol
    low_latency_128: Protocol
    simple: Protocol
    switch: Protocol
    send_low_latency: Protocol
    send: Protocol


@dataclass(frozen=True)
class Segment:
    """What each GPU of a group inside one domain gets, one direction, while the domain's other GPUs do the same.

    ring_bytes_per_s: wire bytes of a ring over the group, all channels together.
    switch_bytes_per_s: bus bandwidth of an all-reduce that the switch adds up; 0 where it cannot.
    exchange_bytes_per_s: bytes sent to all others at once.
    pair_bytes_per_s: bytes sent to the next rank alone.
    """

    ring_bytes_per_s: Floats
    switch_bytes_per_s: Floats
    exchange_bytes_per_s: Floats
    pair_bytes_per_s: Floats
    transport: Transport


@dataclass(frozen=True)
class Network:
    """What one GPU gets of its node's NICs, one direction, while every GPU of its node sends; and the tree above.

    base_seconds, hop_seconds: start of a collective that leaves the node, and a message between nodes; growth: by how
    much they grow once a payload is on all channels; fraction: of the NICs' rate that is reached, of which
    low_latency_share by the protocol for small payloads. start_seconds, slice_seconds: what the protocol for large ones
    needs besides, and each of its slices.
    leaf_nodes: nodes below a leaf switch; with rails, those whose NIC of the same number it joins.
    leaf_oversubscription: what these nodes can send over what the leaf's links up carry, at least 1. pod_nodes and
    pod_oversubscription: likewise one level up. head_bytes_per_s: what a GPU gets when it sends alone.
    """

    bytes_per_s: Floats
    base_seconds: Floats
    hop_seconds: Floats
    fraction: Floats
    leaf_nodes: Ints = 1
    leaf_oversubscription: Floats = 1.0
    pod_nodes: Ints = 1
    pod_oversubscription: Floats = 1.0
    head_bytes_per_s: Floats = np.inf
    growth: Floats = 0.0
    low_latency_share: Floats = 1.0
    start_seconds: Floats = 0.0
    slice_seconds: Floats = 0.0


@dataclass(frozen=True)
class Group:
    """`ranks` ranks, `stride` apart in the order in which the plan lays them out."""

    ranks: Ints
    stride: Ints


@dataclass(frozen=True)
class Route:
    """What a group has to communicate over: `members` of its `ranks` share a domain, the network joins the domains.

    between.bytes_per_s is a rank's own share of the network in a ring, exchange_bytes_per_s in an all-to-all.
    """

    ranks: Ints
    members: Ints
    within: Segment
    between: Network
    exchange_bytes_per_s: Floats
