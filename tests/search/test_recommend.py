"""Recommendations: the best of all plans by brute force, as sure as their intervals, no worse with more room."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import perfsim as ps
from perfsim.core.results import Estimate
from perfsim.core.site import Site
from perfsim.formulas.fits import surely_fits
from perfsim.inputs.recommend import Ask, owned_system, recommended, rentable
from perfsim.search.recommend import CRITERIA, Choice, Recommendation, chance_below
from perfsim.search.space import Space
from perfsim.search.uncertainty import Range
from perfsim.units import JOULES_PER_KWH

KNOWN = ps.catalogue()
JOB = ps.workload("bert-large", seq_len=128, samples=12_000, epochs=3, global_batch_size=128, precision="amp-fp16")
SPACE = Space(counts=(1, 2, 4), pipeline_parallel=(1,), virtual_stages=(1,))


def asked(deadline: float = 0.0, budget: float = 0.0, own: tuple[str, ...] = (), rent: str = "A30") -> Ask:
    site = Site(deadline_hours=deadline, budget_usd=budget)
    owned = tuple(owned_system(name, KNOWN) for name in own)
    rented = rentable([rent, "A100 PCIe 80GB"], SPACE.counts, KNOWN, site) if rent else ()
    return Ask(JOB, KNOWN.software("pytorch-2-eager"), KNOWN.calibration(), site, owned, rented, SPACE)


@lru_cache(maxsize=64)
def found(deadline: float = 0.0, budget: float = 0.0, own: tuple[str, ...] = (), rent: str = "A30") -> Recommendation:
    return recommended(asked(deadline, budget, own, rent), KNOWN)


def every_estimate(answer: Recommendation) -> list[tuple[int, Estimate]]:
    """(GPUs, estimate) of every plan that was kept and surely fits."""
    rows = [(pool.sweep, row) for pool in answer.pools for row in range(len(pool.sweep))]
    kept = [(int(sweep.row(row)[1].gpus), sweep.row(row)[2]) for sweep, row in rows]
    return [
        (gpus, one)
        for gpus, one in kept
        if surely_fits(one.memory.total_bytes, one.memory_capacity_bytes, one.memory_spread)
    ]


@pytest.mark.parametrize("own", [(), ("2x RTX 3090",)])
def test_each_criterion_is_the_best_of_all_plans(own: tuple[str, ...]) -> None:
    answer = found(own=own)
    plans = every_estimate(answer)
    assert answer["cheapest"].figure("job_usd") == min(float(one.job_usd) for _, one in plans)
    assert answer["greenest"].figure("job_kwh") == min(float(one.job_kwh) for _, one in plans)
    assert answer["fastest"].figure("job_hours") == min(float(one.job_hours) for _, one in plans)
    assert answer["smallest"].figure("gpus") == min(gpus for gpus, _ in plans)


def test_what_is_owned_costs_its_electricity_alone() -> None:
    choice = found(own=("2x RTX 3090",), rent="")["cheapest"]
    assert choice.tenure == "owned"
    assert choice.figure("job_usd") == pytest.approx(choice.figure("job_kwh") * choice.site.usd_per_kwh)
    in_steps = float(choice.parts[2].energy.total_joules) * float(JOB.steps) / JOULES_PER_KWH
    assert in_steps < choice.figure("job_kwh") < 1.3 * in_steps  # the rest is start-up and saving


def test_a_set_that_is_owned_is_not_exceeded() -> None:
    answer = found(own=("2x RTX 3090",), rent="")
    assert {gpus for gpus, _ in every_estimate(answer)} == {1, 2}


@settings(max_examples=6)
@given(first=st.floats(0.02, 0.5), second=st.floats(0.02, 0.5))
def test_a_later_deadline_never_costs_more(first: float, second: float) -> None:
    tight, loose = (round(limit, 2) for limit in sorted((first, second)))
    early, late = found(tight), found(loose)
    if early and early.is_sure:
        assert late and late.is_sure
        assert late["cheapest"].figure("job_usd") <= early["cheapest"].figure("job_usd") * (1 + 1e-12)


def test_choices_keep_the_limits_by_the_ends_of_their_intervals() -> None:
    unlimited = found()["cheapest"]
    limit = round(unlimited.figure("job_hours") * 1.02, 4)  # the cheapest plan keeps it, but is not sure to
    answer = found(limit)
    assert answer.is_sure and answer["cheapest"].cards != unlimited.cards
    assert all(choice.chance >= 0.95 for choice, _ in answer.choices.values())
    relaxed = [change.choice.cards for change in answer.changes if change.kind == "limits"]
    assert relaxed == [unlimited.cards]


def test_where_nothing_keeps_the_limits_the_changes_do() -> None:
    answer = found(deadline=1e-4)
    assert not answer and answer.changes
    with pytest.raises(KeyError):
        answer["cheapest"]
    kinds = [change.kind for change in answer.changes]
    assert kinds[0] == "limits" and "gpus" in kinds
    fastest = found()["fastest"]
    assert answer.changes[0].choice.figure("job_hours") == pytest.approx(fastest.figure("job_hours"))


def test_renting_is_named_where_only_what_is_owned_was_asked_for_and_fails() -> None:
    answer = found(deadline=0.05, own=("GTX 1080",), rent="")
    assert not answer
    (rented,) = [change.choice for change in answer.changes if change.kind == "rent"]
    assert rented.tenure == "rented" and rented.figure("job_hours") < 0.05


def test_the_runner_up_is_another_set_and_no_better() -> None:
    for criterion, (best, other) in found(own=("2x RTX 3090",)).choices.items():
        assert other is not None and other.cards != best.cards
        deciding = CRITERIA[criterion][0]
        assert best.figure(deciding) <= other.figure(deciding)


def test_the_runner_up_overtakes_with_a_chance_that_its_lead_tells() -> None:
    answer = found(rent="A100 PCIe 80GB")
    best, other = answer.choices["cheapest"]
    assert other is not None and other.figure("job_usd") > best.figure("job_usd")
    assert 0.0 < answer.overtaken < 0.5


@given(middle=st.floats(0.1, 100.0), spread=st.floats(1.01, 3.0), limit=st.floats(0.01, 1000.0))
def test_chances_follow_the_interval(middle: float, spread: float, limit: float) -> None:
    one = Range(middle / spread, middle, middle * spread)
    assert chance_below(one.middle, one) == pytest.approx(0.5)
    assert chance_below(one.high, one) == pytest.approx(0.95, abs=1e-4)  # 1.645 for the 95th percentile
    assert chance_below(limit, one) <= chance_below(limit * 1.1, one)


def test_a_flat_record_for_trackers() -> None:
    flat = found().to_dict()
    assert flat["cheapest_gpu"] == found()["cheapest"].parts[0].gpu.key
    assert all(isinstance(value, int | float | str) for value in flat.values())
    assert flat["fastest_job_hours_low"] < flat["fastest_job_hours"] < flat["fastest_job_hours_high"]


def test_a_count_between_powers_of_two_is_found() -> None:
    """Eight do not keep the deadline of what would be the smallest set, but fewer than sixteen do."""
    ask = replace(asked(rent="A30"), space=replace(SPACE, counts=()))
    eight = recommended(ask, KNOWN)["fastest"]
    assert int(eight.figure("gpus")) == 8
    four = min(
        float(hours)
        for pool in eight_pools(eight)
        for hours, gpus in zip(np.asarray(pool.estimates.job_hours), np.asarray(pool.plans.gpus), strict=True)
        if gpus == 4
    )
    between = 0.5 * (four + eight.figure("job_hours"))
    answer = recommended(replace(ask, site=Site(deadline_hours=between)), KNOWN)
    assert 4 <= answer["smallest"].figure("gpus") <= 8 and answer["smallest"].figure("job_hours") <= between


def eight_pools(choice: Choice) -> list[ps.Sweep]:
    return [choice.pool.sweep]
