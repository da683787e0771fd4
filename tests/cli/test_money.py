"""docs/money.md: its commands answer as it says, and its bills add up by hand."""

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from perfsim.cli.main import main
from perfsim.inputs.catalogue import catalogue

PAGE = Path(__file__).parents[2] / "docs" / "money.md"
BILLS = re.findall(r"```\n(perfsim .*)\n((?:> .*\n)+)```", PAGE.read_text(encoding="utf-8"))
MAIN_JOB = "--seq-len 128 --gbs 128 --samples 120000 --epochs 3 --precision amp-fp16"


def run(command: str) -> str:
    result = CliRunner().invoke(main, shlex.split(command), env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.stderr
    return result.stdout


def estimate(options: str) -> dict:
    return json.loads(run(f"estimate --model bert-large {MAIN_JOB} {options} --json -"))


@pytest.mark.parametrize(("command", "lines"), BILLS, ids=lambda text: text[:60])
def test_the_page_answers_as_perfsim_does(command: str, lines: str) -> None:
    said = run(command.removeprefix("perfsim ")).splitlines()
    assert [line for line in lines.splitlines() if line.removeprefix("> ") not in said] == []


def test_there_are_three_bills() -> None:
    assert len(BILLS) == 3


def test_the_main_jobs_rent_by_hand() -> None:
    (answer,) = json.loads(run("sweep bert --top 1 --json -"))["rows"][:1]
    assert (answer["gpu"], answer["gpus"]) == ("a30", 1)
    assert answer["job_usd"] == pytest.approx(answer["job_hours"] * 0.34)


def test_cards_of_ones_own_by_hand() -> None:
    one = estimate('--gpu "2x RTX 3090" --price own')
    cards, electricity = 2 * 1499 / 13_140 * one["job_hours"], one["job_kwh"] * 0.15
    assert one["job_usd"] == pytest.approx(cards + electricity)
    assert (round(cards, 4), round(electricity, 4)) == (0.0773, 0.0325)
    power = one["ownership"]["electricity_usd_per_hour"]
    assert power == pytest.approx(one["job_kwh"] / one["job_hours"] * 0.15, rel=0.05)  # which idles while it starts
    assert one["ownership"]["rent_usd_per_hour"] == 0.68
    assert one["ownership"]["break_even_hours"] == pytest.approx(2 * 1499 / (0.68 - power))
    assert one["ownership"]["break_even_years"] == pytest.approx(2 * 1499 / (0.68 - power) / 8760 / 0.5)


def test_a_machine_that_is_paid_whole_by_hand() -> None:
    spot = estimate('--gpu "4x T4" --price spot')
    assert spot["job_usd"] == pytest.approx(spot["job_hours"] * 2.5468)
    two = estimate("--system aws-p4d.24xlarge -n 2")
    assert two["job_usd"] == pytest.approx(two["job_hours"] * 21.957642)
    assert two["price_basis"].endswith("6 of 8 GPUs paid and not used")
    nodes = estimate("--system aws-p5.48xlarge -n 16")
    assert nodes["job_usd"] == pytest.approx(nodes["job_hours"] * 2 * 55.04)
    assert nodes["price_basis"].startswith("2 x AWS p5.48xlarge")


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text(
        "card,kind,usd,date,source\nRTX 3090,on-demand,0.25,2026-11,our lab\nRTX 3090,purchase,600,2026-11,used\n"
    )
    one = estimate(f'--gpu "2x RTX 3090" --prices {table}')
    assert one["job_usd"] == pytest.approx(one["job_hours"] * 0.5)
    assert one["price_basis"] == "2 x rtx-3090, 2026-11, mine.csv"
    assert (one["ownership"]["purchase_usd"], one["ownership"]["rent_usd_per_hour"]) == (1200.0, 0.5)
    said = run(f"specs prices {table}")
    assert "rtx-3090  on-demand  each  0.2500  0.2500" in said and "purchase" in said
    assert run(f"specs check {table}") == f"{table}: ok (prices)\n"


def test_prices_of_the_specs() -> None:
    rows = json.loads(run("specs prices --json"))
    known = set(catalogue().names("gpus"))
    assert all(row["card"] in known and row["usd"] > 0 and row["date"] for row in rows)
    assert {"card": "t4", "kind": "spot", "gpus": 8}.items() <= next(
        row.items() for row in rows if row["usd"] == 2.5468
    )


def test_a_bad_table_ends_in_a_line(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("card,kind,usd,date,source\nRTX 3090,rent,0.25,2026-11,our lab\n")
    for command in (f"specs prices {table}", f"estimate --model bert-large --gpu T4 --prices {table}"):
        result = CliRunner().invoke(main, shlex.split(command))
        assert result.exit_code == 2
        assert result.stderr == f"{table}:2: kind: 'rent' is none; write on-demand, spot, purchase\n"
