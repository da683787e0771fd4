"""specs/calibration/*.toml: the measured numbers that all cards share, the rules for each class of card, the links."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from perfsim.core.calibration import Calibration, CardCalibration, FlashAttention, ProductShape, Streaming
from perfsim.core.power import PowerControl
from perfsim.errors import InputError
from perfsim.inputs.files import Line, Sourced, Spec, Texts, load
from perfsim.inputs.gpu import FORMATS, GpuSpec
from perfsim.inputs.records import schema_of, values_of
from perfsim.units import MICRO, printable

Fraction = Annotated[float, Field(gt=0, le=2)]  # real clocks exceed the printed boost, so more than 1 is possible
Elements = Annotated[float, Field(ge=0, le=10_000)]
Share = Annotated[float, Field(ge=0, le=1)]
Gain = Annotated[float, Field(ge=0, le=100)]
Micro = Annotated[float, Field(ge=0, le=1e6)]
Percent = Annotated[float, Field(ge=0, le=1000)]
Basis = Literal["measured", "fitted", "rule"]
_WEAKNESS: tuple[Basis, ...] = ("measured", "fitted", "rule")
# what shapes a product's time besides its share of the peak
PRODUCT_SHAPE = ("gemm_bandwidth_fraction", "gemm_fill", "tile_reload", "whole_wave_share", "l2_gain")

CalibrationSpec = schema_of(Calibration, {}, without=("control",))  # specs/calibration/shared.toml


class Match(Spec):
    """Which cards a rule is for: every list that is given must hold the card's value."""

    keys: Texts = ()
    series: Texts = ()
    architecture: Texts = ()
    memory_type: Texts = ()

    def holds(self, key: str, spec: GpuSpec) -> bool:
        """Whether the card is one of them; an empty match holds for every card."""
        pairs = (
            (self.keys, key),
            (self.series, spec.series),
            (self.architecture, spec.architecture),
            (self.memory_type, spec.memory_type),
        )
        return all(not allowed or value in allowed for allowed, value in pairs)


class Rule(Spec):
    """What a class of cards reaches of its datasheet; the first rule that matches and has a quantity decides it."""

    match: Match = Match()
    fp32: Fraction | None = None
    tf32: Fraction | None = None
    fp16: Fraction | None = None
    bf16: Fraction | None = None
    fp8: Fraction | None = None
    fp4: Fraction | None = None
    gemm_bandwidth_fraction: Fraction | None = None
    gemm_fill: Elements | None = None
    tile_reload: Elements | None = None
    whole_wave_share: Share | None = None
    l2_gain: Gain | None = None
    bandwidth_fraction: Fraction | None = None
    attention_fraction: Fraction | None = None
    kernel_us: Micro | None = None
    basis: Basis
    error_percent: Percent | None = None  # of a fit, on what it has not seen
    source: Line


class CardRules(Sourced):
    """specs/calibration/cards.toml."""

    rule: Annotated[tuple[Rule, ...], Field(strict=False)]


def to_calibration(path: Path, control: PowerControl) -> Calibration:
    """The record in specs/calibration/shared.toml, with how boards hold a power limit.

    Raises: InputError that lists every problem of the file.
    """
    values = values_of(load(path, CalibrationSpec))
    for name, record in (("streaming", Streaming), ("attention", FlashAttention), ("vector_products", ProductShape)):
        values[name] = record(**values[name])
    return Calibration(**values, control=control)


def deciding_rules(key: str, spec: GpuSpec, rules: Sequence[Rule]) -> dict[str, Rule | None]:
    """The rule that decides each quantity of a card: the first that matches and has it, None where there is none."""
    rules = [rule for rule in rules if rule.match.holds(key, spec)]
    formats = [name for name in FORMATS if getattr(spec.peak_tflops, name) is not None]
    return {
        quantity: next((rule for rule in rules if getattr(rule, quantity) is not None), None)
        for quantity in (*formats, *PRODUCT_SHAPE, "bandwidth_fraction", "attention_fraction", "kernel_us")
    }


def card_calibration(key: str, spec: GpuSpec, rules: Sequence[Rule]) -> CardCalibration:
    """What the card reaches of its datasheet, by the first rule for each quantity; basis is the weakest of theirs.

    Raises: InputError that names the quantities no rule covers.
    """
    deciding = deciding_rules(key, spec, rules)
    missing = [quantity for quantity, rule in deciding.items() if rule is None]
    if missing:
        raise InputError(
            f"calibration/cards.toml: no rule gives {', '.join(missing)} for {printable(spec.name)}; "
            f'add a [[rule]] with match = {{ keys = ["{printable(key)}"] }}'
        )
    decided = {quantity: getattr(rule, quantity) for quantity, rule in deciding.items()}
    used = {rule.basis for quantity, rule in deciding.items() if rule is not None and quantity != "kernel_us"}
    return CardCalibration(
        gemm_fraction={name: decided.get(name, 1.0) for name in FORMATS},
        products=ProductShape(**{name: decided[name] for name in PRODUCT_SHAPE}),
        bandwidth_fraction=decided["bandwidth_fraction"],
        attention_fraction=decided["attention_fraction"],
        kernel_seconds=decided["kernel_us"] * MICRO,
        basis=max(used, key=_WEAKNESS.index),
    )
