"""How near the rules for classes of cards come to the largest products measured on about sixty cards.

Run: python benchmarks/peak_products.py [--cards]

Predicts from datasheets and specs/calibration/cards.toml and power.toml alone: share of the peak at full clock, times
what the power limit leaves of the clock. What is known of single cards (kernels.toml) is left out.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import perfsim as ps
from perfsim.formulas.power import sustained_flops_per_s
from perfsim.inputs.calibration import CardRules, card_calibration
from perfsim.inputs.files import load
from perfsim.paths import builtin
from perfsim.units import TERA

# half-precision formats a card multiplies without tensor cores are no product of the formula
LEAST_SHARE = 0.25


def predictions() -> Iterator[tuple[str, str, float, float, float]]:
    """(card, format, measured, predicted, highest possible [FLOP/s]) of each row with units."""
    known = ps.catalogue()
    rules = load(builtin("specs") / "calibration" / "cards.toml", CardRules).rule
    control = known.calibration().control
    path = builtin("scenarios") / "validation" / "peak_products.csv"
    with Path(path).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            gpu, spec = known.gpu(row["gpu"]), known.gpu_spec(row["gpu"])
            number_format, measured = row["dtype"], float(row["tflops"]) * TERA
            peak = float(gpu.peak_flops_per_s[number_format])
            if peak == 0.0 or (number_format != "fp32" and measured < LEAST_SHARE * peak):
                continue
            share = card_calibration(gpu.key, spec, rules).gemm_fraction[number_format]
            found = sustained_flops_per_s(gpu.power, share * peak, number_format, gpu.power_limit_watts, control)
            highest = peak * known.power_rules.headroom_of(gpu.key, spec)
            yield gpu.key, number_format, measured, float(found), highest


def main() -> None:
    """Print the error by format, and each card where asked for."""
    rows = list(predictions())
    if "--cards" in sys.argv:
        for card, number_format, measured, found, highest in rows:
            error = 100 * (found / measured - 1)
            print(f"{card:22s} {number_format:5s} {measured / TERA:7.1f} measured {found / TERA:7.1f} {error:+6.1f} %"
                  f"  at most {highest / TERA:7.1f}")  # fmt: skip
    for name, formats in (("fp16 and bf16", ("fp16", "bf16")), ("fp32", ("fp32",))):
        errors = np.array([found / measured - 1 for _, f, measured, found, _ in rows if f in formats])
        size = 100 * np.abs(errors)
        print(f"{name:14s} {len(errors):3d} rows  MAPE {size.mean():.1f} %  median {np.median(size):.1f}"
              f"  p90 {np.quantile(size, 0.9):.1f}  bias {100 * errors.mean():+.1f}")  # fmt: skip
    above = [card for card, _, _, found, highest in rows if found > highest]
    print("above what the card can do:", ", ".join(dict.fromkeys(above)) or "none")


if __name__ == "__main__":
    main()
