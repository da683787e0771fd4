"""Fit how products run on one card: formulas.gemm with the card's numbers as parameters."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from perfsim.calibration.fit import Fitted, Parameter, Values, fit
from perfsim.calibration.kernels import Products
from perfsim.core.hardware import Gpu
from perfsim.formulas.gemm import Gemm, gemm_seconds
from perfsim.formulas.roofline import peak_flops_per_s

# a benchmark of a few launches starts at full clock; the longer it runs, the nearer it comes to the power-limited one
PARAMETERS = (
    Parameter("gemm_fraction", 0.8, 0.15, 1.3),
    Parameter("gemm_bandwidth_fraction", 0.75, 0.2, 1.4),
    Parameter("start_seconds", 3e-6, 1e-7, 2e-4),
    Parameter("gemm_fill", 60.0, 0.0, 400.0),
    Parameter("tile_reload", 30.0, 0.0, 400.0),
    Parameter("whole_wave_share", 0.4, 0.0, 1.0),
    Parameter("l2_gain", 0.5, 0.0, 30.0),
    Parameter("hot_share", 0.85, 0.5, 1.0),
    Parameter("heating_seconds", 1e-2, 1e-4, 1.0),
)
SHAPE = ("gemm_bandwidth_fraction", "gemm_fill", "tile_reload", "whole_wave_share", "l2_gain")
VALUE_BYTES = {"fp32": 4.0, "tf32": 4.0, "fp16": 2.0, "bf16": 2.0, "fp8": 1.0, "fp4": 0.5}


def fit_products(measured: Products, gpu: Gpu, split_seconds: float, fixed: Values | None = None) -> Fitted:
    """The numbers of one card and format from its products; what is `fixed` is taken as given.

    Raises: ValueError when there are too few rows.
    """
    given = dict(fixed or {})
    free = [p for p in PARAMETERS if p.name not in given]
    return fit(free, lambda values: predicted(measured, gpu, split_seconds, given | dict(values)), measured.seconds)


def predicted(measured: Products, gpu: Gpu, split_seconds: float, values: Mapping[str, float]) -> np.ndarray:
    """Seconds of each row on `gpu` with these numbers, shape (rows,), as a short benchmark sees them.

    A run of seconds t at the full clock takes t·(1 + (1/hot_share - 1)·f/(f + heating_seconds)), f its arithmetic.
    """
    number_format = str(measured.number_format[0])
    card = replace(gpu, calibration=replace(gpu.calibration, **{name: values[name] for name in SHAPE}))
    m, n, k = measured.rows, measured.columns, measured.contraction
    size = VALUE_BYTES[number_format] * measured.batch * (m * k + k * n + m * n)
    gemm = Gemm(measured.batch, m, n, k, size)
    rate = peak_flops_per_s(gpu, number_format) * values["gemm_fraction"]
    cool = values["start_seconds"] + gemm_seconds(gemm, rate, card, split_seconds)
    arithmetic = gemm.flops / rate
    slowed = arithmetic * (1.0 / values["hot_share"] - 1.0)
    found: np.ndarray = cool + slowed * arithmetic / (arithmetic + values["heating_seconds"])
    return found
