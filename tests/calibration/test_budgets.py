"""Accuracy by group, named sets, and budgets: a worse prediction exceeds them, a better one does not."""

import re
from dataclasses import replace
from typing import Any

import pytest

from perfsim import paths
from perfsim.calibration.accuracy import NamedSet, summaries, summary
from perfsim.calibration.budgets import Budget, record, worse
from perfsim.calibration.runs import MeasuredRun
from perfsim.calibration.validate import Replayed
from perfsim.errors import InputError
from perfsim.inputs.validation_tables import read_budgets, read_rivals, read_sets
from perfsim.report.picture import write_picture
from perfsim.report.scatter_plot import scatter_picture
from perfsim.report.table import plain_text
from perfsim.report.validation import budgets_text, validation_lines
from perfsim.report.validation_page import page_text
from perfsim.search.uncertainty import Range

TABLES = paths.builtin("scenarios") / "validation"
SETS = [NamedSet("few", {"source": "few"}), NamedSet("none", {"gpu": "h100*"})]


def made(run_id: str, predicted: float, **changes: Any) -> Replayed:
    run = MeasuredRun(run_id, "me/it@1", "dev", "a", "t4", "gpt2", "", "", 1.0, 0.0, "", "ok")
    return replace(Replayed(run, predicted_step_seconds=predicted), **changes)


def runs(factor: float = 1.0) -> list[Replayed]:
    return [*(made(f"many-{i}", factor * (0.9 + 0.02 * i)) for i in range(12)), made("few-1", factor * 1.1)]


def test_intervals_are_held_against_measurements():
    ones = [
        made("a-1", 1.1, low_step_seconds=0.9, high_step_seconds=1.3),
        made("a-2", 1.2, low_step_seconds=1.1, high_step_seconds=1.4),
        made("a-3", 1.2),
    ]
    assert summary(ones)[0].time.coverage == 0.5
    assert summary(ones[2:])[0].time.coverage is None
    assert summary(ones)[0].memory.coverage is None


def test_predictions_with_something_left_out_have_their_own_account():
    group = summary([made("a-1", 1.1, left_out={"gpu": Range(1.3, 1.4, 1.5)}), made("a-2", 1.1)])[0]
    assert (group.time.count, group.left_out["gpu"].count, group.left_out["source"].count) == (2, 1, 0)
    assert (group.left_out["gpu"].mean, group.left_out["gpu"].bias) == (pytest.approx(0.4), pytest.approx(0.4))


def test_a_change_for_the_worse_exceeds_the_budgets_and_says_so():
    budgets = record(summaries(runs(), SETS))
    assert {(one.kind, one.group) for one in budgets} == {
        ("set", "all"), ("set", "few"), ("source", "many"), ("gpu", "t4"), ("software", "none"),
    }  # fmt: skip
    assert list(worse(budgets, summaries(runs(), SETS))) == []
    found = list(worse(budgets, summaries(runs(1.2), SETS)))
    assert "set few, step time: MAPE 32.00 % is over its budget of 10.5 %" in found
    assert any(line.startswith("source many, step time: bias +21.20 % is beyond its budget of ") for line in found)
    assert any("bias -" in line for line in worse(budgets, summaries(runs(0.8), SETS)))


def test_a_smaller_error_is_no_fault_but_missing_measurements_and_budgets_are():
    budgets = record(summaries(runs(1.2), SETS))
    assert list(worse(budgets, summaries(runs(), SETS))) == []
    fewer = [*runs()[:11], replace(runs()[11], predicted_step_seconds=0.0, problem="no"), runs()[12]]
    found = list(worse(budgets, summaries(fewer, SETS)))
    assert "source many, step time: 11 measurements are compared where 12 were" in found
    gone = [Budget("set", "lost", "step time", 3, 0.1, 0.1)]
    assert next(worse(gone, summaries(runs(), SETS))).startswith("set lost, step time: 0 measurements")
    assert "gpu t4, step time: has no budget" in list(worse(gone, summaries(runs(), SETS)))


def test_budgets_are_read_as_they_were_written(tmp_path):
    budgets = record(summaries(runs(), SETS))
    path = tmp_path / "budgets.csv"
    path.write_text(budgets_text(budgets))
    read = read_budgets(path)
    assert [(a.kind, a.group, a.quantity, a.count) for a in read] == [
        (a.kind, a.group, a.quantity, a.count) for a in budgets
    ]
    assert [(a.mape, a.bias) for a in read] == [pytest.approx((a.mape, a.bias)) for a in budgets]
    path.write_text(budgets_text(budgets).replace("step time", "speed", 1).replace(",13,", ",many,", 1))
    with pytest.raises(InputError) as caught:
        read_budgets(path)
    assert "budgets.csv:2: measurements: 'many' is no number from 0 up" in str(caught.value)
    assert "budgets.csv:2: quantity: 'speed' is none; write step time or peak memory" in str(caught.value)


def test_the_shipped_rivals_stand_beside_shipped_sets():
    names = [one.name for one in read_sets(TABLES / "sets.csv")]
    assert len(set(names)) == len(names)
    assert {one.set_name for one in read_rivals(TABLES / "rivals.csv")} <= set(names)
    assert all(one.source and one.rows for one in read_rivals(TABLES / "rivals.csv"))


def test_a_page_names_rivals_and_repositories_and_drops_empty_columns():
    page = page_text(summaries(runs(), SETS), [], {}, {"many": "me/it"})
    assert "| many | 12 |" in page
    assert page.count("me/it |") == 1
    assert "inside |" not in page
    assert "left out |" not in page
    ends = {"low_step_seconds": 0.5, "high_step_seconds": 2.0, "left_out": {"source": Range(1.2, 1.5, 1.8)}}
    page = page_text(summaries([replace(one, **ends) for one in runs()], SETS), [], {}, {})
    assert "inside | source left out |" in page
    assert "50.0 50.0 +50.0 0 |" in page


def test_lines_fit_a_narrow_terminal():
    ends = {
        "low_step_seconds": 0.5, "high_step_seconds": 2.0,
        "left_out": {"source": Range(1.2, 1.5, 1.8), "gpu": Range(1.0, 1.25, 1.6), "software": Range(0.9, 1.0, 1.1)},
    }  # fmt: skip
    text = plain_text(validation_lines(summary([replace(one, **ends) for one in runs()]), "source"), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "with its own card left out of every fit: MAPE 25.0 %, median 25.0, bias +25.0" in text
    assert re.search("many +50.0 50.0 [+]50.0 0 +25.0 25.0 [+]25.0 100 +0.0 0.0 [+]0.0 100", text)


@pytest.mark.parametrize("quantity", ["time", "memory"])
def test_a_picture_has_the_same_bytes_twice(tmp_path, quantity):
    for name in ("a.svg", "b.svg"):
        write_picture(str(tmp_path / name), lambda: scatter_picture(runs(), quantity))
    first = (tmp_path / "a.svg").read_bytes()
    assert first == (tmp_path / "b.svg").read_bytes()
    assert b"dc:date" not in first
    assert (b"13 runs" in first) == (quantity == "time")
