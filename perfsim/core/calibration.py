"""The measured numbers formulas take besides datasheets, and where each comes from."""

from collections.abc import Mapping
from dataclasses import dataclass

from perfsim.core.numbers import Floats
from perfsim.core.power import PowerControl


@dataclass(frozen=True)
class CardCalibration:
    """How much of a card's datasheet training software reaches.

    gemm_fraction: share of peak_flops_per_s that large products sustain, by number format.
    gemm_bandwidth_fraction: share of memory bandwidth at which a product's operands stream.
    gemm_fill: contraction length [elements] that starting an output tile costs.
    tile_reload: how much slower small output tiles are: 1 + tile_reload·(1/rows + 1/columns).
    whole_wave_share: share of its products that run in whole waves of tiles; persistent kernels fill the last one.
    l2_gain: bandwidth gained over memory's while a product's operands stay in L2.
    bandwidth_fraction: share of memory bandwidth that elementwise kernels reach.
    attention_fraction: share of the peak that a current flash-attention forward reaches at long sequences.
    kernel_seconds: fixed time of a kernel on the GPU (start, drain).
    basis: "measured", "fitted", "rule" (from the card's class) for the three fractions.
    """

    gemm_fraction: Mapping[str, Floats]
    gemm_bandwidth_fraction: Floats
    gemm_fill: Floats
    tile_reload: Floats
    whole_wave_share: Floats
    l2_gain: Floats
    bandwidth_fraction: Floats
    attention_fraction: Floats
    kernel_seconds: Floats
    basis: str


@dataclass(frozen=True)
class Calibration:
    """Numbers shared by all cards (specs/calibration/shared.toml tells the source and the spread of each)."""

    split_seconds: float  # adding up the parts of a split contraction
    misaligned_flops_per_clock: float  # per multiprocessor, tensor-core products with an odd dimension
    softmax_bandwidth_share: float
    norm_bandwidth_share: float
    gather_bandwidth_share: float
    optimizer_bandwidth_share: float
    column_seconds_per_row: float  # gamma and beta gradients of an eager norm: few thread blocks walk all rows
    l2_hit: float
    l2_share: float
    l2_bandwidth_bytes_per_s: float
    attention_startup_tokens: float
    attention_kernel_seconds: float
    attention_backward_share: float
    attention_small_head_share: float  # head dimension 64 or less
    attention_pre_hopper_share: float  # kernels without wgmma (flash-1, flash-2) on Hopper and later
    communication_multiprocessor_share: float
    pipeline_send_seconds: float
    visible_memory_share: float  # of a card's memory, what is left for programs to see
    node_growth: float  # the step grows by this per ln(nodes)
    control: PowerControl
