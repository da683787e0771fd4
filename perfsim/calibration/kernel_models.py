"""How each kind of measured kernel is predicted, and which numbers of it are fitted.

A parameter belongs to all cards ("shared"), to one card, or to one source of timings on one card ("timing": how a
benchmark launches its kernels, which says nothing about the card).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from perfsim.calibration.fit import Parameter
from perfsim.calibration.kernels import Attentions, Measured, Products, Streams
from perfsim.core.calibration import Calibration, ProductShape
from perfsim.core.hardware import Gpu
from perfsim.formulas.attention import attention_seconds
from perfsim.formulas.gemm import Gemm, gemm_seconds
from perfsim.formulas.power import sustained_flops_per_s
from perfsim.formulas.roofline import peak_flops_per_s, threads_per_multiprocessor
from perfsim.formulas.streaming import eager_norm, eager_softmax, row_seconds, stream_seconds

Scope = Literal["shared", "card", "timing"]
Values = Mapping[str, float]
VALUE_BYTES = {"fp32": 4.0, "tf32": 4.0, "fp16": 2.0, "bf16": 2.0}


@dataclass(frozen=True)
class KernelModel(ABC):
    """One kind of kernel: its parameters by scope, and seconds from their values."""

    calibration: Calibration
    parameters: ClassVar[dict[Scope, tuple[Parameter, ...]]]

    @abstractmethod
    def seconds(self, measured: Any, gpu: Gpu, values: Values) -> np.ndarray:
        """Seconds of each row, shape (rows,): one card, one number format, one source of timings."""

    def timing_of(self, measured: Measured) -> np.ndarray:
        """Which rows share their way of timing, a label a row."""
        return measured.source

    def carried(self, name: str, value: float, source: Gpu, target: Gpu) -> float:
        """A card's number as it would be on another card."""
        return value


@dataclass(frozen=True)
class ProductModel(KernelModel):
    """formulas.gemm. A benchmark of a few launches starts at full clock and slows as the board reaches its limit.

    Seconds t at full clock become t + f·(1/hot_share - 1)·f/(f + heating_seconds), f their arithmetic.
    """

    number_format: str = "bf16"
    parameters: ClassVar = {
        "shared": (),
        "card": (
            Parameter("gemm_fraction", 0.8, 0.15, 1.4),
            Parameter("gemm_bandwidth_fraction", 0.75, 0.2, 1.4),
            Parameter("gemm_fill", 60.0, 0.0, 400.0),
            Parameter("tile_reload", 30.0, 0.0, 400.0),
            Parameter("whole_wave_share", 0.4, 0.0, 1.0),
            Parameter("l2_gain", 0.5, 0.0, 30.0),
        ),
        "timing": (
            Parameter("start_seconds", 3e-6, 1e-7, 2e-4),
            Parameter("hot_share", 0.85, 0.5, 1.0),
            Parameter("heating_seconds", 1e-2, 2e-3, 1.0),
        ),
    }

    def seconds(self, measured: Products, gpu: Gpu, values: Values) -> np.ndarray:
        """Seconds of each product."""
        number_format = str(measured.number_format[0])  # fp16 and bf16 share their numbers
        shape = ProductShape(**{p.name: values[p.name] for p in self.parameters["card"][1:]})
        m, n, k = measured.rows, measured.columns, measured.contraction
        size = VALUE_BYTES[number_format] * measured.batch * (m * k + k * n + m * n)
        gemm = Gemm(measured.batch, m, n, k, size)
        rate = peak_flops_per_s(gpu, number_format) * values["gemm_fraction"]
        cool = values["start_seconds"] + gemm_seconds(gemm, rate, gpu, shape, self.calibration.split_seconds)
        arithmetic = gemm.flops / rate
        slowed = arithmetic * (1.0 / values["hot_share"] - 1.0)
        return np.asarray(cool + slowed * arithmetic / (arithmetic + values["heating_seconds"]))

    def carried(self, name: str, value: float, source: Gpu, target: Gpu) -> float:
        """The share of the peak that its power limit left one card, as another card's limit leaves it."""
        if name != "gemm_fraction":
            return value
        full, lowest, highest = value, value, 2.0 * value
        for _ in range(40):  # by halving: the share that the limit cuts to `value`
            full = 0.5 * (lowest + highest)
            lowest, highest = (full, highest) if self._cut(full, source) < value else (lowest, full)
        return self._cut(full, target)

    def _cut(self, share: float, gpu: Gpu) -> float:
        peak = float(peak_flops_per_s(gpu, self.number_format))
        sustained = sustained_flops_per_s(
            gpu.power, share * peak, self.number_format, gpu.power_limit_watts, self.calibration.control
        )
        return float(sustained) / peak


