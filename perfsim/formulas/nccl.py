"""What NCCL makes of NVLink: channels on a ladder of speeds, and reduction inside the switch.

NCCL cuts a GPU's links into channels of one speed out of a fixed ladder. On a switch the ring rate is the best
speed·⌊total/speed⌋. In-switch reduction (NVLS) gives every GPU a channel for each of up to HEADS ranks and two for its
own, so that (n+1)·speed = total, times an efficiency; NCCL rounds the speed down to its ladder, which measurements do
not show. Source: NVIDIA/nccl src/graph/topo.h, search.cc and tuning.cc at 5067397; measured on 8 H200 and 8 B200 to
1-4 %, ring on B200 to 6 % (stas00/ml-engineering network).
"""

from collections.abc import Mapping
from typing import TypeVar

from perfsim.units import GIGA

T = TypeVar("T")

# What NCCL takes a link for [GB/s per direction] over its datasheet's 20 (NVLink 1), 25 (2 to 4; 14.1 on GeForce and
# workstation cards) or 50 (NVLink 5).
LINK_SHARE = {
    6.0: 18.0 / 20.0,
    7.0: 20.0 / 25.0,
    8.0: 20.0 / 25.0,
    8.6: 12.0 / 14.0625,
    9.0: 20.6 / 25.0,
    10.0: 40.1 / 50.0,
}
# Speeds of a channel inside a node [GB/s], by compute capability from which they hold.
SPEEDS = {
    6.0: (40, 30, 20, 18, 15, 12, 10, 9, 7, 6, 5, 4, 3),
    9.0: (60, 50, 40, 30, 24, 20, 15, 12, 11, 6, 3),
    10.0: (90, 80, 70, 60, 50, 45, 40, 30, 24, 20, 19, 18),
}
SWITCH_EFFICIENCY = {9.0: 0.85, 10.0: 0.74}
SWITCH_SPEED = {9.0: 60.0, 10.0: 120.0}  # of a channel to the switch at most [GB/s]; so 5 H200 use it and 6 B200
# Ranks of a domain that lead in reductions in the switch and towards the network: racks of 72 GPUs get no more than 8
# NICs over 2 and 20 racks, and no more of the switch than a board (coreweave/nccl-tests, the only source).
HEADS = 8
MOST_CHANNELS = 32
ROUNDING = 1e-9

# What NCCL believes of its protocols and chooses by: start [us], step [us], share of the ring's bandwidth (for
# reduction in the switch, of its own). LL is 0.365-0.392 of the ring by generation; PCIe has no LL128.
# Source: src/graph/tuning.cc.
BELIEVED: dict[str, dict[str, tuple[float, float, float]]] = {
    "nvlink": {
        "low_latency": (6.6, 0.6, 0.39),
        "low_latency_128": (14.0, 1.9, 0.92),
        "simple": (8.4, 3.4, 1.0),
        "switch": (25.0, 0.0, 1.0),
    },
    "pcie": {"low_latency": (6.6, 1.0, 0.5), "simple": (8.4, 5.7, 1.0)},
}


def ring_bytes_per_s(nvlink_bytes_per_s: float, compute_capability: float) -> float:
    """Wire bytes a second of a ring over a switch [B/s], from a GPU's links, one direction [B/s].

    >>> [round(ring_bytes_per_s(rate, cc) / 1e9) for rate, cc in ((300e9, 8.0), (450e9, 9.0), (900e9, 10.0))]
    [240, 360, 720]
    """
    total = _total(nvlink_bytes_per_s, compute_capability)
    best = 0.0
    for speed in _since(SPEEDS, compute_capability):
        best = max(best, speed * min(int(total / speed + ROUNDING), MOST_CHANNELS))
        if best >= total - ROUNDING:
            break
    return (best or total) * GIGA


def switch_bytes_per_s(nvlink_bytes_per_s: float, compute_capability: float, ranks: int) -> float:
    """Bus bandwidth of an all-reduce that the switch adds up [B/s]; 0 before compute capability 9.0.

    >>> [round(switch_bytes_per_s(rate, cc, 8) / 1e9) for rate, cc in ((450e9, 9.0), (900e9, 10.0))]
    [490, 831]
    """
    if compute_capability < 9.0 or ranks < 2:
        return 0.0
    total = _total(nvlink_bytes_per_s, compute_capability)
    efficiency = _since(SWITCH_EFFICIENCY, compute_capability)
    heads = min(ranks, HEADS)
    speed = min(_since(SWITCH_SPEED, compute_capability), total / (heads + 1))
    return 2.0 * heads * (ranks - 1) / ranks * speed * efficiency * GIGA


def link_bytes_per_s(nvlink_bytes_per_s: float, compute_capability: float) -> float:
    """What NCCL takes NVLinks for that a datasheet gives this rate, one direction [B/s]."""
    return _total(nvlink_bytes_per_s, compute_capability) * GIGA


def _total(nvlink_bytes_per_s: float, compute_capability: float) -> float:
    return nvlink_bytes_per_s * _since(LINK_SHARE, compute_capability) / GIGA


def _since(table: Mapping[float, T], compute_capability: float) -> T:
    """The entry of the latest generation that is not after this one; of the first before all."""
    return table[max((since for since in table if since <= compute_capability), default=min(table))]
