"""Sensitivity of a choice between two plans: laws, and the uncertain numbers that perfsim knows."""

from dataclasses import replace
from math import log, sqrt

import numpy as np
import pytest

import perfsim as ps
from perfsim.core.plan import Plan, Recompute
from perfsim.inputs.knobs import PRIORS, knobs_of
from perfsim.search.sensitivity import Inputs, Knob, Sensitivity, expected_regret, scaled, sensitivity, wrong_chance


def inputs(system: str, software: str = "megatron-core", steps: int = 1, **plan: int) -> Inputs:
    workload = ps.workload(
        ps.model("llama3-8b"), seq_len=2048, global_batch_size=32, precision="bf16-mixed", steps=steps
    )
    known = ps.catalogue()
    return Inputs(workload, known.system(system), Plan(**plan), known.software(software), known.calibration())


SHARDED = inputs("dgx-h100", data_parallel=8, zero_stage=3)
SLICED = inputs("dgx-h100", data_parallel=2, zero_stage=1, tensor_parallel=4, sequence_parallel=True)
OTHER_CARD = inputs("dgx-a100-80gb", data_parallel=8, zero_stage=3)


def compared(a: Inputs, b: Inputs, certainty: float = 1.0) -> Sensitivity:
    def knobs(one: Inputs) -> list[Knob]:
        return [replace(knob, spread=certainty * knob.spread) for knob in knobs_of(one, ps.catalogue())]

    return sensitivity(a, b, knobs(a), knobs(b))


def step_seconds(one: Inputs) -> float:
    return float(one.estimate().time.total_seconds)


@pytest.mark.parametrize("pair", [(SHARDED, SLICED), (SHARDED, OTHER_CARD)])
def test_at_its_flip_a_number_makes_the_two_equal(pair: tuple[Inputs, Inputs]) -> None:
    owned = [{knob.key for knob in knobs_of(one, ps.catalogue())} for one in pair]
    found = compared(*pair)
    flips = [lever for lever in found.levers if lever.flip]
    assert flips and found.gap == pytest.approx(log(step_seconds(pair[1]) / step_seconds(pair[0])))
    for lever in flips:
        turned = [
            lever.knob.turned(one, lever.flip) if lever.knob.key in keys else one
            for one, keys in zip(pair, owned, strict=True)
        ]
        assert step_seconds(turned[0]) == pytest.approx(step_seconds(turned[1]), rel=1e-6)
        assert lever.knob.least <= lever.flip <= lever.knob.most


def test_those_nearest_to_their_flip_come_first() -> None:
    levers = compared(SHARDED, SLICED).levers
    assert [lever.sigmas for lever in levers] == sorted(lever.sigmas for lever in levers)
    assert any(lever.sigmas < 3 for lever in levers)


def test_the_same_plan_twice_has_no_gap_and_no_spread() -> None:
    found = compared(SHARDED, SHARDED)
    assert (found.gap, found.spread, found.wrong_chance, found.expected_regret) == (0.0, 0.0, 0.5, 0.0)
    assert not any(lever.flip for lever in found.levers)


def test_what_is_known_exactly_leaves_no_doubt() -> None:
    found = compared(SHARDED, SLICED, certainty=0.0)
    assert (found.spread, found.wrong_chance, found.expected_regret) == (0.0, 0.0, 0.0)
    assert all(lever.sigmas == float("inf") for lever in found.levers)


def test_a_number_that_one_plan_alone_uses() -> None:
    levers = {lever.knob.key: lever for lever in compared(SHARDED, OTHER_CARD).levers}
    of_one, of_other = levers["h100-sxm5-80gb bf16"], levers["a100-sxm4-80gb bf16"]
    assert of_one.elasticities[1] == of_other.elasticities[0] == 0.0
    assert of_one.elasticities[0] < -0.1 and of_other.elasticities[1] < -0.1
    alone = inputs("dgx-h100", data_parallel=1)
    held = {lever.knob.key: lever for lever in compared(alone, SLICED).levers}["nvswitch-3 rate"]
    assert held.elasticities[0] == 0.0 > held.elasticities[1]


def test_exchanged_plans_mirror() -> None:
    one, other = compared(SHARDED, SLICED), compared(SLICED, SHARDED)
    assert one.gap == -other.gap and one.spread == pytest.approx(other.spread)
    assert one.wrong_chance == pytest.approx(other.wrong_chance)
    mirrored = {lever.knob.key: lever for lever in other.levers}
    for lever in one.levers:
        assert lever.elasticities == mirrored[lever.knob.key].elasticities[::-1]
        assert lever.flip == pytest.approx(mirrored[lever.knob.key].flip)


