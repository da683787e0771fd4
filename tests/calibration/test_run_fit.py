"""Fits to whole runs: planted numbers are found, sources left out are, data that tell nothing are refused."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from perfsim import paths
from perfsim.calibration.run_fit import LeftOut, RunFit, fit_runs, memory_spreads
from perfsim.calibration.runs import MeasuredRun
from perfsim.calibration.validate import replay
from perfsim.cli.main import main
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.runs import read_runs

TABLE = paths.builtin("scenarios") / "validation" / "runs.csv"
FACTORS = {"gemm_efficiency": 0.8, "memory_efficiency": 0.9}


@pytest.fixture(scope="module")
def planted() -> list[MeasuredRun]:
    """Runs of one software on many cards whose times are perfsim's own with two numbers of the software changed."""
    known = catalogue()
    runs = [run for run in read_runs([TABLE], known) if run.software and run.quality == "a"]
    changed = []
    for run in [run for run in runs if run.software.key == "pytorch-1.7"][::2]:
        numbers = {name: getattr(run.software, name) * factor for name, factor in FACTORS.items()}
        changed.append(replace(run, software=replace(run.software, **numbers)))  # type: ignore[type-var, arg-type]
    times = [one.predicted_step_seconds for one in replay(changed, known.calibration())]
    shipped = known.software("pytorch-1.7")
    return [replace(r, software=shipped, measured_step_seconds=t) for r, t in zip(changed, times, strict=True)]


@pytest.fixture(scope="module")
def fitted(planted: list[MeasuredRun]) -> RunFit:
    known = catalogue()
    return fit_runs(planted, known.calibration(), known.spreads)


def test_planted_numbers_are_found(fitted):
    found = {one.name: one for one in fitted.moved}
    for name, factor in FACTORS.items():
        assert found[name].factor == pytest.approx(factor, rel=0.05)
        assert found[name].is_identified
        ran = [run.software for run in fitted.runs]
        assert [getattr(software, name) for software in ran] == pytest.approx([found[name].value] * len(ran))
    measured = np.array([run.measured_step_seconds for run in fitted.runs])
    assert np.abs(fitted.predicted_seconds / measured - 1.0).mean() < 0.01


def test_what_hardly_matters_is_not_identified_and_stays(fitted):
    found = {one.name: one for one in fitted.moved}
    assert not found["synchronisation_seconds"].is_identified


def test_a_source_left_out_is_predicted_with_a_wider_range(fitted, planted):
    kinds: tuple[LeftOut, ...] = ("source", "gpu", "software")
    assert tuple(fitted.left_out) == kinds
    before = np.array([one.predicted_step_seconds for one in replay(planted, catalogue().calibration())])
    assert fitted.left_out["software"].seconds == pytest.approx(before, rel=0.03)  # its only software: as it was
    assert np.all(fitted.left_out["software"].spread > fitted.left_out["gpu"].spread)


def test_shipped_spreads_stay_as_they_are_when_own_runs_are_fitted(fitted):
    known = catalogue().spreads
    assert (fitted.spreads.kinds, fitted.spreads.reach) == (known.kinds, known.reach)
    key = "pytorch-1.7 gemm_efficiency"
    assert fitted.spreads.numbers[key] < known.kinds["efficiency of products, software"]


def test_few_runs_and_runs_that_tell_nothing_are_refused(planted):
    known = catalogue()
    with pytest.raises(ValueError, match="at least 5 are needed"):
        fit_runs(planted[:4], known.calibration(), known.spreads)
    sure = replace(known.spreads, kinds=dict.fromkeys(known.spreads.kinds, 1e-3))
    with pytest.raises(ValueError, match="no number of their software better"):
        fit_runs([planted[0]] * 6, known.calibration(), sure)


def test_runs_far_from_their_predictions_are_told_to_be_so(planted):
    known = catalogue()
    slow = [
        replace(run, measured_step_seconds=(2.0 + i) * run.measured_step_seconds) for i, run in enumerate(planted[:6])
    ]
    with pytest.raises(ValueError, match=r"the runs take 4.* times as long as predicted \(median\)"):
        fit_runs(slow, known.calibration(), known.spreads)


def test_memory_spreads_are_between_ones_own_and_everybodys():
    known = catalogue()
    replayed = replay(read_runs([TABLE], known), known.calibration())
    found = memory_spreads(replayed)
    assert 0.01 < found["megatron-core"] < found["pytorch-1.4"] < found["torchtune-compiled"] < 0.15
    assert "torchtune" not in found  # one run


def run(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture
def own_table(tmp_path: Path) -> Path:
    """Runs of a user whose machine is a tenth slower than predicted, at several batches and lengths."""
    lines = ["run_id,gpu,n_gpus,model,seq_len,micro_batch,precision,software,step_time_s"]
    for i, (length, batch) in enumerate((n, b) for n in (128, 256, 512) for b in (4, 8, 16, 32)):
        lines.append(f"own-{i},rtx-3090,1,bert-large,{length},{batch},bf16-mixed,pytorch-2-eager,1.0")
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(lines) + "\n")
    known = catalogue()
    found = replay(read_runs([path], known), known.calibration())
    times = [f"{1.1 * one.predicted_step_seconds:.5f}" for one in found]
    path.write_text("\n".join([lines[0], *(line[:-3] + t for line, t in zip(lines[1:], times, strict=True))]) + "\n")
    return path


def test_own_runs_make_predictions_of_ones_own_machine_right(own_table, tmp_path):
    target = tmp_path / "mine" / "calibration" / "runs.toml"
    target.parent.mkdir(parents=True)
    result = run("calibrate", "runs", str(own_table), "-o", str(target))
    assert result.exit_code == 0, result.output
    assert "pytorch-2-eager" in result.output
    assert "Not identified" in result.output
    assert run("specs", "check", str(target)).exit_code == 0
    before = run("validate", str(own_table), "--json", "-").stdout
    after = run("--specs", str(tmp_path / "mine"), "validate", str(own_table), "--json", "-").stdout
    error_before, error_after = (json.loads(text)["summary"][0]["step_seconds"]["mape"] for text in (before, after))
    assert error_before == pytest.approx(0.091, abs=0.005)
    assert error_after < 0.03


def test_a_table_of_too_few_runs_is_refused_and_nothing_is_written(own_table, tmp_path):
    few = tmp_path / "few.csv"
    few.write_text("\n".join(own_table.read_text().splitlines()[:3]) + "\n")
    target = tmp_path / "runs.toml"
    result = run("calibrate", "runs", str(few), "-o", str(target))
    assert result.exit_code == 2
    assert "few.csv: 2 runs have a step time and can be replayed; at least 5 are needed" in result.output
    assert not target.exists()


@pytest.mark.slow
def test_shipped_numbers_are_what_the_command_writes(tmp_path):
    target = tmp_path / "runs.toml"
    assert run("calibrate", "runs", "-o", str(target)).exit_code == 0
    again = tomllib.loads(target.read_text())
    shipped = tomllib.loads((paths.builtin("specs") / "calibration" / "runs.toml").read_text())
    assert again.keys() == shipped.keys()
    for name in ("source_spread", "noise", "reach"):
        assert again[name] == pytest.approx(shipped[name], rel=0.05)
    for key, numbers in shipped["software"].items():
        assert again["software"][key] == pytest.approx(numbers, rel=0.05)
