"""Who computes what: degrees of parallelism, micro-batches, recomputation, and why a plan cannot run."""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Self

from perfsim.core.numbers import Bools, Ints


class Recompute(IntEnum):
    """Which activations the backward pass computes again."""

    NONE, SELECTIVE, FULL = 0, 1, 2


class Offload(IntEnum):
    """What lies in the host's memory instead of the GPU's; parameters take gradients and the optimizer with them."""

    NONE, OPTIMIZER, PARAMETERS, ACTIVATIONS = range(4)

    @property
    def label(self) -> str:
        """What people write and read, e.g. "optimizer"."""
        return self.name.lower()


class Schedule(IntEnum):
    """The order of forward and backward passes in a pipeline; virtual_stages > 1 makes 1F1B interleaved."""

    GPIPE, ONE_F_ONE_B, ZB_H1, ZB_V, DUALPIPE = range(5)

    @property
    def label(self) -> str:
        """What people write and read, e.g. "zb-h1"."""
        return ("gpipe", "1f1b", "zb-h1", "zb-v", "dualpipe")[self]


class Placement(IntEnum):
    """Which ranks are neighbours, nearest first; tensor-parallel ranks always are."""

    DATA_INNER, PIPELINE_INNER = 0, 1  # tensor, context, data, pipeline; tensor, pipeline, context, data

    @property
    def label(self) -> str:
        """What people write and read, e.g. "data-inner"."""
        return self.name.lower().replace("_", "-")


class ContextExchange(IntEnum):
    """How context-parallel ranks see each other's keys and values."""

    RING, ALL_TO_ALL, ALL_GATHER = 0, 1, 2  # passed on step by step; heads for tokens (Ulysses); all at once

    @property
    def label(self) -> str:
        """What people write and read, e.g. "all-to-all"."""
        return self.name.lower().replace("_", "-")


class Problem(IntFlag):
    """Why a plan cannot run. A member's `text` is what a person is told, `remedy` what to do."""

    text: str
    remedy: str

    HEADS = 1, "tensor_parallel does not divide the attention heads", "choose a divisor of the heads"
    LAYERS = 2, "virtual_stages x pipeline_parallel divides neither layers nor layers + 2, or exceeds them", "use fewer"
    BATCH = 4, "data_parallel x micro_batch_size does not divide the global batch", "change the batch or the degrees"
    GPUS = 8, "the degrees do not multiply to the number of GPUs", "let data_parallel be what is left"
    MEMORY = 16, "does not fit in GPU memory", "more GPUs, recompute, ZeRO or a smaller micro-batch"
    INTERLEAVE = 32, "virtual_stages needs 1f1b in a pipeline that divides the microbatches", "use virtual_stages = 1"
    SYSTEM = 64, "the system cannot hold that many GPUs", "ask for fewer GPUs or another system"
    PRECISION = 128, "the card has no units for this precision", "choose another precision"
    ATTENTION = 256, "the card cannot run this attention kernel", "choose another software or attention kernel"
    SEQUENCE = 512, "context_parallel does not divide the sequence", "choose a divisor of the sequence length"
    EXPERTS = 1024, "expert_parallel does not divide the experts or the data-parallel ranks", "choose a common divisor"
    NODE = 2048, "tensor_parallel spans more GPUs than one node holds", "keep tensor_parallel inside a node"
    SCHEDULE = (
        4096,
        "the schedule cannot run with these stages, virtual_stages and microbatches",
        "zb-h1 needs as many microbatches as stages; zb-v twice as many, and virtual_stages = 2; dualpipe twice as"
        " many, and even numbers of both",
    )
    SOFTWARE_SCHEDULE = (
        8192,
        "the software has no such schedule",
        "choose one that its file lists (perfsim specs show SOFTWARE), or another software",
    )

    OFFLOAD = (
        16384,
        "the software has no such offload, or not with this ZeRO stage or optimizer",
        "choose one that its file lists (perfsim specs show SOFTWARE); parameters need zero_stage = 3",
    )
    IN_BACKWARD = (
        32768,
        "an optimizer inside the backward pass steps with every micro-batch, before gradients are summed over replicas",
        "one micro-batch a step, and zero_stage = 3 over several GPUs",
    )

    CONTEXT_HEADS = (
        65536,
        "tensor_parallel x context_parallel does not divide the heads that all-to-all exchanges for tokens",
        "choose a common divisor of query and key-value heads, or another context_exchange",
    )

    HYBRID = 131072, "hybrid_shard does not divide the data-parallel ranks", "choose a divisor of them"
    SOCKET = (
        262144,
        "a machine's GPUs and host may draw more than its sockets give",
        "a lower power_limit_watts, or fewer GPUs a machine",
    )
    LIBRARY = (
        524288,
        "a library that this precision, method or software needs does not run on the card",
        "choose another precision, method or software (perfsim support CARD)",
    )
    RELEASE = (
        1048576,
        "the card is newer than every release of the software",
        "choose software of the card's time (perfsim specs list software)",
    )

    def __new__(cls, value: int, text: str = "", remedy: str = "") -> Self:
        """A member with its two texts; a combination of members has none."""
        member = int.__new__(cls, value)
        member._value_, member.text, member.remedy = value, text, remedy
        return member


# what stops every plan on a card, whatever its degrees
CARD_CANNOT = Problem.PRECISION | Problem.ATTENTION | Problem.LIBRARY | Problem.RELEASE


@dataclass(frozen=True)
class Plan:
    """One plan, or many: the fields broadcast. Ranks are laid out in the order of `placement`.

    hybrid_shard: ZeRO shards over this many data-parallel ranks and replicates beyond (0: over all of them).
    recompute_layers: how many of the model's layers full recomputation covers, as many on each stage (0: all).
    """

    tensor_parallel: Ints = 1
    pipeline_parallel: Ints = 1
    data_parallel: Ints = 1
    context_parallel: Ints = 1
    expert_parallel: Ints = 1
    micro_batch_size: Ints = 1
    virtual_stages: Ints = 1
    sequence_parallel: Bools = False
    zero_stage: Ints = 0
    hybrid_shard: Ints = 0
    recompute: Ints = Recompute.NONE
    recompute_layers: Ints = 0
    offload: Ints = Offload.NONE
    schedule: Ints = Schedule.ONE_F_ONE_B
    placement: Ints = Placement.DATA_INNER
    context_exchange: Ints = ContextExchange.RING

    @property
    def gpus(self) -> Ints:
        """GPUs that the degrees multiply to."""
        return self.tensor_parallel * self.context_parallel * self.data_parallel * self.pipeline_parallel
