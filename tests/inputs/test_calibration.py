"""What cards and links reach of their datasheets: the rules, their order, and the files that hold them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim import paths
from perfsim.errors import InputError
from perfsim.inputs.calibration import CardRules, Match, Rule, card_calibration, to_calibration
from perfsim.inputs.catalogue import Catalogue, catalogue
from perfsim.inputs.files import load
from perfsim.inputs.gpu import GpuSpec

FOLDER = paths.builtin("specs") / "calibration"
SHAPE = {"gemm_bandwidth_fraction": 0.9, "gemm_fill": 100, "tile_reload": 10, "whole_wave_share": 0.5, "l2_gain": 1}
LINK_KINDS = ("nvswitch-3", "nvlink", "pcie", "pcie-host")


@pytest.fixture(scope="module")
def specs() -> Catalogue:
    return catalogue()


def rule(**values: object) -> Rule:
    return CardRules.model_validate({"rule": [{"basis": "rule", "source": "a test", **values}]}).rule[0]


def test_the_first_rule_decides_each_quantity_and_the_weakest_basis_counts(specs: Catalogue) -> None:
    card: GpuSpec = specs.gpu_spec("rtx-4090")
    every = {"fp32": 0.5, "tf32": 0.5, "fp16": 0.5, "bf16": 0.5, "fp8": 0.5, "bandwidth_fraction": 0.8}
    rules = [
        rule(match={"series": ["RTX 30"]}, fp16=0.1),
        rule(match={"series": ["RTX 40"], "architecture": ["ada"]}, fp16=0.9, basis="measured"),
        rule(**every, **SHAPE, attention_fraction=0.6, kernel_us=4.5, basis="fitted"),
        rule(fp16=0.2),
    ]
    found = card_calibration("rtx-4090", card, rules)
    assert found.gemm_fraction["fp16"] == 0.9
    assert found.gemm_fraction["bf16"] == 0.5
    assert found.kernel_seconds == pytest.approx(4.5e-6)
    assert found.basis == "fitted"


def test_a_card_that_no_rule_covers_is_an_error(specs: Catalogue) -> None:
    card = specs.gpu_spec("rtx-4090")
    with pytest.raises(InputError, match=r"no rule gives fp32, tf32, bf16, fp8, .*, kernel_us for GeForce RTX 4090;"):
        card_calibration("rtx-4090", card, [rule(fp16=0.9)])


@pytest.mark.parametrize(
    ("match", "holds"),
    [
        ({}, True),
        ({"keys": ["rtx-4090"]}, True),
        ({"keys": ["t4", "rtx-4090"], "architecture": ["ada"]}, True),
        ({"keys": ["rtx-4090"], "architecture": ["hopper"]}, False),
        ({"memory_type": ["GDDR6X"], "series": ["RTX 40"]}, True),
        ({"memory_type": ["HBM3"]}, False),
    ],
)
def test_every_list_of_a_match_must_hold(specs: Catalogue, match: dict[str, list[str]], holds: bool) -> None:
    assert Match.model_validate(match).holds("rtx-4090", specs.gpu_spec("rtx-4090")) is holds


@given(st.permutations(range(4)))
def test_rules_for_other_cards_change_nothing(order: list[int]) -> None:
    card = catalogue().gpu_spec("t4")
    other = [rule(match={"keys": [f"card-{n}"]}, fp16=0.1 + n / 10) for n in order]
    own = catalogue().rules
    assert card_calibration("t4", card, [*other, *own]) == card_calibration("t4", card, own)


def test_every_shipped_rule_is_for_some_card(specs: Catalogue) -> None:
    cards = {key: specs.gpu_spec(key) for key in specs.names("gpus")}
    for one in specs.rules:
        assert any(one.match.holds(key, card) for key, card in cards.items()), one.match


def test_faster_links_are_not_calibrated_slower() -> None:
    """Protocols for small payloads start sooner and move less; a switch is no worse than a way through the host."""
    known = catalogue().collectives
    presets = [known.preset(name) for name in LINK_KINDS]
    for preset in presets:
        assert preset.low_latency.base_us <= preset.simple.base_us
        assert preset.low_latency.fraction <= preset.simple.fraction
    fractions = [preset.simple.fraction for preset in presets if not preset.most_gb_per_s]
    assert fractions == sorted(fractions, reverse=True)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("split_seconds =", "split_second =", "split_second: no such key; did you mean split_seconds?"),
        ("l2_share = ", "l2_share = 1", "streaming.l2_share: "),
        ("column_sum_share = ", "column_sum_share = -", "column_sum_share: -"),
        ("tail_share = ", "tail_shape = ", "attention.tail_shape: no such key; did you mean tail_share?"),
    ],
)
def test_bad_shared_numbers(tmp_path: Path, old: str, new: str, expected: str) -> None:
    text = (FOLDER / "shared.toml").read_text()
    assert old in text
    path = tmp_path / "shared.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as error:
        to_calibration(path, catalogue().power_rules.to_control())
    assert f"{path}:" in str(error.value)
    assert expected in str(error.value)


def test_bad_rules(tmp_path: Path) -> None:
    path = tmp_path / "cards.toml"
    path.write_text('[[rule]]\nmatch = { key = ["t4"] }\nfp16 = 3\nbasis = "guessed"\nsource = "x"\n[[rule]]\n')
    with pytest.raises(InputError) as error:
        load(path, CardRules)
    assert [line.removeprefix(f"{path}:") for line in str(error.value).splitlines()] == [
        "2: rule[0].match.key: no such key; did you mean keys?",
        "3: rule[0].fp16: 3 is not allowed; write a number of at most 2",
        "4: rule[0].basis: 'guessed' is none of measured, fitted, rule; write one of these",
        "6: rule[1].basis: is missing; add it",
        "6: rule[1].source: is missing; add it",
    ]
