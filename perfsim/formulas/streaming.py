"""Seconds of kernels that only move bytes: elementwise chains, normalisations, softmax; pure arithmetic on arrays.

Three rates bound a streaming kernel: DRAM, what one multiprocessor can ask for in a clock, and the rows it can start.
A kernel that walks its rows more than once finds them in L2 as long as all rows in flight fit there together.
"""

from dataclasses import dataclass

import numpy as np

from perfsim.core.calibration import Streaming
from perfsim.core.hardware import Gpu
from perfsim.core.numbers import Floats, Ints

HIT_POWER = 10.0  # sharpness of the step between a tensor that fits L2 and one that does not
ROW_HIT_POWER = 4.0  # the same for rows in flight: blocks drift apart, so the step is softer


@dataclass(frozen=True)
class RowWalk:
    """How a kernel walks its rows; every number may be an array.

    rereads: how many times the input is read again after the first pass, [-] (0: the row stays in registers).
    rows_in_flight: rows that one multiprocessor works on at a time, [rows].
    has_row_start: each row is a thread block of its own, which costs `row_clocks`.
    is_serial: one pass over the row ends before the next begins and few rows overlap, so rereads take time of their
        own even from L2.
    """

    rereads: Floats
    rows_in_flight: Floats
    has_row_start: bool
    is_serial: bool


def eager_norm(columns: Floats, threads: Floats = 2048.0) -> RowWalk:
    """PyTorch's layer normalisation: 128 threads a row, a pass for the moments and a pass for the output.

    columns [values], threads that fit a multiprocessor [-] (2048; 1536 for GA10x, Ada and GB20x; 1024 for Turing).
    Source: pytorch aten/src/ATen/native/cuda/layer_norm_kernel.cu, vectorized_layer_norm_kernel.
    """
    return RowWalk(1.0 + 0.0 * np.asarray(columns), np.asarray(threads) / 128.0, True, False)


def eager_softmax(
    columns: Floats, value_bytes: Floats = 4.0, threads: Floats = 2048.0, is_backward: bool = False
) -> RowWalk:
    """PyTorch's softmax: a warp keeps rows of up to 1024 values in registers, wider rows are read three times.

    Backward, wider rows of gradients and results are read twice.

    columns [values], value_bytes [B], threads that fit a multiprocessor [-]; a wide row has a thread per 16 bytes,
    1024 threads at most. Source: pytorch aten/src/ATen/native/cuda/SoftMax.cu, PersistentSoftmax.cuh.
    """
    columns = np.asarray(columns, dtype=float)
    per_row = np.clip(2.0 ** np.ceil(np.log2(np.maximum(columns * value_bytes / 16.0, 1.0))), 32.0, 1024.0)
    again = 1.0 if is_backward else 2.0
    return RowWalk(np.where(columns > 1024.0, again, 0.0), threads / per_row, False, True)


def l2_hit(size_bytes: Floats, l2_bytes: Floats, share: Floats, power: float) -> Floats:
    """Share of a working set that L2 still holds, [-]: 1 / (1 + (Q / (share·L2))^power).

    Holds for: any sizes; 1 far below, 0 far above. perfsim's own.
    """
    return 1.0 / (1.0 + np.minimum(np.asarray(size_bytes) / (share * np.asarray(l2_bytes)), 1e6) ** power)


def issue_bytes_per_s(gpu: Gpu, parameters: Streaming) -> Floats:
    """What all multiprocessors read and write at most, from any cache [B/s]: r·S·f."""
    return parameters.multiprocessor_bytes_per_clock * np.asarray(gpu.multiprocessors) * gpu.clock_hz


def stream_seconds(
    size_bytes: Floats, bandwidth_bytes_per_s: Floats, multiprocessors: Ints, clock_hz: Floats, l2_bytes: Floats,
    parameters: Streaming,
) -> Floats:  # fmt: skip
    """Seconds of an elementwise kernel without its launch [s]: max(Q·(1 - hit) / B, Q / (r·S·f)).

    size_bytes Q [B] reads and writes; bandwidth B [B/s] what streaming sustains (the card's share of its datasheet);
    multiprocessors S [-]; clock_hz f [1/s]; l2_bytes [B]; all broadcast to the result's shape.
    Holds for: kernels whose operands were just written or are read again soon (a training step's are); 1 kB-10 GB.
    Source: 8 cards, ai-dynamo/aiconfigurator and microsoft/vidur, r = 12-22 B/clk; docs/formulas.md#streaming.
    """
    hit = l2_hit(size_bytes, l2_bytes, parameters.l2_share, HIT_POWER)
    issue = parameters.multiprocessor_bytes_per_clock * np.asarray(multiprocessors) * clock_hz
    return np.maximum(size_bytes * (1.0 - hit) / bandwidth_bytes_per_s, size_bytes / issue)


def row_seconds(
    rows: Floats, row_bytes: Floats, size_bytes: Floats, walk: RowWalk, bandwidth_bytes_per_s: Floats,
    multiprocessors: Ints, clock_hz: Floats, l2_bytes: Floats, parameters: Streaming,
) -> Floats:  # fmt: skip
    """Seconds of a kernel that reduces rows (normalisation, softmax) without its launch [s].

    t = max(stream(Q) + n·R·miss / B, rows·c / (S·f)) + serial·n·R·(1 - miss) / (r₂·S·f),
    miss = 1 - hit(S·rows_in_flight·row_bytes), R = rows·row_bytes, n rereads.
    rows [rows]; row_bytes [B] the bytes of one row that are read again; size_bytes Q [B] reads and writes of one
    pass; the rest as in `stream_seconds`; all broadcast.
    Holds for: at least as many rows as multiprocessors; 256-16,384 columns. Rows too wide for L2 cost 3/2 of their
    bytes in a normalisation and twice their bytes in a softmax: within 7 % on P4, P100, V100, T4 and A100. Softmax
    of 12,000-16,384 columns on A100 takes 25-30 % longer.
    Source: sitar-lab/NeuSight layernorm and softmax, fp32; docs/formulas.md#streaming.
    """
    again = walk.rereads * rows * row_bytes
    in_flight = multiprocessors * np.asarray(walk.rows_in_flight) * row_bytes
    hit = l2_hit(in_flight, l2_bytes, parameters.row_l2_share, ROW_HIT_POWER)
    speed = np.asarray(multiprocessors) * clock_hz
    outside = stream_seconds(
        size_bytes, bandwidth_bytes_per_s, multiprocessors, clock_hz, l2_bytes, parameters
    ) + again * (1.0 - hit) / np.asarray(bandwidth_bytes_per_s)
    if walk.has_row_start:
        outside = np.maximum(outside, rows * parameters.row_clocks / speed)
    if walk.is_serial:
        outside = outside + again * hit / (parameters.reread_bytes_per_clock * speed)
    return outside
