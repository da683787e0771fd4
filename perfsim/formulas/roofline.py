"""Seconds of one kernel on one card: the larger of arithmetic and memory traffic, plus a fixed start.

Williams, Waterman and Patterson, "Roofline" (CACM 2009), with three measured numbers a card: the share of peak that
products sustain, the share of bandwidth that streaming kernels reach, and the fixed time of a kernel.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from perfsim.core.calibration import Calibration
from perfsim.core.hardware import Gpu
from perfsim.core.numbers import Bools, Floats
from perfsim.core.software import Software
from perfsim.formulas.gemm import Gemm, gemm_seconds

Kind = Literal["product", "attention", "elementwise", "softmax", "norm", "gather", "column", "optimizer"]


@dataclass(frozen=True)
class Kernel:
    """One launch on the GPU, or `launches` like it; every number may be an array over plans.

    flops [FLOP] and bytes [B] are of one launch. A product is batch x (rows x contraction) by (contraction x columns)
    [elements]; for kind "column", `rows` are walked one after another; for "attention", `rows` is the key length
    [tokens], and a kernel that `is_pre_hopper` does not use Hopper's matrix instructions.
    """

    kind: Kind
    number_format: str
    bytes: Floats
    flops: Floats = 0.0
    batch: Floats = 1.0
    rows: Floats = 1.0
    columns: Floats = 1.0
    contraction: Floats = 1.0
    is_misaligned: Bools = False
    launches: Floats = 1.0
    efficiency: Floats = 1.0
    is_pre_hopper: bool = False


def kernel_seconds(kernel: Kernel, gpu: Gpu, software: Software, calibration: Calibration) -> Floats:
    """Seconds of all the kernel's launches [s], shape broadcast of kernel and card.

    t = launches·(t0 + max(arithmetic, traffic)); products: gemm.gemm_seconds.
    Holds for: kernels of a training step. Source: perfsim's own fits, docs/formulas.md#roofline.
    """
    if kernel.kind == "product":
        return kernel.launches * (gpu.calibration.kernel_seconds + product_seconds(kernel, gpu, software, calibration))
    traffic = traffic_seconds(kernel, gpu, software, calibration)
    if kernel.kind in ("attention", "column"):
        traffic = np.maximum(traffic, arithmetic_seconds(kernel, gpu, software, calibration))
    return kernel.launches * (gpu.calibration.kernel_seconds + traffic)


def product_seconds(kernel: Kernel, gpu: Gpu, software: Software, calibration: Calibration) -> Floats:
    """Seconds of one product without its start [s].

    With an odd dimension it runs at `misaligned_flops_per_clock` per multiprocessor at best: tensor cores need 16-byte
    rows.
    """
    peak = peak_flops_per_s(gpu, kernel.number_format)
    rate = peak * gpu.calibration.gemm_fraction[kernel.number_format] * software.gemm_efficiency * kernel.efficiency
    if kernel.number_format != "fp32":
        odd_rate = calibration.misaligned_flops_per_clock * gpu.multiprocessors * gpu.clock_hz
        rate = np.where(kernel.is_misaligned, np.minimum(rate, odd_rate), rate)
    gemm = Gemm(kernel.batch, kernel.rows, kernel.columns, kernel.contraction, kernel.bytes)
    return gemm_seconds(gemm, rate, gpu, calibration.split_seconds)


def arithmetic_seconds(kernel: Kernel, gpu: Gpu, software: Software, calibration: Calibration) -> Floats:
    """Seconds one launch of attention or of a column reduction computes [s].

    Attention: F·(1 + s0/s) / (e·P) + t. A column reduction walks its rows at a fixed rate.
    """
    if kernel.kind == "column":
        return kernel.rows * calibration.column_seconds_per_row
    rate = peak_flops_per_s(gpu, kernel.number_format) * gpu.calibration.attention_fraction * kernel.efficiency
    if kernel.is_pre_hopper:
        rate = rate * np.where(np.asarray(gpu.compute_capability) >= 9.0, calibration.attention_pre_hopper_share, 1.0)
    work = kernel.flops * (1.0 + calibration.attention_startup_tokens / kernel.rows)
    return work / rate + calibration.attention_kernel_seconds


def traffic_seconds(kernel: Kernel, gpu: Gpu, software: Software, calibration: Calibration) -> Floats:
    """Seconds one launch moves its bytes [s], part of them at L2 speed: Q·((1 - hit)/(m·W) + hit/W_L2).

    hit = l2_hit / (1 + (Q / (l2_share·L2))⁴).
    """
    stream = gpu.memory_bandwidth_bytes_per_s * gpu.calibration.bandwidth_fraction
    match kernel.kind:
        case "softmax":
            stream = stream * calibration.softmax_bandwidth_share * software.memory_efficiency
        case "norm":
            stream = stream * calibration.norm_bandwidth_share * software.memory_efficiency
        case "gather":
            stream = stream * calibration.gather_bandwidth_share * software.memory_efficiency
        case "optimizer":
            stream = stream * calibration.optimizer_bandwidth_share
        case _:
            stream = stream * software.memory_efficiency
    size = kernel.bytes
    if kernel.kind in ("elementwise", "softmax", "norm"):
        size = size * software.elementwise_traffic
    square = (size / (calibration.l2_share * gpu.l2_bytes)) ** 2
    hit = calibration.l2_hit / (1.0 + square * square)
    return size * ((1.0 - hit) / stream + hit / np.maximum(calibration.l2_bandwidth_bytes_per_s, stream))


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
