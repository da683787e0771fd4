"""Results as notebooks and experiment trackers take them: escaped tables, flat dicts."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import perfsim as ps
from perfsim.calibration.runs import MeasuredRun
from perfsim.calibration.validate import Replayed
from perfsim.search.sweep import Sweep

Made = Callable[..., Sweep]
JOB = ps.workload("bert-large", seq_len=128)
NODE = ps.system("dgx-h100")
PLAN = ps.Plan(data_parallel=8, micro_batch_size=4)


def test_hostile_names_stay_text(made: Made) -> None:
    sweep = made()
    name = "<script>alert(1)</script>"
    named = replace(sweep, workload=replace(sweep.workload, model=replace(sweep.workload.model, name=name)))
    shown = named._repr_html_()
    assert "<script" not in shown and "&lt;script&gt;" in shown and "2x RTX 4090" in shown


def test_one_plan_and_many() -> None:
    one = ps.estimate(JOB, NODE, PLAN)
    shown = one._repr_html_()
    assert "samples/s" in shown and "backward" in shown and "weights" in shown
    refused = ps.estimate(JOB, NODE, ps.Plan(tensor_parallel=3, micro_batch_size=32))
    assert "cannot run: tensor_parallel does not divide" in refused._repr_html_()
    many = ps.estimate(JOB, NODE, replace(PLAN, micro_batch_size=np.array([[1, 2], [4, 1]])))
    assert many._repr_html_().startswith("<table><caption>4 plans</caption>")
    (told,) = ps.intervals(JOB, NODE, PLAN)
    assert "90 % intervals" in told._repr_html_() and told.basis.word in told._repr_html_()


def test_flat_dicts_hold_plain_values(made: Made) -> None:
    one = ps.estimate(JOB, NODE, PLAN)
    found = one.to_dict()
    assert found["step_seconds"] == pytest.approx(float(one.time.total_seconds)) and found["problems"] == 0
    assert all(type(value) in (int, float) for value in found.values())
    (told,) = ps.intervals(JOB, NODE, PLAN)
    assert told.to_dict()["step_seconds"] == told["step_seconds"].middle and "basis" in told.to_dict()
    best, last = made().to_dict(), made().to_dict(3)
    assert best["gpu"] == "rtx-4090" and best["job_usd"] > 0.0 and last["job_usd"] is None
    assert all(type(value) in (int, float, str, bool, type(None)) for value in best.values())
    with pytest.raises(ValueError, match="many plans"):
        ps.estimate(JOB, NODE, replace(PLAN, micro_batch_size=np.array([1, 2]))).to_dict()


def test_a_run_beside_its_prediction() -> None:
    run = MeasuredRun.__new__(MeasuredRun)
    for name, value in {"run_id": "a<b", "model_key": "bert", "gpu_key": "t4", "measured_step_seconds": 2.0,
                        "measured_peak_memory_bytes": 0.0}.items():  # fmt: skip
        object.__setattr__(run, name, value)
    shown = Replayed(run, predicted_step_seconds=1.0)._repr_html_()
    assert "a&lt;b" in shown and "-50.0 %" in shown and "2,000" in shown
    assert "no such card" in Replayed(run, problem="no such card")._repr_html_()


def test_a_config_is_swept_without_a_scenario() -> None:
    config = Path(__file__).parents[1] / "inputs" / "configs" / "bert-large-uncased.json"
    answer = ps.sweep(ps.model(config), gpus=["RTX 4090", "RTX 30"], counts=[1, 2], pipeline_parallel=[1])
    assert {row["gpus"] for row in map(answer.to_dict, range(len(answer)))} == {1, 2}
    assert {"rtx-4090", "rtx-3090"} <= set(answer.to_pandas()["gpu"]) and set(answer.plans.pipeline_parallel) == {1}


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ({"gpus": ["RTX 4090"], "cuonts": [1]}, "cuonts: no such key; did you mean counts"),
        ({"gpus": ["RTX 4099"]}, "RTX 4099: not among the gpus"),
        ({"gpus": ["RTX 4090"], "counts": [0]}, "counts"),
        ({}, "gpus"),
        ({"systems": ["dgx-h100"], "counts": [10**6]}, "more than the systems named can hold"),
    ],
)
def test_a_search_that_cannot_be_is_told(search: dict[str, list[object]], told: str) -> None:
    with pytest.raises(ps.PerfsimError, match=re.escape(told)):
        ps.sweep(JOB, **search)
    with pytest.raises(ps.InputError, match="a scenario says so itself"):
        ps.sweep("bert", counts=[1])


def test_nothing_fits_is_shown(nothing: Sweep) -> None:
    assert "Nothing fits: " in nothing._repr_html_()
