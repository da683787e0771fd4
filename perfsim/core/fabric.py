"""What GPUs send over: inside a node or NVLink domain by the shape of the group, and the network between nodes."""

from dataclasses import dataclass

from perfsim.core.numbers import Floats, Ints


@dataclass(frozen=True)
class Protocol:
    """One way a collective library moves bytes: base + hop·(ranks-1) + wire bytes / (fraction·bandwidth)."""

    base_seconds: Floats
    hop_seconds: Floats
    fraction: Floats


@dataclass(frozen=True)
class Transport:
    """The two protocols that a collective library chooses from on a kind of link."""

    low_latency: Protocol
    simple: Protocol


@dataclass(frozen=True)
class Segment:
    """What each GPU of a group inside one domain gets, one direction, while the domain's other GPUs do the same.

    ring_bytes_per_s: wire bytes of a ring over the group, all channels together.
    exchange_bytes_per_s: bytes sent to all others at once.
    pair_bytes_per_s: bytes sent to the next rank alone.
    """

    ring_bytes_per_s: Floats
    exchange_bytes_per_s: Floats
    pair_bytes_per_s: Floats
    transport: Transport


@dataclass(frozen=True)
class Network:
    """What one GPU gets of its node's NICs, one direction, while every GPU of its node sends; and the tree above.

    leaf_nodes: nodes below a leaf switch; with rails, those whose NIC of the same number it joins.
    leaf_oversubscription: what these nodes can send over what the leaf's links up carry, at least 1. pod_nodes and
    pod_oversubscription: likewise one level up.
    """

    bytes_per_s: Floats
    transport: Transport
    leaf_nodes: Ints = 1
    leaf_oversubscription: Floats = 1.0
    pod_nodes: Ints = 1
    pod_oversubscription: Floats = 1.0


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