class StreamModel(KernelModel):
    """formulas.streaming. An eager operator takes as long as the host, or as a share of that and its kernel.

    The share, by kind of operator, is what of the host's time passes before the kernel starts.
    """

    parameters: ClassVar = {
        "shared": (
            Parameter("row_clocks", 830.0, 10.0, 3000.0),
            Parameter("reread_bytes_per_clock", 34.0, 3.0, 500.0),
            Parameter("row_l2_share", 0.5, 0.1, 3.0),
            Parameter("elementwise_host_share", 0.5, 0.1, 1.0),
            Parameter("norm_host_share", 0.8, 0.1, 1.0),
            Parameter("softmax_host_share", 0.8, 0.1, 1.0),
        ),
        "card": (Parameter("bandwidth_fraction", 0.85, 0.3, 1.0),),
        "timing": (Parameter("host_seconds", 3e-5, 1e-7, 2e-4),),
    }

    def seconds(self, measured: Streams, gpu: Gpu, values: Values) -> np.ndarray:
        """Seconds of each operator; fresh operands, so that none lies in L2."""
        numbers = {name: values[name] for name in ("row_clocks", "reread_bytes_per_clock", "row_l2_share")}
        streaming = replace(self.calibration.streaming, l2_share=1e-3, **numbers)
        bandwidth = gpu.memory_bandwidth_bytes_per_s * values["bandwidth_fraction"]
        card = (bandwidth, gpu.multiprocessors, gpu.clock_hz, gpu.l2_bytes, streaming)
        threads = threads_per_multiprocessor(gpu.compute_capability)
        width = VALUE_BYTES[str(measured.number_format[0])]
        rows, columns = measured.rows, measured.columns
        kernel = np.asarray(stream_seconds(measured.bytes, *card))
        for operation, walk in (
            ("norm", eager_norm(columns, threads)),
            ("softmax", eager_softmax(columns, width, threads)),
        ):
            reduced = row_seconds(rows, width * columns, measured.bytes, walk, *card)
            kernel = np.where(measured.kind == operation, reduced, kernel)
        host = values["host_seconds"]
        share = np.array([values[f"{kind}_host_share"] for kind in measured.kind.tolist()])
        return np.maximum(host, share * host + kernel)

    def timing_of(self, measured: Measured) -> np.ndarray:
        """The host takes another time for each operator."""
        operation: np.ndarray = getattr(measured, "operation")  # noqa: B009 (rows of this model are Streams)
        return np.char.add(np.char.add(measured.source.astype(str), " "), operation.astype(str))


class AttentionModel(KernelModel):
    """formulas.attention. Serving libraries also write the key-value cache and start slowly: timing, not attention."""

    parameters: ClassVar = {
        "shared": (
            Parameter("exponentials_per_clock", 15.0, 12.0, 16.0),  # 16 is what the units can do
            Parameter("tail_share", 0.33, 0.02, 1.0),
            Parameter("backward_share", 0.80, 0.70, 0.95),  # backward over forward time was measured as 2.8 to 3.3
        ),
        "card": (Parameter("attention_fraction", 0.65, 0.1, 1.3),),
        "timing": (
            Parameter("start_seconds", 1.4e-5, 1e-6, 1.2e-4),
            Parameter("cache_bytes", 2.0, 0.0, 20.0),
            Parameter("row_clocks", 35.0, 20.0, 100.0),
        ),
    }

    def seconds(self, measured: Attentions, gpu: Gpu, values: Values) -> np.ndarray:
        """Seconds of each kernel; cache_bytes: copies of keys and values that go to memory besides."""
        numbers = {
            name: values[name] for name in ("exponentials_per_clock", "tail_share", "backward_share", "row_clocks")
        }
        attention = replace(self.calibration.attention, **numbers)
        width = VALUE_BYTES[str(measured.number_format[0])]
        keys = 2.0 * width * measured.batch * measured.kv_heads * measured.key_len * measured.head_dim
        queries = 2.0 * width * measured.batch * measured.heads * measured.query_len * measured.head_dim
        bandwidth = gpu.memory_bandwidth_bytes_per_s * gpu.calibration.bandwidth_fraction
        rate = peak_flops_per_s(gpu, str(measured.number_format[0])) * values["attention_fraction"]
        found = np.zeros(len(measured))
        for is_backward in (False, True):
            at = measured.is_backward == is_backward
            if np.any(at):
                found[at] = attention_seconds(
                    (measured.batch * measured.heads)[at], measured.query_len[at], measured.key_len[at],
                    measured.head_dim[at], measured.is_causal[at], (keys + queries)[at], rate, bandwidth,
                    gpu.multiprocessors, gpu.clock_hz, attention, is_backward,
                )  # fmt: skip
        return values["start_seconds"] + found + values["cache_bytes"] * keys / bandwidth
