"""Measured collectives of real machines, as arrays, and what the formulas say about them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from perfsim.core.fabric import Network, Protocol, Route, Segment, Transport
from perfsim.core.numbers import Floats
from perfsim.formulas.collectives import all_reduce_seconds, all_to_all_seconds, half_seconds, send_seconds
from perfsim.formulas.nccl import BELIEVED
from perfsim.units import MICRO

COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send_recv")


@dataclass(frozen=True)
class Collectives:
    """Measured collectives, every field an array of shape (rows,).

    system: the machine that was measured; preset, network: names of what its links and its network are calibrated by.
    collective: one of COLLECTIVES; ranks, members: GPUs in all and in each node or NVLink domain; bytes: as nccl-tests
    counts [B]. ring_bytes_per_s, switch_bytes_per_s: of the links by specification; nic_bytes_per_s: a GPU's share of
    its node's NICs, 1 inside a node [B/s]. seconds: of one call [s]; has_host: timed from a program that launches each
    call, as PyTorch does, so that a time of its own is in it.
    """

    system: np.ndarray
    preset: np.ndarray
    network: np.ndarray
    collective: np.ndarray
    ranks: np.ndarray
    members: np.ndarray
    bytes: np.ndarray
    ring_bytes_per_s: np.ndarray
    switch_bytes_per_s: np.ndarray
    nic_bytes_per_s: np.ndarray
    has_host: np.ndarray
    seconds: np.ndarray
    source: np.ndarray

    def __len__(self) -> int:
        return len(self.seconds)

    def where(self, chosen: np.ndarray) -> "Collectives":
        """The rows that a mask or an index chooses."""
        return Collectives(*(getattr(self, f.name)[chosen] for f in fields(self)))

    @property
    def is_inside(self) -> np.ndarray:
        """The group stays in one node or NVLink domain."""
        return np.asarray(self.ranks <= self.members)

    @property
    def wire_bytes(self) -> np.ndarray:
        """What a rank sends in a ring [B]; nccl-tests' bus bandwidth times the seconds."""
        share = (self.ranks - 1.0) / self.ranks
        turns = np.select([self.collective == "all_reduce", self.collective == "send_recv"], [2.0, 1.0 / share], 1.0)
        return np.asarray(turns * share * self.bytes)

    @property
    def groups(self) -> np.ndarray:
        """A number for every (system, collective, ranks), row by row."""
        keys = [f"{s}|{c}|{n}" for s, c, n in zip(self.system, self.collective, self.ranks, strict=True)]
        return np.unique(keys, return_inverse=True)[1]


def predicted_seconds(
    rows: Collectives, transport: Transport, network: Network, ring: np.ndarray, exchange: np.ndarray
) -> np.ndarray:
    """What the formulas say [s], shape (rows,), with `ring` and `exchange` bandwidths row by row [B/s]."""
    segment = Segment(ring, rows.switch_bytes_per_s, exchange, exchange, transport)
    route = Route(rows.ranks, np.minimum(rows.members, rows.ranks), segment, network, network.bytes_per_s)
    halves = half_seconds(route, rows.bytes)
    found = np.select(
        [rows.collective == "all_reduce", rows.collective == "all_to_all", rows.collective == "send_recv"],
        [all_reduce_seconds(route, rows.bytes), all_to_all_seconds(route, rows.bytes), send_seconds(route, rows.bytes)],
        halves,
    )
    return np.asarray(found)


def transport_of(protocols: Mapping[str, Mapping[str, float]], wire: str) -> Transport:
    """A Transport from a preset's keys by protocol; NCCL never chooses one that is missing or that the wire has not."""
    return Transport(
        **{
            f.name: _protocol(protocols.get(f.name), BELIEVED[wire].get(f.name), protocols["simple"])
            if f.name in BELIEVED[wire] or f.name.startswith("send")
            else _protocol(None, None, protocols["simple"])
            for f in fields(Transport)
        }
    )


def rate_at(rates: Mapping[int, float], ranks: int) -> float:
    """What a group gets of a machine that was measured with other numbers of cards; any unit.

    Between two measured numbers it goes with a power of the number, below them it is the least one's. Beyond them,
    cards that take turns on one medium (host memory, a link between sockets), as two numbers show whose rate falls by
    more than half when the cards double, each add as much to a byte's time; else a way that all crossed already
    carries more of them at the same rate. perfsim's own.

    >>> rate_at({2: 20.0, 4: 5.0}, 8), rate_at({2: 40.0, 4: 26.0}, 8)
    (2.0, 26.0)
    """
    known = sorted(rates)
    if ranks <= known[-1] or len(known) < 2:
        logs = np.log([rates[n] for n in known])
        return float(np.exp(np.interp(np.log(max(ranks, 1)), np.log(known), logs)))
    n, last = known[-2:]
    if rates[last] * last >= rates[n] * n:
        return rates[last]
    slope = (1.0 / rates[last] - 1.0 / rates[n]) / (last - n)
    return float(1.0 / (1.0 / rates[last] + slope * (ranks - last)))


def network_of(keys: Mapping[str, float], bytes_per_s: Floats, **tree: Any) -> Network:
    """A Network from a preset's keys, for a GPU's share of the NICs [B/s] and the `tree` above them."""
    tree = {"head_bytes_per_s": bytes_per_s} | tree
    return Network(
        bytes_per_s=bytes_per_s,
        base_seconds=keys["base_us"] * MICRO,
        hop_seconds=keys["hop_us"] * MICRO,
        fraction=keys["fraction"],
        growth=keys.get("growth", 0.0),
        low_latency_share=keys.get("low_latency_share", 1.0),
        start_seconds=keys.get("start_us", 0.0) * MICRO,
        slice_seconds=keys.get("slice_us", 0.0) * MICRO,
        **tree,
    )


def _protocol(
    keys: Mapping[str, float] | None, believed: tuple[float, float, float] | None, stand_in: Mapping[str, float]
) -> Protocol:
    base, hop, fraction = believed if believed and keys else (np.inf, 0.0, 1.0)
    keys = keys or stand_in
    return Protocol(
        base_seconds=keys["base_us"] * MICRO,
        hop_seconds=keys.get("hop_us", 0.0) * MICRO,
        fraction=keys["fraction"],
        growth=keys.get("growth", 0.0),
        copy_share=keys.get("copy_share", 0.0),
        slice_seconds=keys.get("slice_us", 0.0) * MICRO,
        believed_base_seconds=base * MICRO,
        believed_hop_seconds=hop * MICRO,
        believed_fraction=fraction,
    )