def test_shared_errors_cancel() -> None:
    recomputed = replace(SHARDED, plan=replace(SHARDED.plan, recompute=Recompute.FULL))
    assert compared(SHARDED, recomputed).spread < 0.5 * compared(SHARDED, OTHER_CARD).spread


def test_all_rates_and_times_together_scale_a_step() -> None:
    levers = compared(SHARDED, OTHER_CARD).levers
    for side in (0, 1):
        assert all(-1.5 < lever.elasticities[side] < 1.5 for lever in levers)
        assert sum(abs(lever.elasticities[side]) for lever in levers) > 0.5


def test_jobs_of_known_length_are_compared_by_their_hours() -> None:
    a, b = inputs("dgx-h100", steps=10, data_parallel=8), inputs("dgx-h100", steps=30, data_parallel=8)
    assert compared(a, b).gap == pytest.approx(log(3))


def test_chance_and_regret_are_those_of_drawn_ratios() -> None:
    ratios = np.random.default_rng(0).normal(-0.05, 0.1, 2_000_000)
    assert wrong_chance(0.05, 0.1) == pytest.approx(np.mean(ratios > 0), abs=1e-3)
    assert expected_regret(0.05, 0.1) == pytest.approx(np.mean(np.maximum(0, np.exp(ratios) - 1)), rel=5e-3)
    assert expected_regret(0.0, 1e-3) == pytest.approx(1e-3 / sqrt(2 * np.pi), rel=1e-2)
    assert expected_regret(5.0, 1e-3) == 0.0


def test_every_number_lies_where_its_path_says_and_keeps_what_it_is() -> None:
    for one in (SHARDED, OTHER_CARD, inputs("aws-p4d.24xlarge", "pytorch-2-eager", data_parallel=8)):
        for knob in knobs_of(one, ps.catalogue()):
            assert 0.0 < knob.spread <= 1.0 and 0.0 < knob.least <= 1.0 <= knob.most and knob.name
            assert step_seconds(knob.turned(one, 1.0)) == step_seconds(one)
            assert np.isfinite(step_seconds(knob.turned(one, knob.most)))
            assert np.isfinite(step_seconds(knob.turned(one, knob.least)))
    with pytest.raises(AttributeError):
        scaled(SHARDED, "plan.nonsense", 2.0)


def test_spreads_are_those_that_files_tell_else_those_of_the_basis() -> None:
    spreads = {knob.key: knob.spread for knob in knobs_of(SHARDED, ps.catalogue().before_runs())}
    assert spreads["h100-sxm5-80gb bf16"] == 0.047  # error_percent of calibration/kernels.toml
    assert spreads["nvswitch-3 rate"] == 0.076  # error_percent of calibration/collectives.toml
    assert spreads["infiniband network rate"] == PRIORS["rule"]
    assert spreads["communication_multiprocessor_share"] == 0.6  # [spread] of calibration/shared.toml
    assert spreads["megatron-core host_seconds"] == PRIORS["assumed host time"]
    assert spreads["optimizer_bandwidth_share"] == PRIORS["fitted"]


def test_where_whole_runs_have_shown_a_number_its_spread_is_theirs() -> None:
    known = ps.catalogue()
    for knob in knobs_of(SHARDED, known):
        told = known.spreads.numbers.get(knob.key, known.spreads.kinds.get(knob.kind))
        assert told is None or knob.spread == told


def test_what_remains_of_two_runs_does_not_cancel() -> None:
    found = compared(SHARDED, SLICED)
    noisy = replace(found, noise=0.04, reach=2.0)
    assert noisy.spread == pytest.approx(np.hypot(found.spread, 0.04 * sqrt(2)))
    assert noisy.half_width == 2.0 * noisy.spread and noisy.wrong_chance > found.wrong_chance
    assert replace(compared(SHARDED, SHARDED), noise=0.04).spread == 0.0


def test_a_plain_machine_of_any_card_has_its_numbers() -> None:
    known = ps.catalogue()
    for key in known.names("gpus"):
        one = replace(SHARDED, system=known.box(key, 2))
        assert {knob.key for knob in knobs_of(one, known)} >= {f"{key} power", f"{key} bandwidth_fraction"}
