"""Intervals of predictions: laws that hold whatever the numbers, and a basis that says so where none was measured."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import perfsim as ps
from perfsim.core.offers import Offer
from perfsim.core.plan import Plan
from perfsim.formulas.rent import rates
from perfsim.inputs.intervals import of_plans, of_sweep
from perfsim.inputs.knobs import knobs, knobs_of
from perfsim.search.intervals import FIGURES, Intervals, intervals
from perfsim.search.sensitivity import Inputs
from perfsim.search.uncertainty import spread_of

MEASURED = "pytorch-2.0-compiled"
known = ps.catalogue()


def asked(system: str, software: str = MEASURED, precision: str = "amp-fp16", **plan: int) -> Inputs:
    workload = ps.workload("bert-large", seq_len=128, global_batch_size=96, precision=precision, steps=100)
    node = known.box(system.removeprefix("1x "), 1) if system.startswith("1x ") else known.system(system)
    return Inputs(workload, node, Plan(**plan), known.software(software), known.calibration())


def told(one: Inputs) -> Intervals:
    (found,) = of_plans(one, one.estimate(), known)
    return found


def same_numbers(a: Intervals, b: Intervals) -> None:
    for figure in FIGURES:
        for end in ("low", "middle", "high"):
            assert getattr(a[figure], end) == pytest.approx(getattr(b[figure], end), rel=1e-9)


@settings(max_examples=25, phases=[Phase.explicit, Phase.generate])
@given(
    system=st.sampled_from(["dgx-h100", "dgx-a100-80gb", "dgx-1-v100-16gb", "pcie-8x-rtx-4090"]),
    data=st.sampled_from([1, 2, 4, 8, 16]), tensor=st.sampled_from([1, 2]), zero=st.sampled_from([0, 1, 3]),
    micro=st.sampled_from([1, 2, 3]), software=st.sampled_from(["nemo", MEASURED, "pytorch-2-eager"]),
)  # fmt: skip
def test_low_is_below_the_prediction_and_high_above(
    system: str, data: int, tensor: int, zero: int, micro: int, software: str
) -> None:
    plan = {"data_parallel": data, "tensor_parallel": tensor, "zero_stage": zero, "micro_batch_size": micro}
    one = asked(system, software, **plan)
    found, estimate = told(one), one.estimate()
    for figure in FIGURES:
        assert 0.0 <= found[figure].low <= found[figure].middle <= found[figure].high
    assert found["step_seconds"].middle == float(estimate.time.total_seconds)
    assert found["memory_bytes"].middle == float(estimate.memory.total_bytes)
    assert 0.9 < sum(cause.share for cause in found.causes) <= 1.0 + 1e-9
    assert found.spread >= np.hypot(known.spreads.source, known.spreads.noise)
    assert all((basis.word == "measured") >= (not basis.reason) for k, basis in found.bases.items() if k in FIGURES)


def test_alone_and_in_an_array() -> None:
    many = asked("dgx-h100", data_parallel=np.array([1, 2, 8]), micro_batch_size=4)  # type: ignore[arg-type]
    grid = replace(many, plan=Plan(data_parallel=np.array([[1], [2], [8]]), micro_batch_size=np.array([4, 6])))
    flat, gridded = of_plans(many, many.estimate(), known), of_plans(grid, grid.estimate(), known)
    for i, data in enumerate((1, 2, 8)):
        one = told(asked("dgx-h100", data_parallel=data, micro_batch_size=4))
        same_numbers(one, flat[i])
        same_numbers(one, gridded[2 * i])
        assert one.bases == flat[i].bases


def test_a_row_of_a_sweep_is_the_plan_alone() -> None:
    sweep = ps.sweep("bert")
    rows = sweep.best_per_gpu()[[0, 3, 40, 77]].tolist()
    for row, one in zip(rows, ps.sweep_intervals(sweep, rows), strict=True):
        system, plan, estimate = sweep.row(row)
        inputs = Inputs(sweep.workload, system, plan, sweep.software, sweep.calibration)
        (alone,) = of_plans(inputs, estimate, known)
        same_numbers(one, alone)
        assert one.bases == alone.bases


def test_rows_beyond_the_most_have_a_basis_all_the_same() -> None:
    sweep = ps.sweep("bert")
    found = of_sweep(sweep, [0] * 1025, known)
    assert found[0].ranges and not found[-1].ranges and found[-1].bases == found[0].bases


@pytest.mark.parametrize(("shown", "ruled"), [("rtx-3090", "rtx-3060-12gb"), ("rtx-4090", "rtx-4070"), ("a10", "a10g")])
def test_a_card_by_rule_is_known_less_well_than_one_that_runs_have_shown(shown: str, ruled: str) -> None:
    one, other = (told(asked(f"1x {card}", micro_batch_size=32)) for card in (shown, ruled))
    assert (one.basis.word, other.basis.word) == ("measured", "extrapolated")
    assert other.spread > 1.1 * one.spread
    name, architecture = known.gpu(ruled).name, known.gpu(ruled).architecture.title()
    assert other.basis.reason == f"no measured run on {name}, products by the rule for {architecture}"


def test_kernels_without_a_run_are_fitted() -> None:
    assert told(asked("1x a30")).basis.text == "fitted: measured kernels but no measured run on A30 PCIe"


def test_software_unlike_the_one_that_ran_is_known_less_well() -> None:
    one = asked("1x a100-sxm4-80gb")
    gpu, system = one.system.gpu, known.system_spec(one.system.key)
    card = known.gpu_spec(gpu.key)
    own, mapped = (
        knobs(one.workload, gpu, card, system, one.software, known, is_mapped) for is_mapped in (False, True)
    )
    mapped = [replace(knob, spread=known.spreads.kinds.get(knob.kind, knob.spread)) if "unlike" in knob.key else knob
              for knob in mapped]  # fmt: skip
    first, second = (next(intervals(one, one.estimate(), [each], known.spreads)) for each in (own, mapped))
    assert second.spread > first.spread


def test_a_slow_network_that_no_run_has_shown_is_known_less_well() -> None:
    fast = told(asked("dgx-h100", data_parallel=16))
    slow = told(asked("runpod-8x_h100", data_parallel=16))
    assert slow.spread > 1.2 * fast.spread
    assert "no measured run over ethernet" in slow.basis.reason
    assert "ethernet" not in told(asked("runpod-8x_h100", data_parallel=8)).basis.reason


def test_one_gpu_knows_nothing_of_links() -> None:
    boxed, node = told(asked("1x a100-sxm4-80gb")), told(asked("dgx-a100-80gb"))
    assert boxed.spread == pytest.approx(node.spread, rel=1e-12) and boxed.basis == node.basis


def test_what_no_run_has_shown_is_said() -> None:
    eager = told(asked("dgx-h100", "pytorch-2-eager"))
    assert "no measured run with" in eager.basis.text and eager.bases["memory_bytes"].word == "extrapolated"
    one = asked("1x rtx-4090")
    images = replace(one, workload=ps.workload("resnet-50", global_batch_size=32))
    assert "no measured run of a convolutional model" in told(images).basis.reason
    assert told(one).bases["memory_capacity_bytes"].word == "datasheet"


def test_the_spread_is_that_of_numbers_source_and_noise() -> None:
    one = asked("1x a100-sxm4-80gb")
    spreads = known.spreads
    exact = [replace(knob, spread=0.0) for knob in knobs_of(one, known)]
    found = next(intervals(one, one.estimate(), [exact], spreads))
    assert found.spread == pytest.approx(np.hypot(spreads.source, spreads.noise))
    assert float(spread_of([1.0, 0.5], [0.3, 0.4], replace(spreads, source=0.2, noise=0.1))) == pytest.approx(
        np.sqrt(0.09 + 0.04 + 0.04 + 0.01)
    )
    assert found["job_kwh"].high / found["job_kwh"].middle > found["job_hours"].high / found["job_hours"].middle


def test_start_up_does_not_scale_with_the_step() -> None:
    """What is fixed has no spread: of a job that is nearly all start-up little is uncertain."""
    one = asked("dgx-h100", data_parallel=8)
    one = replace(one, system=replace(one.system, rates=rates([Offer("on-demand", "h100-sxm5-80gb", 8, 16.0)], 8)))

    def reach(figure: str, site: ps.Site) -> float:
        (found,) = ps.intervals(one.workload, one.system, one.plan, one.software, site=site)
        return found[figure].high / found[figure].middle

    short, long = ps.Site(start_up_seconds=0.0), ps.Site(start_up_seconds=1e5)
    for figure in ("job_hours", "job_usd", "job_kwh"):
        assert reach(figure, long) < 1.001 < 1.05 < reach(figure, short)
    (found,) = ps.intervals(one.workload, one.system, one.plan, one.software, site=ps.Site(start_up_seconds=3600.0))
    assert found["job_hours"].low > 1.0 and found["job_hours"].middle - found["job_hours"].low > 0.0


def test_a_price_of_ones_own_adds_electricity() -> None:
    one = asked("1x rtx-4090", micro_batch_size=32)
    one = replace(one, system=replace(one.system, rates=rates([Offer("on-demand", "rtx-4090", 1, 0.5)], 1)))
    (rented,) = ps.intervals(one.workload, one.system, one.plan, one.software)
    site = ps.Site(price="own", usd_per_kwh=5.0)
    (bought,) = ps.intervals(one.workload, one.system, one.plan, one.software, site=site)
    ratio = {name: found["job_usd"].high / found["job_usd"].middle for name, found in (("r", rented), ("b", bought))}
    assert ratio["r"] == pytest.approx(rented["job_hours"].high / rented["job_hours"].middle)
    assert ratio["r"] < ratio["b"]
