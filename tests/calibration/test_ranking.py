"""Ranking: laws of tau and regret, what forms a group, and the lines that people see."""

from dataclasses import replace
from typing import Any

import pytest

from perfsim import paths
from perfsim.calibration.ranking import Alternatives, Measured, alternatives, ranking
from perfsim.calibration.runs import UNSTATED_MICRO_BATCH
from perfsim.calibration.validate import Replayed
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.runs import read_runs
from perfsim.report.ranking import ranking_lines
from perfsim.report.table import plain_text

MEASURED = (1.0, 2.0, 4.0, 8.0)


def among(measured: Any, predicted: Any) -> Alternatives:
    return Alternatives("plan", tuple(Measured((), m, p) for m, p in zip(measured, predicted, strict=True)))


@pytest.fixture(scope="module")
def run() -> Any:
    found = read_runs([paths.builtin("scenarios") / "validation" / "runs.csv"], catalogue())
    return next(one for one in found if not one.problem and one.quality == "a" and one.plan and one.plan.gpus == 1)


def plans(run: Any, seconds: Any, predicted: Any) -> list[Replayed]:
    """The run with micro-batches of 1, 2, 3 ... of one batch."""
    return [
        Replayed(
            replace(run, run_id=f"x-{i}", plan=replace(run.plan, micro_batch_size=i), measured_step_seconds=s),
            predicted_step_seconds=p,
        )
        for i, (s, p) in enumerate(zip(seconds, predicted, strict=True), 1)
    ]


@pytest.mark.parametrize("scale", [0.01, 1.0, 7.0])
def test_one_factor_on_all_predictions_changes_nothing(scale):
    group = among(MEASURED, [scale * m for m in MEASURED])
    assert (group.tau, group.clear_tau, group.regret, group.is_best) == (pytest.approx(1), 1.0, 0.0, True)


def test_the_reverse_order_is_the_worst():
    group = among(MEASURED, MEASURED[::-1])
    assert (group.tau, group.clear_tau, group.regret) == (pytest.approx(-1), -1.0, 1 - 1 / 8)


def test_equal_predictions_say_nothing_and_cost_the_most():
    group = among(MEASURED, [1.0] * 4)
    assert (group.tau, group.clear_tau, group.regret) == (0.0, 0.0, 1 - 1 / 8)


def test_the_order_within_the_noise_does_not_count():
    group = among((1.0, 2.0, 2.01), (1.0, 3.0, 2.0))
    assert (group.tau, group.clear_tau) == (pytest.approx(1 / 3), 1.0)
    assert (group.is_best, group.is_near_best) == (False, True)
    assert among((2.0, 2.005, 2.01), MEASURED[:3]).clear_tau is None


def test_runs_that_differ_by_plan_alone_are_a_group(run):
    seconds = (3.0, 2.0, 1.0)
    (group,) = alternatives(plans(run, seconds, seconds))
    assert [one.runs[0].run.run_id for one in group.members] == ["x-1", "x-2", "x-3"]
    assert (group.tau, group.regret) == (pytest.approx(1), 0.0)
    assert alternatives(plans(run, seconds[:2], seconds[:2])) == []
    assert alternatives(plans(run, (1.0, 1.0, 1.0), seconds)) == []
    assert (
        alternatives(plans(run, seconds, seconds), "gpus") == alternatives(plans(run, seconds, seconds), "card") == []
    )


def test_batches_are_compared_by_throughput(run):
    rows = plans(run, (1.0, 1.5, 2.0), (1.0, 1.5, 2.0))
    for i, row in enumerate(rows, 1):
        rows[i - 1] = replace(row, run=replace(row.run, workload=replace(run.workload, global_batch_size=i)))
    (group,) = alternatives(rows)
    assert [one.measured_per_s for one in group.members] == pytest.approx([1.0, 2 / 1.5, 1.5])


@pytest.mark.parametrize(
    "change",
    [
        {"stack": "another"}, {"quality": "c"}, {"run_id": "other-1"}, {"measured_step_seconds": 0.0},
        {"assumptions": (UNSTATED_MICRO_BATCH,)},
    ],
)  # fmt: skip
def test_what_differs_by_more_or_is_not_trusted_is_left_out(run, change):
    rows = plans(run, (3.0, 2.0, 1.0), (3.0, 2.0, 1.0))
    assert alternatives([*rows[:2], replace(rows[2], run=replace(rows[2].run, **change))]) == []


def test_repeated_runs_count_once_by_their_median(run):
    rows = plans(run, (3.0, 2.0, 1.0), (3.0, 2.0, 1.0))
    again = [replace(rows[2], run=replace(rows[2].run, run_id=f"x-{s}", measured_step_seconds=s)) for s in (9, 4)]
    (group,) = alternatives([*rows, *again])
    assert len(group.members) == 3
    assert group.members[2].measured_per_s == pytest.approx(run.workload.global_batch_size / 4.0)


def test_cards_and_numbers_of_gpus_are_choices_too(run):
    rows = plans(run, (3.0, 2.0, 1.0), (3.0, 2.0, 1.0))
    cards = [replace(row, run=replace(row.run, gpu_key=f"card-{i}")) for i, row in enumerate(rows)]
    assert len(alternatives(cards, "card")) == 1
    many = [
        replace(row, run=replace(row.run, plan=replace(run.plan, data_parallel=i))) for i, row in enumerate(rows, 1)
    ]
    assert (len(alternatives(many, "gpus")), alternatives(many), alternatives(many, "card")) == (1, [], [])


def test_the_lines_that_people_see(run):
    rows = plans(run, (4.0, 2.0, 1.0), (4.0, 1.0, 2.0))
    lines = plain_text(ranking_lines({"plan": ranking(alternatives(rows)), "card": ranking([])}, "source"))
    assert lines.splitlines() == [
        "plans and batches on the same GPUs: the fastest chosen in 0 of 1 groups, or within noise in 0",
        "worst: x-2 is chosen, x-3 is faster, 50.0 % lost",
        "source  groups  runs   tau  median  clear  regret %  worst %  best  near",
        "all          1     3  0.33    0.33   0.33      50.0     50.0     0     0",
        "x            1     3  0.33    0.33   0.33      50.0     50.0     0     0",
        "",
        "cards, as many of each: no 3 runs differ by that alone",
        "",
        "tau: mean of Kendall's tau-b, 1 in the measured order, -1 in reverse; regret: speed lost by choosing",
        "clear: tau of pairs measured more than 1 % apart; near: within it of the best",
    ]
