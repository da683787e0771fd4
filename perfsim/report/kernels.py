"""How well the kernel formulas hold, as a table and as JSON; and a fit as a file of rules for cards."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from perfsim.calibration.kernel_fit import KernelFit, Studied, subsets
from perfsim.core.hardware import Gpu
from perfsim.report.export import json_text
from perfsim.units import printable

WAYS = ("in_sample", "cross_validated", "card_left_out")
TITLES = ("in sample", "shapes left out", "card left out")
MEAN = "mean of cards"
UNCERTAIN = 0.5  # a standard error above this share of a value: the data do not identify it
ENDS = {"whole_wave_share": 0.35, "gemm_fill": 30.0, "l2_gain": 0.1}  # errors up to which an end counts as known
SIXTEEN_BIT = ("tf32", "fp16", "bf16")
# numbers of a product's shape come from tensor-core products: vector kernels use other tiles
SHAPE = ("gemm_bandwidth_fraction", "gemm_fill", "tile_reload", "whole_wave_share", "l2_gain")


def kernel_lines(studied: Sequence[Studied], left_out: int) -> Iterator[RenderableType]:
    """A table for each operation, a row a card: rows, and MAPE/median/p90 with the bias, three ways."""
    records = list(_records(studied))
    for operation in dict.fromkeys(record["operation"] for record in records):
        yield Text(operation, style="bold")
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("card", no_wrap=True, min_width=20)
        for title in ("rows", *TITLES):
            table.add_column(title, justify="right", no_wrap=True, min_width=5 if title == "rows" else 21)
        for record in records:
            if record["operation"] == operation:
                style = "bold" if record["gpu"] == MEAN else ""
                cells = (f"{record['rows']:,}", *(_words(record[way]) for way in WAYS))
                table.add_row(Text(printable(record["gpu"]), style=style), *cells)
        yield table
        yield Text("")
    yield Text("MAPE/median/p90 of |predicted / measured - 1| in %, bias; a card left out is known by its datasheet")
    if left_out:
        yield Text(f"{left_out:,} rows are of no use: other formats or operators, errors, throttled repeats")


def kernel_json(studied: Sequence[Studied]) -> str:
    """{"accuracy": one record a card and operation, "parameters": one a parameter}; shares of one."""
    return json_text({"accuracy": list(_records(studied)), "parameters": [p for s in studied for p in _parameters(s)]})


def rules_text(studied: Sequence[Studied], gpus: Mapping[str, Gpu], command: str) -> str:
    """calibration/kernels.toml: a rule for each card that was fitted, with errors, rows and sources.

    What the rows do not identify (at a bound, or with an error above half of its value) is left to broader rules.
    """
    lines = [f"# Written by: {command}", "# What measured cards reach at full clock; +- one standard error."]
    for one in studied:
        for card in one.fit.cards:
            values = list(_quantities(one, card, gpus[card]))
            if not values:
                continue
            mine = one.measured.where(one.measured.gpu == card)
            sources = ", ".join(dict.fromkeys(mine.source.tolist()))
            error = _accuracy(one.cross_validated, one.measured, one.measured.gpu == card) or {"mape": 0.0}
            lines += ["", f"[[rule]]  # {one.name}", f'match = {{ keys = ["{card}"] }}']
            lines += [f"{name} = {value:.3g}  # +- {spread:.1g}" for name, value, spread in values]
            percent = f"{100 * error['mape']:.1f}"
            note = f"{printable(sources)}: {len(mine)} kernels, {percent} % on shapes left out"
            lines += ['basis = "fitted"', f"error_percent = {percent}", f'source = "{note}"']
    shared = [(n, v, e) for s in studied for n, v, e in _shared(s.fit)]
    if shared:
        lines += ["", "# shared by all cards, for calibration/shared.toml:"]
        lines += [f"#   {name} = {value:.3g}  +- {spread:.1g}" for name, value, spread in shared]
    return "\n".join([*lines, "", "[sources]", '"*" = "each rule names its own"', ""])


def _quantities(one: Studied, card: str, gpu: Gpu) -> Iterator[tuple[str, float, float]]:
    """(key of a rule, value, standard error) of what the fit says about a card."""
    at_bound = {name.split("@")[0] for name in one.fit.fitted.at_bound if name.endswith(f"@{card}")}
    for name, (value, spread) in one.fit.own(card).items():
        is_known = name not in at_bound and spread <= UNCERTAIN * value
        # none at all, or all of it, is an answer too where its error is small
        is_end = name in at_bound and spread <= ENDS.get(name, 0.0)
        if name == "gemm_fraction" and is_known:
            formats = ("fp32",) if one.name.endswith("fp32") else SIXTEEN_BIT
            yield from ((f, value, spread) for f in formats if float(gpu.peak_flops_per_s[f]) > 0.0)
        elif name in SHAPE:
            if not one.name.endswith("fp32") and (is_known or is_end):
                yield name, round(value, 4), spread
        elif is_known:
            yield name, value, spread


def _shared(fitted: KernelFit) -> Iterator[tuple[str, float, float]]:
    """(name, value, standard error) of what a formula takes from calibration/shared.toml."""
    records = (fitted.model.calibration.streaming, fitted.model.calibration.attention)
    for p in fitted.model.parameters["shared"]:
        if not any(hasattr(record, p.name) for record in records):
            continue  # how the benchmarks were timed
        yield p.name, fitted.fitted.values[p.name], fitted.fitted.errors[p.name]


def _parameters(one: Studied) -> Iterator[dict[str, Any]]:
    fitted = one.fit.fitted
    for name, value in fitted.values.items():
        base, _, where = name.partition("@")
        card, _, timing = where.partition(" ")
        spread = fitted.errors[name]
        yield {
            "family": one.name, "parameter": base, "gpu": card or None, "timing": timing or None, "value": value,
            "standard_error": spread if np.isfinite(spread) else None, "is_at_bound": name in fitted.at_bound,
        }  # fmt: skip


def _records(studied: Sequence[Studied]) -> Iterator[dict[str, Any]]:
    for one in studied:
        for operation, mask in subsets(one):
            cards = [card for card in one.fit.cards if np.any(mask & (one.measured.gpu == card))]
            found: list[dict[str, Any]] = []
            for card in cards:
                rows = mask & (one.measured.gpu == card)
                errors = {way: _accuracy(getattr(one, way), one.measured, rows) for way in WAYS}
                found.append({"operation": operation, "gpu": card, "rows": int(np.sum(rows)), **errors})
            yield from found
            if len(found) > 1:
                mean = {way: _mean([f[way] for f in found]) for way in WAYS}
                yield {"operation": operation, "gpu": MEAN, "rows": int(np.sum(mask)), **mean}


def _accuracy(seconds: np.ndarray, measured: Any, rows: np.ndarray) -> dict[str, float] | None:
    error = seconds[rows] / measured.seconds[rows] - 1.0
    if not np.all(np.isfinite(error)):
        return None
    size = np.abs(error)
    return {
        "mape": float(size.mean()), "median": float(np.median(size)), "p90": float(np.quantile(size, 0.9)),
        "bias": float(error.mean()),
    }  # fmt: skip


def _mean(found: Sequence[dict[str, float] | None]) -> dict[str, float] | None:
    known = [one for one in found if one is not None]
    return {name: float(np.mean([one[name] for one in known])) for name in known[0]} if known else None


def _words(found: dict[str, float] | None) -> str:
    if found is None:
        return "-"
    three = "/".join(f"{100 * found[name]:.1f}" for name in ("mape", "median", "p90"))
    return f"{three} {100 * found['bias']:+.1f}"
