"""Tensor-parallel exchanges: what Transformer Engine gathers in FP8, and what each kind of overlap hides."""

from dataclasses import replace

import pytest

import perfsim as ps
from perfsim.core.plan import Plan
from perfsim.graphs.stage import stage_costs
from perfsim.graphs.step import step_costs

PLAN = Plan(tensor_parallel=8, sequence_parallel=True)


def _case(precision: str, software: str):
    known = ps.catalogue()
    workload = ps.workload(
        known.model("llama3-70b"), task="pretrain", seq_len=8192, global_batch_size=8, precision=precision
    )
    return workload, known.system("dgx-h100"), PLAN, known.software(software), known.calibration()


def test_fp8_halves_what_is_gathered_and_nothing_that_is_added_up() -> None:
    full, half = (step_costs(*_case(precision, "nemo")).kinds[0].cost for precision in ("bf16-mixed", "fp8"))
    assert half.tensor_half_seconds == pytest.approx(full.tensor_half_seconds)
    assert 0.5 * full.tensor_gather_seconds <= half.tensor_gather_seconds < 0.75 * full.tensor_gather_seconds


def test_more_overlap_exposes_less_and_never_less_than_nothing() -> None:
    workload, system, plan, software, calibration = _case("bf16-mixed", "nemo")
    exposed = [
        float(
            stage_costs(
                workload, system, plan, replace(software, tensor_parallel_overlap=kind), calibration
            ).tensor_seconds
        )
        for kind in ("none", "backward", "all")
    ]
    assert exposed[0] > exposed[1] > exposed[2] > 0.0
