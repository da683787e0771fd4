"""Replaying measured runs: stacked and one by one alike, the baseline leaves a run itself out, verdicts are counted."""

from dataclasses import replace
from typing import Any

import pytest

from perfsim import paths
from perfsim.calibration.accuracy import summary, summary_of_sets
from perfsim.calibration.runs import MeasuredRun
from perfsim.calibration.validate import Replayed, replay, replay_one
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.runs import read_runs
from perfsim.inputs.validation_tables import read_sets


@pytest.fixture(scope="module")
def runs() -> list[MeasuredRun]:
    return read_runs([paths.builtin("scenarios") / "validation" / "runs.csv"], catalogue())


@pytest.fixture(scope="module")
def replayed(runs) -> list[Replayed]:
    return replay(runs, catalogue().calibration())


def made(run_id: str, measured: float, predicted: float, **changes: Any) -> Replayed:
    run = MeasuredRun(run_id, "me", "dev", "a", "t4", "gpt2", "", "", measured, 0.0, "", "ok")
    fields = {"predicted_step_seconds": predicted} | changes
    return Replayed(replace(run, outcome=fields.pop("outcome", "ok")), **fields)


def test_the_order_stays_and_every_run_is_answered(runs, replayed):
    assert [one.run for one in replayed] == runs
    assert all(one.predicted_step_seconds > 0 or one.problem for one in replayed)
    assert all(one.predicted_peak_memory_bytes > 0 or one.problem for one in replayed)


def test_runs_costed_together_equal_runs_costed_alone(runs, replayed):
    calibration = catalogue().calibration()
    for stacked in replayed[::23]:
        alone = replay_one(stacked.run, calibration)
        assert alone.problem == stacked.problem
        assert alone.fit_probability == stacked.fit_probability
        assert alone.predicted_step_seconds == pytest.approx(stacked.predicted_step_seconds, rel=1e-12)
        assert alone.predicted_peak_memory_bytes == pytest.approx(stacked.predicted_peak_memory_bytes, rel=1e-12)


def test_four_of_five_runs_are_replayed_and_beat_constant_utilisation(replayed):
    everything = summary(replayed)[0]
    assert sum(everything.reasons.values()) < 0.2 * everything.runs
    alone = [one for one in replayed if one.run.plan and one.run.plan.gpus == 1]
    single = summary(alone)[0]
    assert single.time.mean < single.baseline.mean


def test_every_named_set_has_runs_and_none_is_in_two(replayed):
    sets = read_sets(paths.builtin("scenarios") / "validation" / "sets.csv")
    groups = {group.name: group.runs for group in summary_of_sets(replayed, sets)}
    assert groups.keys() == {"all", *(one.name for one in sets)}
    anchors = [
        "Korthikanti 2022 Table 5", "Narayanan 2021 Table 1", "Narayanan 2021 Table 2 PTD-P",
        "Narayanan 2021 Table 2 ZeRO-3", "MT-NLG 530B",
    ]  # fmt: skip
    assert [groups[name] for name in anchors] == [8, 10, 6, 6, 3]
    assert max(sum(one.holds(r.run) for one in sets) for r in replayed) == 1


def test_progress_reaches_the_end(runs):
    seen: list[tuple[int, int]] = []
    replay(runs[:60], catalogue().calibration(), report=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (60, 60)


def test_allocated_memory_is_less_than_what_nvidia_smi_shows(runs):
    run = next(run for run in runs if run.memory_kind == "nvidia-smi" and not run.problem)
    calibration = catalogue().calibration()
    kinds = ("allocated", "reserved", "nvidia-smi")
    sizes = [replay_one(replace(run, memory_kind=k), calibration).predicted_peak_memory_bytes for k in kinds]
    assert sizes[0] <= sizes[1] < sizes[2]


def test_the_baseline_leaves_the_run_itself_out(runs):
    run = next(run for run in runs if not run.problem and run.plan.gpus == 1 and run.measured_step_seconds)
    company = [replace(run, run_id=f"x-{i}", measured_step_seconds=s) for i, s in enumerate((1.0, 2.0, 4.0))]
    found = replay(company, catalogue().calibration())
    # utilisations are 1, 1/2 and 1/4 of the first run's; the mean of the others decides each baseline
    expected = (1 / 0.375, 1 / 0.625, 1 / 0.75)
    assert [one.baseline_step_seconds for one in found] == pytest.approx(expected)
    assert replay(company[:1], catalogue().calibration())[0].baseline_step_seconds == 0.0


def test_errors_of_a_group_are_those_of_its_runs():
    ones = [made("a-1", 1.0, 1.1), made("a-2", 1.0, 0.8), made("b-1", 2.0, 2.0), made("b-2", 0.0, 1.0)]
    everything, first, second = summary(ones, "source")
    assert (everything.name, first.name, second.name) == ("all", "a", "b")
    assert (first.time.count, second.time.count, everything.time.count) == (2, 1, 3)
    assert (first.time.mean, first.time.bias) == (pytest.approx(0.15), pytest.approx(-0.05))
    assert everything.worst[0].run.run_id == "a-2"
    assert everything.memory.mean is None


def test_verdicts_and_reasons_are_counted():
    ones = [
        made("a-1", 1.0, 1.0), made("a-2", 1.0, 1.0, fit_probability=0.0), made("a-3", 0.0, 1.0, outcome="oom"),
        made("a-4", 0.0, 1.0, outcome="oom", fit_probability=0.0), made("a-5", 1.0, 0.0, problem="no"),
        made("a-6", 1.0, 0.0, problem="no"),
    ]  # fmt: skip
    group = summary(ones)[0]
    assert (group.fits_right, group.fits_wrong, group.oom_right, group.oom_wrong) == (1, 1, 1, 1)
    assert group.reasons == {"no": 2}
