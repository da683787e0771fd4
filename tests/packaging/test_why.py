"""docs/why.md quotes commands and measured runs: each figure is what perfsim says today."""

import csv
import io
import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from perfsim.cli.main import main
from perfsim.units import GIB

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "why.md").read_text(encoding="utf-8")
RUNS = ROOT / "scenarios" / "validation"
TOLD = [block.strip().split("\n") for block in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)]
COMMANDS = [part.strip().split("\n") for block in TOLD for part in "\n".join(block).split("$ perfsim ")[1:]]


@pytest.mark.parametrize("told", COMMANDS, ids=lambda told: told[0][-40:])
def test_commands_answer_what_the_page_quotes(told: list[str]) -> None:
    answer = CliRunner().invoke(main, shlex.split(told[0]), env={"COLUMNS": "100"})
    lines = {line.strip() for line in answer.stdout.splitlines()}
    assert len(told) > 1 and [line for line in told[1:] if line.strip() not in lines] == []


def test_measured_runs_and_their_predictions(tmp_path: Path) -> None:
    rows = {row[0]: [cell.strip() for cell in row] for row in _rows() if re.fullmatch(r"[a-z-]+-\d{4}", row[0].strip())}
    rows = {name.strip(): row for name, row in rows.items()}
    found = _replayed(list(rows), tmp_path)
    assert len(rows) == len(found) == 7
    for name, row in rows.items():
        one = found[name]
        measured, predicted = one["measured_peak_memory_bytes"], one["predicted_peak_memory_bytes"]
        low, high = one["predicted_low_bytes"], one["predicted_high_bytes"]
        assert row[4:] == [
            f"{measured / GIB:.2f}", f"{predicted / GIB:.2f}", f"{low / GIB:.2f}-{high / GIB:.2f}",
            f"{100.0 * (predicted / measured - 1.0):+.1f}",
        ]  # fmt: skip
        assert one["memory_kind"] == ("allocated" if name.startswith("mli") else "nvidia-smi")
    outside = [
        name
        for name, one in found.items()
        if not one["predicted_low_bytes"] <= one["measured_peak_memory_bytes"] <= one["predicted_high_bytes"]
    ]
    assert outside == ["mli-0005"]


def test_what_the_text_reckons_from_the_tables() -> None:
    tools = [float(answer) for answer in re.findall(r"([\d.]+) GiB \|", PAGE)]
    assert (min(tools), max(tools)) == (2.73, 13.06) and f"{max(tools) / min(tools):.1f} times" in PAGE
    measured = float(re.search(r"\*\*([\d.]+)\s", PAGE)[1])  # type: ignore[index]
    assert f"by {measured - max(tools):.2f} GiB the nearest" in PAGE
    assert f"{measured - min(tools):.3g} GiB the\nfarthest" in PAGE.replace("GiB the farthest", "GiB the\nfarthest")
    assert f"{7.27e9 / GIB:.2f} GiB" in PAGE and f"a factor of {24.9 / 9.26:.1f} lies" in PAGE
    assert "are 5.00 GiB" in PAGE and 1.25 + 1.25 + 2.50 == 5.0


def _rows() -> list[list[str]]:
    return [line.strip("| ").split("|") for line in PAGE.splitlines() if line.startswith("| ")]


def _replayed(names: list[str], folder: Path) -> dict[str, dict[str, float]]:
    """What `perfsim validate` says of these of the shipped runs."""
    with (RUNS / "runs.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.reader(table))
    text = io.StringIO()
    csv.writer(text).writerows([rows[0], *(row for row in rows if row[0] in names)])
    (folder / "runs.csv").write_text(text.getvalue(), encoding="utf-8")
    (folder / "run_models.csv").write_bytes((RUNS / "run_models.csv").read_bytes())
    answer = CliRunner().invoke(main, ["validate", str(folder / "runs.csv"), "--json", "-"])
    return {row["run_id"]: row for row in json.loads(answer.stdout)["rows"]}
