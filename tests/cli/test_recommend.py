"""`perfsim recommend`: an answer that a person can act on, and an exit code for scripts."""

import json

import pytest
from click.testing import CliRunner, Result

from perfsim.cli.main import main

LORA = ["--model", "llama3-8b", "--task", "lora", "--seq-len", "1024", "--samples", "52000", "--epochs", "3",
        "--global-batch-size", "64", "--precision", "bf16", "--own", "2x RTX 3090", "--no-cloud"]  # fmt: skip


def asked(*options: str) -> Result:
    return CliRunner().invoke(main, ["recommend", *options])


@pytest.mark.parametrize(
    ("exit_code", "options"), [(0, ["bert", "--deadline", "6h", "--budget", "40"]), (1, [*LORA, "--deadline", "5h"])]
)
def test_the_answer_fits_a_screen(exit_code: int, options: list[str]) -> None:
    """What it says is held by docs/choosing.md, which shows it."""
    result = asked(*options)
    lines = result.stdout.splitlines()
    assert (result.exit_code, result.stderr) == (exit_code, "")
    assert lines[0].startswith("Take " if exit_code == 0 else "Nothing keeps the limits")
    assert len(lines) <= 30 and max(map(len, lines)) <= 100


def test_every_figure_has_its_basis_on_request() -> None:
    result = asked(*LORA, "--explain")
    assert "own 2x RTX 3090 at 228 W: price electricity alone" in result.stdout
    assert "  time extrapolated: no measured run" in result.stdout
    assert "  power fitted: " in result.stdout and "  memory extrapolated: no measured peak" in result.stdout
    assert "width of the step's interval by share of variance" in result.stdout


def test_json_alone_on_standard_output() -> None:
    answer = json.loads(asked(*LORA, "--deadline", "24h", "--json", "-").stdout)
    first = answer["choices"][0]
    assert (first["criterion"], first["gpu"], first["tenure"]) == ("cheapest", "rtx-3090", "owned")
    assert first["job_hours_low"] < first["job_hours"] < first["job_hours_high"] < 24 and first["chance"] > 0.95
    assert {change["change"] for change in answer["changes"]} >= {"count"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["bert", "--seq-len", "9"], "--seq-len: the scenario says it"),
        ([], "Name a scenario"),
        (["brt"], "brt: no such scenario file"),
        (["bert", "--gpu", "RTX 4091"], "nearest: "),
        (["bert", "--software", "pytorch"], "nearest: "),
        (["llama3-8b-finetune"], "asks for finetune, lora, qlora; name one"),
    ],
)
def test_bad_wishes_are_told_in_a_line(options: list[str], message: str) -> None:
    result = asked(*options)
    assert result.exit_code == 2 and message in result.stderr and result.stdout == ""


@pytest.mark.parametrize("options", [["bert", "--deadline", "6h", "--pue", "1"], [*LORA, "--deadline", "24h"]])
def test_the_plan_that_is_named_is_the_one_that_other_commands_take(options: list[str]) -> None:
    """What `perfsim launch` is told to start, `perfsim estimate` costs as the answer says."""
    first = json.loads(asked(*options, "--json", "-").stdout)["choices"][0]
    one = json.loads(CliRunner().invoke(main, ["estimate", *first["options"], "--json", "-"]).stdout)
    for figure in ("gpu", "gpus", "memory_bytes", "job_hours", "job_usd", "job_kwh"):
        told = first[figure]
        assert one[figure] == (
            told if isinstance(told, str) else pytest.approx(told, rel=0.03 if "job" in figure else 1e-9)
        )
