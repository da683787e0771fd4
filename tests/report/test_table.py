"""What people see of a sweep: to the letter at 100 and 80 columns, and every claim in it true."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim.core.plan import Problem
from perfsim.core.site import Site
from perfsim.report.answer import Answer, csv_of, json_of, lines_of, markdown_of
from perfsim.report.table import plain_text
from perfsim.report.text import card_text, plan_text, reason_lines
from perfsim.search.intervals import FIGURES, Basis, Cause, Intervals, Word
from perfsim.search.sweep import Sweep
from perfsim.search.uncertainty import Range

Held = Callable[[str, str], None]
Made = Callable[..., Sweep]
REACH = np.array([1.1, 1.2, 1.345, 2.0])  # of a row's interval
WORDS: tuple[Word, ...] = ("measured", "fitted", "extrapolated", "extrapolated")
ONE = {
    "tensor_parallel": 1, "pipeline_parallel": 1, "data_parallel": 1, "context_parallel": 1, "expert_parallel": 1,
    "micro_batch_size": 8, "virtual_stages": 1, "zero_stage": 0, "recompute": "none",
    "placement": "data-inner", "schedule": "1f1b", "hybrid_shard": 0,
    "offload": "none", "recompute_layers": 0, "context_exchange": "ring",
}  # fmt: skip


def told(sweep: Sweep, forecast: Sequence[int]) -> list[Intervals]:
    """Intervals out of the air."""
    found = []
    for row in forecast:
        _, _, estimate = sweep.row(row)
        figures = {name: getattr(estimate, name) for name in FIGURES if hasattr(estimate, name)}
        figures |= {"step_seconds": estimate.time.total_seconds, "memory_bytes": estimate.memory.total_bytes}
        ranges = {name: Range(float(x) / REACH[row], float(x), float(x) * REACH[row]) for name, x in figures.items()}
        basis = Basis(WORDS[row], "no measured run on it" if row > 1 else "")
        bases = dict.fromkeys((*FIGURES, "memory_capacity_bytes"), basis)
        found.append(Intervals(ranges, (Cause("products of the card", 0.75, 0.1),), 0.1, bases))
    return found


def asked(sweep: Sweep, show_all: bool = False) -> Answer:
    return Answer.of("mine", sweep, show_all, forecast=partial(told, sweep))


@pytest.mark.parametrize("width", [100, 80])
def test_table_to_the_letter(made: Made, width: int, golden: Held) -> None:
    text = plain_text(lines_of([asked(made())]), width)
    golden(f"sweep-{width}.txt", text)
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize(("form", "text_of"), [("md", markdown_of), ("csv", csv_of)])
def test_files_to_the_letter(made: Made, form: str, text_of: Callable[[list[Answer]], str], golden: Held) -> None:
    golden(f"sweep.{form}", text_of([asked(made())]))


def test_verdict_comes_first_and_names_the_best_of_all_plans(made: Made) -> None:
    lines = plain_text(lines_of([Answer.of("mine", made())])).splitlines()
    assert lines[0].startswith("Fastest: 2x RTX 4090, DDP2 mb64: 1.00 h, $1.50, 9.00 of 24.0 GiB a GPU")
    assert "Cheapest: 4x T4, $1.20; least energy: 4x T4, 0.840 kWh" in lines[2]


def test_winners_need_not_be_the_best_plan_of_their_card(made: Made) -> None:
    sweep = made()
    cheap = replace(sweep.estimates, job_usd=np.array([9.0, 0.1, 5.0, 0.0]))
    text = plain_text(lines_of([Answer.of("mine", replace(sweep, estimates=cheap))]))
    assert "Cheapest: 1x RTX 4090, $0.10" in text


def test_one_row_a_card_all_rows_and_the_first_rows(made: Made) -> None:
    sweep = made()
    assert Answer.of("mine", sweep).rows == (0, 2, 3)
    assert Answer.of("mine", sweep, show_all=True).rows == (0, 1, 2, 3)
    assert Answer.of("mine", sweep, top=2).rows == (0, 2)


def test_one_card_gets_a_row_a_count(made: Made) -> None:
    sweep = made()
    same = replace(sweep, systems=(sweep.systems[0],) * 3)
    assert Answer.of("mine", same).rows == (0, 1, 2)


def test_missed_limits_are_said(made: Made) -> None:
    sweep = made(Site(deadline_hours=2.0, budget_usd=1.0), meets=(False, False, False, False))
    answer = Answer.of("mine", sweep)
    text = plain_text(lines_of([answer]))
    assert not answer.has_met and "Nothing meets the limits" in text.splitlines()[0]
    assert "misses the deadline" in " ".join(text.split()) and "over budget" in text
    assert "no price known" in " ".join(text.split())


def test_nothing_fits_names_the_nearest_change(made: Made) -> None:
    sweep = made()
    empty = replace(sweep, system_index=np.zeros(0, dtype=np.int64), meets_site=np.zeros(0, dtype=bool))
    row = sweep.row(0)

    class Empty:
        def __getattr__(self, name: str) -> object:
            return getattr(empty, name)

        def nearest_fit(self) -> object:
            return [("recompute = full", *row)]

    answer = Answer("mine", Empty(), ())  # type: ignore[arg-type]
    text = plain_text(lines_of([answer]))
    assert text.startswith("Nothing fits: none of 12,345 plans can run")
    assert "would fit: recompute = full: 2x RTX 4090, DDP2 mb64: 1.00 h, 9.00 of 24.0 GiB a GPU" in text
    assert not answer.has_met


def test_json_parses_and_has_no_price_where_none_is_known(made: Made) -> None:
    answer = json.loads(json_of([asked(made())]))
    assert [row["job_usd_high"] for row in answer["rows"]] == [pytest.approx(1.65), pytest.approx(1.614), None]
    assert [row["basis"] for row in answer["rows"]] == ["measured", "extrapolated", "extrapolated"]
    assert [row["job_usd"] for row in answer["rows"]] == [1.5, pytest.approx(1.2), None]
    assert answer["rows"][0]["step_seconds"] == pytest.approx(0.1) and answer["rows"][0]["microbatches"] == 1
    assert {reason["reason"] for reason in answer["reasons"]} >= {Problem.MEMORY.text}


def test_csv_has_the_rows_and_columns_of_json(made: Made) -> None:
    answers = [asked(made(), show_all=True)]
    rows = list(csv.DictReader(io.StringIO(csv_of(answers))))
    assert list(rows[0]) == list(json.loads(json_of(answers))["rows"][0]) and len(rows) == 4


def test_reasons_of_the_job_come_before_arithmetic() -> None:
    lines = reason_lines({Problem.GPUS: 9, Problem.MEMORY: 5, Problem.HEADS: 6, Problem.NODE: 1}, most=2)
    assert lines == [
        f"6 plans cannot run: {Problem.HEADS.text}",
        f"5 plans cannot run: {Problem.MEMORY.text}; 2 more in --json",
    ]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "mb8"),
        ({"data_parallel": 4}, "DDP4 mb8"),
        ({"data_parallel": 4, "zero_stage": 1}, "DP4 ZeRO-1 mb8"),
        ({"data_parallel": 4, "zero_stage": 3}, "FSDP4 mb8"),
        ({"zero_stage": 3}, "mb8"),
        ({"tensor_parallel": 2}, "TP2 mb8"),
        ({"tensor_parallel": 2, "zero_stage": 1}, "TP2 mb8"),
        (
            {"tensor_parallel": 2, "pipeline_parallel": 2, "data_parallel": 2, "virtual_stages": 3, "zero_stage": 3},
            "TP2 PP2 DP2 ZeRO-3 v3 mb8",
        ),
        ({"pipeline_parallel": 2, "virtual_stages": 2, "schedule": "zb-v"}, "PP2 v2 zb-v mb8"),
        ({"recompute": "full"}, "mb8 recompute"),
        ({"recompute": "selective"}, "mb8 selective"),
        ({"offload": "optimizer"}, "mb8 offload-optimizer"),
        ({"pipeline_parallel": 2, "placement": "pipeline-inner"}, "PP2 pipeline-inner mb8"),
    ],
)
def test_plan_texts(changes: dict[str, object], text: str) -> None:
    assert plan_text(ONE | changes) == text


@given(st.text())
def test_card_texts_are_printable(name: str) -> None:
    assert card_text(name).isprintable()
