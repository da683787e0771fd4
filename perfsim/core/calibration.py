"""The measured numbers formulas take besides datasheets, and where each comes from."""

from collections.abc import Mapping
from dataclasses import dataclass

from perfsim.core.numbers import Floats
from perfsim.core.power import PowerControl


@dataclass(frozen=True)
class ProductShape:
    """What the shape of a product does to its time (formulas.gemm).

    gemm_bandwidth_fraction: share of memory bandwidth at which a product's operands stream.
    gemm_fill: contraction length [elements] that starting an output tile costs.
    tile_reload: how much slower small output tiles are: 1 + tile_reload·(1/rows + 1/columns).
    whole_wave_share: share of its products that run in whole waves of tiles; persistent kernels fill the last one.
    l2_gain: bandwidth gained over memory's while a product's operands stay in L2.
    """

    gemm_bandwidth_fraction: Floats
    gemm_fill: Floats
    tile_reload: Floats
    whole_wave_share: Floats
    l2_gain: Floats


@dataclass(frozen=True)
class CardCalibration:
    """How much of a card's datasheet training software reaches.

    gemm_fraction: share of peak_flops_per_s that large products reach at full clock, by number format.
    products: how tensor cores go through products of any shape.
    bandwidth_fraction: share of memory bandwidth that elementwise kernels reach.
    attention_fraction: share of the peak that a current flash-attention forward reaches at long sequences.
    kernel_seconds: fixed time of a kernel on the GPU (start, drain).
    basis: "measured", "fitted", "rule" (from the card's class) for the three fractions.
    """

    gemm_fraction: Mapping[str, Floats]
    products: ProductShape
    bandwidth_fraction: Floats
    attention_fraction: Floats
    kernel_seconds: Floats
    basis: str


@dataclass(frozen=True)
class Streaming:
    """Numbers shared by all cards; fits on sitar-lab/NeuSight, microsoft/vidur and ai-dynamo/aiconfigurator kernels.

    multiprocessor_bytes_per_clock: most bytes one multiprocessor reads and writes in a clock, [B].
    l2_share: a tensor of this share of L2 is still half found there, [-].
    row_l2_share: rows in flight of this share of L2 are half evicted before they are read again, [-].
    row_clocks: clocks of a multiprocessor to start and reduce one row in a thread block of its own, [clk].
    reread_bytes_per_clock: rate at which one multiprocessor walks a row again that L2 still holds, when nothing else
        runs meanwhile, [B].
    """

    multiprocessor_bytes_per_clock: float
    l2_share: float
    row_l2_share: float
    row_clocks: float
    reread_bytes_per_clock: float


@dataclass(frozen=True)
class FlashAttention:
    """Numbers shared by all cards; fits on ai-dynamo/aiconfigurator and MooreThreads/SimuMax attention kernels.

    exponentials_per_clock: of one multiprocessor, beside what else the softmax does, [1/clk] (16 special-function
        results a clock from Ampere to Blackwell; B300 has twice as many, take 22 there).
    tail_share: of the longest block, how much time is lost when blocks run out, [-].
    row_clocks: clocks of a multiprocessor per query row of a head: block start, scaling, output, [clk].
    backward_share: rate of the backward pass against the forward pass, [-].
    """

    exponentials_per_clock: float
    tail_share: float
    row_clocks: float
    backward_share: float


@dataclass(frozen=True)
class Calibration:
    """Numbers shared by all cards (specs/calibration/shared.toml tells the source and the spread of each)."""

    vector_products: ProductShape  # the same for products without tensor cores, on all cards
    split_seconds: float  # adding up the parts of a split contraction
    misaligned_flops_per_clock: float  # per multiprocessor, tensor-core products with an odd dimension
    column_sum_share: float  # of the elementwise bandwidth, that sums over rows (bias gradients) reach
    gather_bandwidth_share: float
    optimizer_bandwidth_share: float
    column_seconds_per_row: float  # gamma and beta gradients of an eager norm: few thread blocks walk all rows
    attention_pre_hopper_share: float  # kernels without wgmma (flash-1, flash-2) on Hopper and later
    communication_multiprocessor_share: float
    visible_memory_share: float  # of a card's memory, what is left for programs to see
    rank_jitter: float  # standard deviation of a rank's step over its mean, for the slowest of n
    streaming: Streaming
    attention: FlashAttention
    control: PowerControl
