"""Seconds of a matrix product on one card: tiles dealt to multiprocessors, in waves, against its memory traffic.

A product of batch x (rows x contraction) by (contraction x columns) is cut into output tiles, and a long contraction
may be split over several blocks. The library picks the tile and the split that finish first; so does the formula.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from perfsim.core.calibration import ProductShape
from perfsim.core.hardware import Gpu
from perfsim.core.numbers import Floats, Ints

# output tiles (rows, columns) that cuBLAS and CUTLASS ship for tensor cores and for vector units, and the ways they
# split a contraction
TILES = (
    (256, 128), (128, 256), (128, 128), (128, 64), (64, 128), (64, 64), (128, 32), (32, 128), (128, 16), (16, 128),
)  # fmt: skip
SPLITS = (1, 2, 4, 8, 16)
_TILE_ROWS, _TILE_COLUMNS, _SPLIT = np.array([(*tile, split) for tile in TILES for split in SPLITS], dtype=float).T
_IS_SPLIT = _SPLIT > 1.0
_LARGEST_TILE_RELOAD = 1.0 / 256 + 1.0 / 128
_PARTIAL_BYTES = 4.0  # a split contraction adds up fp32 partial sums
_PARTIAL_SHARE = 0.4  # of which this much reaches memory; assumed, fits hardly feel it


class Gemm(NamedTuple):
    """A product's shape; every number may be an array [elements], bytes [B] of operands and result together."""

    batch: Floats
    rows: Floats
    columns: Floats
    contraction: Floats
    bytes: Floats

    @property
    def flops(self) -> Floats:
        """2·B·M·N·K."""
        return 2.0 * self.batch * self.rows * self.columns * self.contraction


def gemm_seconds(gemm: Gemm, flops_per_s: Floats, gpu: Gpu, shape: ProductShape, split_seconds: float) -> Floats:
    """Seconds of one product without its start [s], shape broadcast of gemm, rate and card.

    The least over tiles (m, n) and splits s of (C⁴ + T⁴)^¼ + [s > 1]·split_seconds, with
        C = waves·2·m·n·(⌈K/s⌉ + fill)·reload / (flops_per_s/SMs)     waves = w, ⌈w⌉ for a share of the card's kernels
        w = max(1, B·⌈M/m⌉·⌈N/n⌉·s / SMs)                             reload = 1 + r·(1/m + 1/n), 1 for the largest tile
        T = (Q + fp32 partial sums) / bandwidth                         bandwidth: gemm_bandwidth
    flops_per_s is what a large product reaches. Holds for: any shape; 5 to 6 % for training shapes and 8 to 9 % down to
    one row (`perfsim validate kernels`). Source: perfsim's own (docs/formulas.md#products); tiles and waves as in
    NVIDIA's "Matrix Multiplication Background" guide.
    """
    return gemm_seconds_at(gemm, flops_per_s, gpu, shape, split_seconds, (1.0,))[0]


def gemm_seconds_at(
    gemm: Gemm, flops_per_s: Floats, gpu: Gpu, shape: ProductShape, split_seconds: float, clocks: Sequence[float]
) -> list[Floats]:
    """`gemm_seconds` at each of these shares of the full core clock, which the arithmetic follows [s]."""
    batch, rows, columns, contraction = (_last_axis(d) for d in gemm[:4])
    multiprocessors, waves_share = _last_axis(gpu.multiprocessors), _last_axis(shape.whole_wave_share)
    reload = _last_axis(shape.tile_reload)
    blocks = batch * np.ceil(rows / _TILE_ROWS) * np.ceil(columns / _TILE_COLUMNS) * _SPLIT
    waves = blocks / multiprocessors
    waves = (1.0 - waves_share) * np.maximum(1.0, waves) + waves_share * np.ceil(waves)
    deep = np.ceil(contraction / _SPLIT) + _last_axis(shape.gemm_fill)
    slower = (1.0 + reload * (1.0 / _TILE_ROWS + 1.0 / _TILE_COLUMNS)) / (1.0 + reload * _LARGEST_TILE_RELOAD)
    arithmetic = waves * (2.0 * _TILE_ROWS * _TILE_COLUMNS) * deep * slower * multiprocessors / _last_axis(flops_per_s)
    partial = _IS_SPLIT * _SPLIT * (_PARTIAL_SHARE * _PARTIAL_BYTES) * batch * rows * columns
    traffic = (_last_axis(gemm.bytes) + partial) / _last_axis(gemm_bandwidth(gemm.bytes, gpu, shape))
    arithmetic, traffic = arithmetic * arithmetic, traffic * traffic
    arithmetic, traffic = arithmetic * arithmetic, traffic * traffic
    again = _IS_SPLIT * split_seconds
    return [np.min(np.sqrt(np.sqrt(arithmetic / clock**4 + traffic)) + again, axis=-1) for clock in clocks]


def gemm_bandwidth(size: Floats, gpu: Gpu, shape: ProductShape) -> Floats:
    """What operands of `size` bytes stream at [B/s]: m·W·(1 + g/(1 + (Q/(L2/2))⁴)), g the gain of those L2 holds."""
    filled = np.asarray(size) / (0.5 * gpu.l2_bytes)
    filled = filled * filled
    gain = shape.l2_gain / (1.0 + filled * filled)
    return gpu.memory_bandwidth_bytes_per_s * shape.gemm_bandwidth_fraction * (1.0 + gain)


def _last_axis(value: Floats | Ints) -> Floats:
    return np.asarray(value)[..., None]
