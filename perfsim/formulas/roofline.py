"""Seconds and joules of one kernel on one card: a fixed start, and what its kind of kernel takes.

The roofline of Williams, Waterman and Patterson (CACM 2009), told apart by kind: products in `gemm`, fused attention in
`attention`, everything that only moves bytes in `streaming`. Rates are those at full clock; `power` says what a limit
leaves of it.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from perfsim.core.calibration import Calibration
from perfsim.core.hardware import Gpu
from perfsim.core.numbers import Bools, Floats
from perfsim.core.software import Software
from perfsim.formulas.attention import attention_work
from perfsim.formulas.gemm import Gemm, gemm_seconds_at
from perfsim.formulas.power import BEND_CLOCK, Activity
from perfsim.formulas.streaming import eager_norm, eager_softmax, row_seconds, stream_seconds

Kind = Literal["product", "attention", "elementwise", "softmax", "norm", "gather", "sum", "column", "optimizer"]


@dataclass(frozen=True)
class Kernel:
    """One launch on the GPU, or `launches` like it; every number may be an array over plans.

    flops [FLOP] and bytes [B] are of one launch. A product is batch x (rows x contraction) by (contraction x columns)
    [elements]. "attention": batch heads of rows queries and contraction keys [tokens], columns the head dimension;
    one that `is_pre_hopper` does not use Hopper's matrix instructions. "norm" and "softmax" are eager PyTorch's: rows
    of columns values that are walked more than once, row_bytes [B] of one row each time. "column": rows are walked
    one after another. "sum": sums over all rows.

    winograd: a product that vector units may replace by 16 times as many, with rows, columns and contraction over
    these; the quicker way counts.
    """

    kind: Kind
    number_format: str
    bytes: Floats
    flops: Floats = 0.0
    batch: Floats = 1.0
    rows: Floats = 1.0
    columns: Floats = 1.0
    contraction: Floats = 1.0
    row_bytes: Floats = 0.0
    is_misaligned: Bools = False
    winograd: tuple[float, float, float] | None = None
    launches: Floats = 1.0
    efficiency: Floats = 1.0
    is_pre_hopper: bool = False
    is_causal: bool = False
    is_backward: bool = False


def kernel_seconds(kernel: Kernel, gpu: Gpu, software: Software, calibration: Calibration) -> Floats:
    """Seconds of all the kernel's launches at full clock [s]: `kernel_activity`'s."""
    return kernel_activity(kernel, gpu, software, calibration).seconds


def kernel_activity(kernel: Kernel, gpu: Gpu, software: Software, calibration: Calibration) -> Activity:
    """Seconds and joules of all the kernel's launches, shape broadcast of kernel and card.

    A launch is t0 and the kernel: products gemm.gemm_seconds, fused attention attention.attention_seconds, sums over
    rows one after another the longer of them and their traffic, all else streaming.stream_seconds or row_seconds.
    Products, attention and column kernels are asked at three core clocks, the full one, `BEND_CLOCK` and the memory
    clock; between them seconds are linear in 1/clock. So whatever is quicker at every clock is quicker at any. The rest
    waits for memory and does not follow the clock. A product in TF32 runs in fp32 on cards without TF32.
    Holds for: kernels of a training step. Source: perfsim's own fits, docs/formulas.md#roofline.
    """
    if kernel.kind == "product" and kernel.number_format == "tf32":
        share = 1.0 * (np.asarray(gpu.peak_flops_per_s["tf32"]) > 0.0)
        if not np.all(share):
            wide = _activity(replace(kernel, number_format="fp32"), gpu, software, calibration)
            return _activity(kernel, gpu, software, calibration).times(share).plus(wide.times(1.0 - share))
    return _activity(kernel, gpu, software, calibration)


def _activity(kernel: Kernel, gpu: Gpu, software: Software, calibration: Calibration) -> Activity:
    at_full, at_bend, at_memory = _seconds_at_clocks(kernel, gpu, software, calibration)
    bend, slowest = 1.0 / BEND_CLOCK, 1.0 / calibration.control.memory_clock_share
    compute = np.clip((at_bend - at_full) / (bend - 1.0), 0.0, at_full)
    late = np.maximum((at_memory - at_bend) / (slowest - bend) - compute, 0.0)
    launches, per_flop = kernel.launches, gpu.power.joules_per_flop[kernel.number_format]
    return Activity(
        launches * compute,
        launches * (gpu.calibration.kernel_seconds + (at_full - compute)),
        launches * kernel.flops * per_flop,
        launches * kernel.bytes * gpu.power.joules_per_byte,
        1.0 * launches,
        launches * late,
    )


def _seconds_at_clocks(
    kernel: Kernel, gpu: Gpu, software: Software, calibration: Calibration
) -> tuple[Floats, Floats, Floats]:
    """One launch without its start at full clock, at the bend and at the memory clock [s]."""
    clocks = (1.0, BEND_CLOCK, calibration.control.memory_clock_share)
    seconds: list[Floats]
    match kernel.kind:
        case "product":
            gemm = Gemm(kernel.batch, kernel.rows, kernel.columns, kernel.contraction, kernel.bytes)
            rate = product_flops_per_s(kernel, gpu, software, calibration)
            is_vector = kernel.number_format == "fp32"
            shape = calibration.vector_products if is_vector else gpu.calibration.products
            seconds = gemm_seconds_at(gemm, rate, gpu, shape, calibration.split_seconds, clocks)
            if kernel.winograd and is_vector:
                rows, columns, contraction = kernel.winograd
                gemm = Gemm(16.0 * gemm.batch, gemm.rows / rows, gemm.columns / columns, gemm.contraction / contraction,
                            gemm.bytes)  # fmt: skip
                fewer = gemm_seconds_at(gemm, rate, gpu, shape, calibration.split_seconds, clocks)
                seconds = [np.minimum(one, other) for one, other in zip(seconds, fewer, strict=True)]
        case "attention":
            work, traffic = flash_seconds(kernel, gpu, software, calibration)
            seconds = [np.maximum(work / clock, traffic) for clock in clocks]
        case "column":
            traffic = memory_seconds(kernel, gpu, software, calibration)
            walked = kernel.rows * calibration.column_seconds_per_row
            seconds = [np.maximum(walked / clock, traffic) for clock in clocks]
        case _:
            seconds = [memory_seconds(kernel, gpu, software, calibration)] * 3
    return seconds[0], seconds[1], seconds[2]


def product_flops_per_s(kernel: Kernel, gpu: Gpu, software: Software, calibration: Calibration) -> Floats:
    """What a large product of this kind reaches at full clock [FLOP/s].

    With an odd dimension `misaligned_flops_per_clock` per multiprocessor at best: tensor cores need 16-byte rows.
    """
    peak = peak_flops_per_s(gpu, kernel.number_format)
    rate = peak * gpu.calibration.gemm_fraction[kernel.number_format]
    if kernel.number_format != "fp32":
        rate = rate * software.gemm_efficiency
        odd_rate = calibration.misaligned_flops_per_clock * gpu.multiprocessors * gpu.clock_hz
        rate = np.where(kernel.is_misaligned, np.minimum(rate, odd_rate), rate)
    return rate


def flash_seconds(kernel: Kernel, gpu: Gpu, software: Software, calibration: Calibration) -> tuple[Floats, Floats]:
    """Seconds of one fused attention kernel's work and of its traffic [s]: attention.attention_work."""
    rate = peak_flops_per_s(gpu, kernel.number_format) * gpu.calibration.attention_fraction * kernel.efficiency
    if kernel.is_pre_hopper:
        rate = rate * np.where(np.asarray(gpu.compute_capability) >= 9.0, calibration.attention_pre_hopper_share, 1.0)
    work = attention_work(
        kernel.batch, kernel.rows, kernel.contraction, kernel.columns, kernel.is_causal, rate, gpu.multiprocessors,
        gpu.clock_hz, calibration.attention, kernel.is_backward,
    )  # fmt: skip
    return work, kernel.bytes / stream_bytes_per_s(kernel, gpu, software, calibration)


