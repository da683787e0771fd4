"""`perfsim fit`: the matrix on one screen, the same for programs, and messages for people."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from perfsim.cli.main import main


def asked(*options: str, columns: int = 100) -> Result:
    return CliRunner().invoke(main, ["fit", *options], env={"COLUMNS": str(columns)})


@pytest.mark.parametrize(
    ("name", "options", "columns"),
    [
        ("fit-llama", ["llama3-8b"], 100),
        ("fit-bert", ["bert-large", "--mbs", "8", "--recompute", "none"], 80),
        ("fit-net", ["resnet-50", "--mbs", "256", "--gpus", "RTX 20", "--gpus", "GTX 10", "--all"], 80),
        ("fit-no-bf16", ["llama3-8b", "--precision", "bf16", "--gpus", "GTX 10", "--gpus", "RTX 40"], 80),
    ],
)
def test_what_people_see(name: str, options: list[str], columns: int, golden: Callable[[str, str], None]) -> None:
    result = asked(*options, columns=columns)
    assert result.exit_code == 0, result.output
    golden(f"{name}.txt", result.stdout)
    lines = result.stdout.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= columns
    assert not any("…" in line for line in lines)


def test_all_has_every_card() -> None:
    lines = asked("bert-large", "--all").stdout.splitlines()
    assert len(lines) >= 60 + 3 and any(line.split()[1:3] == ["RTX", "4090"] for line in lines)


def test_json_and_csv_have_every_card_and_method(tmp_path: Path) -> None:
    result = asked("llama3-8b", "--seq-len", "2048", "--csv", "-", "--json", str(tmp_path / "fit.json"))
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    record = json.loads((tmp_path / "fit.json").read_text(encoding="utf-8"))
    assert len(rows) == len(record["rows"]) >= 180 and {row["method"] for row in rows} == {"full", "lora", "qlora"}
    card = next(row for row in record["rows"] if (row["gpu"], row["method"]) == ("rtx-4090", "qlora"))
    assert card["largest_micro_batch"] >= 1 and card["longest_sequence"] >= 2048 and card["precision"] == "amp-bf16"
    assert record["memory_basis"] == "extrapolated" and record["changes"][0]["memory_bytes"]["full"] > 1e11


def test_markdown_names_every_card() -> None:
    text = asked("llama3-8b", "--gpus", "RTX 30", "--md", "-").stdout
    assert "| 24 | RTX 3090, RTX 3090 Ti | bf16 |" in text and "P: chance that 1 x 512 tokens fits" in text


def test_exit_code_says_that_nothing_fits() -> None:
    assert asked("llama3-70b", "--gpus", "RTX 30", "--recompute", "none").exit_code == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["bert-larg"], "bert-larg: not among the models; nearest: bert-large-uncased"),
        (["bert-large", "--gpus", "RTX 399"], "RTX 399: not among the gpus; nearest: rtx-3090"),
        (["bert-large", "--seq-len", "1024"], "write at most 512"),
        (["bert-large", "--mbs", "0"], "micro_batch_size: 0 is not allowed; write a number from 1 to 65,536"),
        (["bert-large", "-n", "0"], "gpus: 0 is not allowed"),
        (["t5-base"], "decoder_seq_len is missing"),
        (["bert-large", "--json", "-", "--md", "-"], "Only one of --json, --csv and --md"),
    ],
)
def test_errors_say_what_to_do(options: list[str], message: str) -> None:
    result = asked(*options)
    assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output
