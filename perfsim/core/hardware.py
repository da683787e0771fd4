"""Cards, links and systems. Every number may be an array over systems, so that one formula costs a whole fleet."""

from collections.abc import Mapping
from dataclasses import dataclass

from perfsim.core.calibration import CardCalibration
from perfsim.core.numbers import Bools, Floats, Ints
from perfsim.core.power import CardPower


@dataclass(frozen=True)
class Gpu:
    """One card. Peaks are dense and accumulate in fp32, 0 where the card has no such unit.

    peak_flops_per_s: by number format: fp32 (vector units), tf32, fp16, bf16, fp8, fp4.
    """

    key: str
    name: str
    series: str
    architecture: str
    compute_capability: Floats
    multiprocessors: Ints
    clock_hz: Floats
    l2_bytes: Floats
    memory_bytes: Floats
    memory_bandwidth_bytes_per_s: Floats
    peak_flops_per_s: Mapping[str, Floats]
    board_limit_watts: Floats  # the board's own limit
    power_limit_watts: Floats  # that, or a lower one that the user set
    power: CardPower
    price_usd: Floats  # launch price; 0: not known
    calibration: CardCalibration


@dataclass(frozen=True)
class Protocol:
    """One way a collective library moves bytes: base + hop·(ranks-1) + wire bytes / (fraction·bandwidth)."""

    base_seconds: Floats
    hop_seconds: Floats
    fraction: Floats


@dataclass(frozen=True)
class Link:
    """What one GPU can send over a fabric, one direction, and the two protocols that use it."""

    bandwidth_bytes_per_s: Floats
    low_latency: Protocol
    simple: Protocol


@dataclass(frozen=True)
class System:
    """Nodes of like GPUs.

    `gpus_per_domain` GPUs share `within` (the node, or an NVLink rack); beyond it `between` is what one GPU gets when
    every GPU of its node sends at once.
    """

    key: str
    name: str
    gpu: Gpu
    gpus_per_node: Ints
    gpus_per_domain: Ints
    max_gpus: Ints
    within: Link
    between: Link
    host_watts_per_gpu: Floats
    usd_per_gpu_hour: Floats
    has_price: Bools
    price_basis: str
