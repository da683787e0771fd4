"""`perfsim estimate --gpu "A + B"`: shares, the kinds alone beside them, and what is refused."""

import json

import pytest
from click.testing import CliRunner, Result

from perfsim.cli.main import main


def mixed(gpu: str, *options: str, model: str = "bert-large") -> Result:
    return CliRunner().invoke(main, ["estimate", "--model", model, "--gpu", gpu, "--seq-len", "128", *options])


def test_both_ways_beside_each_kind_alone() -> None:
    result = mixed("1x RTX 4090 + 1x RTX 3090")
    assert result.exit_code == 0 and result.stdout.startswith("Best: ")
    for way in ("batch shared", "layers shared", "1x RTX 4090 alone", "1x RTX 3090 alone"):
        assert way in result.stdout


def test_json_has_the_shares() -> None:
    ways = json.loads(mixed("RTX 5090 + RTX 3090 Ti", "--gbs", "16", "--json", "-").stdout)
    assert [way["step_seconds"] for way in ways] == sorted(way["step_seconds"] for way in ways)
    of = {way["way"]: way["shares"] for way in ways}
    assert sum(share["sequences"] for share in of["batch shared"]) == 16
    assert sum(share["layers"] for share in of["layers shared"]) == 24


def test_what_fits_nowhere_is_exit_1() -> None:
    result = mixed("T4 + GTX 1080 Ti", "--precision", "fp32", model="llama3-8b")
    assert result.exit_code == 1 and result.stdout.startswith("Nothing fits")


@pytest.mark.parametrize(
    ("gpu", "options", "what"),
    [
        ("RTX 4090 + RTX 3090", ("--tp", "2"), "--tensor-parallel: not modelled for cards of several kinds"),
        ("RTX 4090 + RTX 3090", ("-n", "2"), "--gpus: not modelled"),
        ("RTX 4090 + RTX 3090", ("--pp", "3"), "--pipeline-parallel: 3 stages for 2 cards"),
        ("RTX 4090 + RTX 3090", ("--zero", "3"), "zero_stage 3 keeps unlike cards in step"),
        ("RTX 4090 + RTX 4090", (), "--gpu: 2 cards of 1 kinds"),
        ("8x RTX 4090 + RTX 3090", (), "--gpu: 9 cards of 2 kinds"),
        ("RTX 4090 + RTX 3091", (), "not among the gpus"),
        ("RTX 4090 +", (), "not among the gpus"),
        ("RTX 4090 + GTX 1080 Ti", ("--precision", "amp-bf16"), "GTX 1080 Ti: the card has no units"),
    ],
)
def test_what_cannot_be_used_is_a_sentence(gpu: str, options: tuple[str, ...], what: str) -> None:
    result = mixed(gpu, *options)
    assert result.exit_code == 2 and what in result.stderr and "Traceback" not in result.output