def memory_seconds(kernel: Kernel, gpu: Gpu, software: Software, calibration: Calibration) -> Floats:
    """Seconds in which one launch moves its bytes [s]: streaming.stream_seconds, row_seconds for eager reductions."""
    bandwidth = stream_bytes_per_s(kernel, gpu, software, calibration)
    size = kernel.bytes * (software.elementwise_traffic if kernel.kind in ("elementwise", "softmax", "norm") else 1.0)
    if kernel.kind not in ("norm", "softmax"):
        return stream_seconds(size, bandwidth, gpu.multiprocessors, gpu.clock_hz, gpu.l2_bytes, calibration.streaming)
    threads = threads_per_multiprocessor(gpu.compute_capability)
    if kernel.kind == "norm":
        walk = eager_norm(kernel.columns, threads)
    else:
        walk = eager_softmax(kernel.columns, kernel.row_bytes / kernel.columns, threads, kernel.is_backward)
    return row_seconds(
        kernel.rows, kernel.row_bytes, size, walk, bandwidth, gpu.multiprocessors, gpu.clock_hz, gpu.l2_bytes,
        calibration.streaming,
    )  # fmt: skip


def stream_bytes_per_s(kernel: Kernel, gpu: Gpu, software: Software, calibration: Calibration) -> Floats:
    """What kernels of this kind stream from memory [B/s]."""
    stream = gpu.memory_bandwidth_bytes_per_s * gpu.calibration.bandwidth_fraction
    match kernel.kind:
        case "optimizer":
            return stream * calibration.optimizer_bandwidth_share
        case "attention":
            return stream
        case "gather":
            stream = stream * calibration.gather_bandwidth_share
        case "sum":
            stream = stream * calibration.column_sum_share
    return stream * software.memory_efficiency


def threads_per_multiprocessor(compute_capability: Floats) -> Floats:
    """Threads that a multiprocessor holds at a time (NVIDIA, CUDA C++ Programming Guide, compute capabilities)."""
    capability = np.asarray(compute_capability)
    is_small = (capability == 8.6) | (capability == 8.9) | (capability >= 12.0)
    return np.where(capability == 7.5, 1024.0, np.where(is_small, 1536.0, 2048.0))


def peak_flops_per_s(gpu: Gpu, number_format: str) -> Floats:
    """The card's dense peak for a number format [FLOP/s]; a format it lacks counts at its fp32 rate.

    A plan that asks for a lacking format carries Problem.PRECISION; the rate here only keeps its numbers finite.
    """
    peak = gpu.peak_flops_per_s[number_format]
    return np.where(np.asarray(peak) > 0.0, peak, gpu.peak_flops_per_s["fp32"])


def stretch_seconds(gpu_seconds: Floats, host_seconds: Floats) -> Floats:
    """Seconds of a stretch between two synchronisations [s]: the GPU and the host that runs ahead of it.

    T = (G⁴ + H⁴)^¼, between a sum and a hard maximum. Source: perfsim's own, on 58 compiled GPT steps
    (docs/formulas.md#host).
    """
    gpu_2, host_2 = gpu_seconds * gpu_seconds, host_seconds * host_seconds
    return np.sqrt(np.sqrt(gpu_2 * gpu_2 + host_2 * host_2))
