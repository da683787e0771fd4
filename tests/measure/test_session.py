"""Work goes on after a failure, ends with the budget, and leaves whole tables behind."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from perfsim.errors import InputError
from perfsim.measure.session import Row, Save, Table, Work, is_out_of_memory, work_off

COLUMNS = ("name", "value", "error")


def failing(text: str) -> Callable[[], list[Row]]:
    def measure() -> list[Row]:
        raise RuntimeError(text)

    return measure


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


def test_failure_is_a_row_and_the_next_goes_on(save: Save, tmp_path: Path) -> None:
    table = Table("a.csv", COLUMNS, save)
    works = [
        Work(table, {"name": "bad"}, 1.0, failing("no kernel\nfor this")),
        Work(table, {"name": "good"}, 1.0, lambda: [{"value": 1.23456789}]),
    ]
    assert work_off(works, 100.0) == 0
    bad, good = rows_of(tmp_path / "a.csv")
    assert (bad["name"], bad["value"], bad["error"]) == ("bad", "", "RuntimeError: no kernel for this")
    assert (good["name"], good["value"], good["error"]) == ("good", "1.23457", "")
    assert table.failures == 1


def test_budget_cuts_what_would_not_end(save: Save) -> None:
    time = 0.0

    def measure() -> list[Row]:
        nonlocal time
        time += 10.0
        return [{}]

    table = Table("a.csv", COLUMNS, save)
    works = [Work(table, {"name": i}, seconds, measure) for i, seconds in enumerate((10.0, 50.0, 10.0, 10.0))]
    assert work_off(works, 25.0, now=lambda: time) == 2
    assert [row["name"] for row in table.rows] == [0, 2]


def test_broken_context_ends_the_run_and_keeps_the_rows(save: Save, tmp_path: Path) -> None:
    table = Table("a.csv", COLUMNS, save)
    works = [Work(table, {"name": i}, 1.0, failing("CUDA error: an illegal memory access")) for i in range(2)]
    with pytest.raises(InputError, match="no longer answers"):
        work_off(works, 100.0)
    assert len(rows_of(tmp_path / "a.csv")) == 1


def test_out_of_memory_is_told_from_other_errors() -> None:
    out = type("OutOfMemoryError", (RuntimeError,), {})
    assert is_out_of_memory(out("x"))
    assert is_out_of_memory(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"))
    assert not is_out_of_memory(RuntimeError("CUDA error: misaligned address"))
