"""Cards and systems. Every number may be an array over systems, so that one formula costs a whole fleet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from perfsim.core.arrays import Lookup, shape_of, stack
from perfsim.core.calibration import CardCalibration
from perfsim.core.fabric import Network, Segment
from perfsim.core.numbers import Bools, Floats, Ints
from perfsim.core.offers import Rate
from perfsim.core.power import CardPower


@dataclass(frozen=True)
class Gpu:
    """One card. Peaks are dense and accumulate in fp32, 0 where the card has no such unit.

    peak_flops_per_s: by number format: fp32 (vector units), tf32, fp16, bf16, fp8, fp4. lacks: of libraries and recipes
    (core.support.NEEDED) whether they are known not to run. first_code_day: ordinal of the day from which toolkits make
    code for the card; 0: not known.
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
    server_watts: Floats  # beside the board, for each such card of a server
    price_usd: Floats  # of a card to buy (System.purchase says where from); 0: not known
    lacks: Mapping[str, Bools]
    first_code_day: Floats
    software_limits: str  # what software there is no more or not at all, "" for none
    software_verdict: str  # that and what there is, in a sentence
    calibration: CardCalibration


@dataclass(frozen=True)
class System:
    """Nodes of like GPUs.

    `gpus_per_domain` GPUs form a domain (the node, or an NVLink rack): `within` says what a group inside it gets, by
    its ranks and their stride. Beyond it the network is `between`. host_link_bytes_per_s: one direction between a GPU
    and its host's memory while all GPUs of the node use theirs; host_memory_bytes_per_s: a GPU's share of that memory's
    rate, reads and writes together. number: which of several systems, where the numbers are arrays over plans on them
    (`numbered`).
    """

    key: str
    name: str
    gpu: Gpu
    gpus_per_node: Ints
    gpus_per_domain: Ints
    max_gpus: Ints
    within: Lookup[Segment]
    between: Network
    host_link_bytes_per_s: Floats
    host_memory_bytes_per_s: Floats
    host_watts_per_gpu: Floats  # beside the boards, while training
    host_limit_watts_per_gpu: Floats  # at most
    rates: Lookup[Rate]  # by kind of offer (formulas.rent.RENTED) and number of GPUs
    offers: tuple[str, ...]  # what the rates' offers are called
    purchase: str  # where gpu.price_usd comes from
    number: Ints = 0


def numbered(systems: Sequence[System]) -> System:
    """The systems as one record of arrays [systems] that tells them apart, to `take` one a plan from."""
    return replace(stack(systems), number=np.arange(len(systems)))


def is_told(system: System) -> bool:
    """Whether `number` tells all that there is to know of the system: it is one, or rows of `numbered` ones."""
    return shape_of(system) == np.shape(system.number)
