"""Replaying runs: stacked as alone, problems told, errors and baseline as by hand."""

from dataclasses import replace

import pytest

from perfsim.calibration.runs import MeasuredRun
from perfsim.calibration.validate import Replayed, replay, replay_one, summary
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.runs import read_runs
from perfsim.paths import builtin


@pytest.fixture(scope="module")
def shipped() -> list[MeasuredRun]:
    return read_runs([builtin("scenarios") / "validation" / "runs.csv"], catalogue())


def _timed(name: str, measured: float, predicted: float, **more: float) -> Replayed:
    run = MeasuredRun(name, "a/b@c:d", "dev", "a", "t4", "bert", "", "", measured, 0.0, "", "ok")
    return Replayed(run, predicted, **more)  # type: ignore[arg-type]


def test_stacked_runs_are_bit_for_bit_the_runs_alone(shipped: list[MeasuredRun]) -> None:
    some = shipped[::7]
    calibration = catalogue().calibration()
    for together, run in zip(replay(some, calibration), some, strict=True):
        alone = replay_one(run, calibration)
        assert replace(together, baseline_step_seconds=0.0) == alone, run.run_id


def test_order_stays_and_problems_carry_no_numbers(shipped: list[MeasuredRun]) -> None:
    broken = MeasuredRun("broken", "", "dev", "a", "t4", "bert", "", "", 1.0, 0.0, "", "ok", problem="offload")
    found = replay([broken, *shipped[:3]], catalogue().calibration())
    assert [one.run.run_id for one in found] == ["broken", *(run.run_id for run in shipped[:3])]
    assert (found[0].problem, found[0].predicted_step_seconds, found[0].time_error) == ("offload", 0.0, None)


def test_progress_ends_at_all_runs(shipped: list[MeasuredRun]) -> None:
    seen: list[tuple[int, int]] = []
    replay(shipped[:20], catalogue().calibration(), report=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (20, 20)


def test_a_plan_that_cannot_run_is_not_scored(shipped: list[MeasuredRun]) -> None:
    run = next(run for run in shipped if run.plan and run.plan.gpus == 1 and run.workload)
    assert run.plan is not None and run.workload is not None
    odd = replace(run, plan=replace(run.plan, micro_batch_size=int(run.workload.global_batch_size) + 1))
    found = replay_one(odd, catalogue().calibration())
    assert "does not divide the global batch" in found.problem
    assert found.predicted_step_seconds == 0.0


def test_memory_is_compared_with_what_was_read(shipped: list[MeasuredRun]) -> None:
    run = next(run for run in shipped if run.measured_peak_memory_bytes and not run.problem)
    sizes = [
        replay_one(replace(run, memory_kind=kind), catalogue().calibration()).predicted_peak_memory_bytes
        for kind in ("allocated", "reserved", "nvidia-smi")
    ]
    assert 0 < sizes[0] <= sizes[1] < sizes[2]


def test_errors_as_by_hand() -> None:
    rows = [_timed("a-1", 1.0, 1.1), _timed("a-2", 2.0, 1.6), _timed("a-3", 0.0, 1.0)]
    time = summary(rows)[0].time
    assert time.count == 2
    assert time.mean == pytest.approx(0.15)
    assert time.bias == pytest.approx(-0.05)
    assert summary(rows)[0].worst[0].run.run_id == "a-2"


def test_groups_hold_every_run_once(shipped: list[MeasuredRun]) -> None:
    replayed = replay(shipped[:60], catalogue().calibration())
    for by in ("gpu", "source", "model", "software"):
        everything, *groups = summary(replayed, by)  # type: ignore[arg-type]
        assert everything.runs == sum(group.runs for group in groups) == 60


def test_the_baseline_leaves_its_own_run_out(shipped: list[MeasuredRun]) -> None:
    """One run of a pair gets the other's utilisation: at equal work, the other's step."""
    run = next(run for run in shipped if not run.problem and run.measured_step_seconds)
    pair = [replace(run, run_id="pair-1"), replace(run, run_id="pair-2", measured_step_seconds=3.0)]
    first, second = replay(pair, catalogue().calibration())
    assert first.baseline_step_seconds == pytest.approx(3.0)
    assert second.baseline_step_seconds == pytest.approx(run.measured_step_seconds)
    assert replay(pair[:1], catalogue().calibration())[0].baseline_step_seconds == 0.0


def test_predictions_beat_constant_utilisation_on_the_shipped_runs(shipped: list[MeasuredRun]) -> None:
    everything = summary(replay(shipped, catalogue().calibration()))[0]
    assert everything.time.mean is not None and everything.baseline.mean is not None
    assert everything.time.mean < everything.baseline.mean
