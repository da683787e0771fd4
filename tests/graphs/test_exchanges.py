"""Tensor-parallel exchanges: what Transformer Engine gathers in FP8, and what each kind of overlap hides."""

from dataclasses import replace

import pytest

import perfsim as ps
from perfsim.core.plan import Plan
from perfsim.core.workload import Task
from perfsim.formulas.power import busy_seconds
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


def test_frozen_weights_hide_no_reduction_and_adapters_gather_in_16_bits() -> None:
    """Beside frozen products only the forward exchanges and the gathers of gradients can be hidden."""
    workload, system, plan, software, calibration = _case("fp8", "nemo")
    adapted = replace(workload, task=Task.LORA, lora_rank=16, base_bytes=2.0)
    one = replace(adapted, lora_targets=("q_proj", "k_proj", "v_proj"))
    costs = [step_costs(w, system, plan, software, calibration).kinds[0].cost for w in (one, adapted)]
    assert costs[0].adapted_gather_seconds == pytest.approx(costs[0].tensor_half_seconds / 2.0)  # one of two sublayers
    assert costs[1].adapted_gather_seconds == pytest.approx(2.0 * costs[0].adapted_gather_seconds)
    assert costs[0].adapted_swap_seconds == 0.0 < costs[1].adapted_swap_seconds
    seconds = [
        float(stage_costs(w, system, plan, software, calibration).tensor_seconds) for w in (workload, one, adapted)
    ]
    assert seconds[0] < seconds[1] < seconds[2]


def test_tensor_parallel_experts_exchange_every_token_that_is_theirs() -> None:
    """Two halves of the chosen rows each way, in place of one set of halves of the layer's rows."""
    known = ps.catalogue()
    workload = ps.workload(
        known.model("mixtral-8x7b"), task="pretrain", seq_len=8192, global_batch_size=8, precision="bf16-mixed"
    )
    plan = replace(PLAN, tensor_parallel=4)
    cost = (
        step_costs(workload, known.system("dgx-h100"), plan, known.software("nemo"), known.calibration()).kinds[0].cost
    )
    assert cost.expert_tensor_seconds == pytest.approx(4.0 * cost.tensor_half_seconds, rel=0.1)  # top 2, latencies


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_context_parallel_ranks_share_attention_evenly(ranks: int) -> None:
    """Whatever the number of ranks, together they take what one takes, but for starts and tails."""
    workload, system, _, software, calibration = _case("bf16-mixed", "nemo")
    plan = Plan(context_parallel=ranks)
    one, many = (step_costs(workload, system, p, software, calibration).kinds[0].cost.core for p in (Plan(), plan))
    control = calibration.control
    assert ranks * busy_seconds(many, 1.0, control) == pytest.approx(
        busy_seconds(one, 1.0, control), rel=0.25
    )  # a tail and a start for each
