"""The sustained clock against a solver that cannot be wrong, and the laws of physics over random cards and work."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim.core.power import CardPower, PowerControl, ProcessPower
from perfsim.formulas.power import (
    Activity,
    busy_joules,
    busy_seconds,
    card_power,
    sustained_clock,
    sustained_flops_per_s,
    voltage_ratio,
)

CONTROL = PowerControl(0.985, 0.10, 0.26)
V100 = CardPower(38.0, 66.0, {"fp32": 1.5e-11}, 4.5e-11, 0.594, 0.72)


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    """A million steps from low to high: no number so small that its products underflow."""
    return st.integers(0, 1_000_000).map(lambda step: low + (high - low) * (step * 1e-6))


cards = st.builds(
    CardPower, numbers(5.0, 300.0), numbers(0.0, 800.0), st.just({"bf16": 1e-12}), st.just(4e-11),
    numbers(0.3, 0.95), numbers(0.4, 1.0),
)  # fmt: skip
works = st.builds(Activity, numbers(0.001, 10.0), numbers(0.0, 10.0), numbers(0.0, 9000.0), numbers(0.0, 3000.0))
limits = numbers(30.0, 1500.0)


class Sustained:
    """Work at the clock its limit leaves."""

    def __init__(self, work: Activity, card: CardPower, limit: object) -> None:
        self.clock = sustained_clock(work, card, limit, CONTROL)
        self.seconds = busy_seconds(work, self.clock, CONTROL)
        self.joules = busy_joules(work, card, self.clock, CONTROL)


def mean_watts(work: Activity, card: CardPower, clock: float) -> float:
    return float(busy_joules(work, card, clock, CONTROL) / busy_seconds(work, clock, CONTROL))


def bisected(work: Activity, card: CardPower, limit: float) -> float:
    target = CONTROL.limit_share * limit
    if mean_watts(work, card, 1.0) <= target:
        return 1.0
    low, high = CONTROL.clock_floor, 1.0
    if mean_watts(work, card, low) > target:
        return low
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if mean_watts(work, card, middle) > target else (middle, high)
    return high


@given(works, cards, limits)
def test_the_clock_is_the_root_that_bisection_finds(work: Activity, card: CardPower, limit: float):
    assert float(sustained_clock(work, card, limit, CONTROL)) == pytest.approx(bisected(work, card, limit), rel=1e-6)


@given(works, cards, limits)
def test_the_clock_is_a_share(work: Activity, card: CardPower, limit: float):
    assert CONTROL.clock_floor <= float(sustained_clock(work, card, limit, CONTROL)) <= 1.0


@given(works, cards, limits)
def test_a_limit_that_can_be_held_is_held(work: Activity, card: CardPower, limit: float):
    clock = float(sustained_clock(work, card, limit, CONTROL))
    if clock > CONTROL.clock_floor:
        assert mean_watts(work, card, clock) <= limit * CONTROL.limit_share * (1 + 1e-6)


@given(works, cards, limits, numbers(1.0, 3.0))
def test_a_higher_limit_is_never_slower(work: Activity, card: CardPower, limit: float, more: float):
    low, high = (Sustained(work, card, watts) for watts in (limit, limit * more))
    assert float(high.clock) >= float(low.clock) * (1 - 1e-9)
    assert float(high.seconds) <= float(low.seconds) * (1 + 1e-9)


@given(works, cards, limits)
def test_energy_never_falls_below_what_waiting_and_memory_cost(work: Activity, card: CardPower, limit: float):
    found = Sustained(work, card, limit)
    least = card.idle_watts * found.seconds + work.memory_joules + work.core_joules * card.voltage_floor**2
    assert float(found.joules) >= float(least) * (1 - 1e-12)


@given(works, cards, limits, numbers(1.0, 4.0))
def test_more_work_of_the_same_kind_keeps_the_clock(work: Activity, card: CardPower, limit: float, times: float):
    longer = Activity(*(times * getattr(work, f.name) for f in fields(work)))
    assert float(sustained_clock(longer, card, limit, CONTROL)) == pytest.approx(
        float(sustained_clock(work, card, limit, CONTROL)), rel=1e-9
    )


@given(st.lists(st.tuples(works, limits), min_size=2, max_size=7), cards)
def test_alone_equals_in_an_array(rows: list[tuple[Activity, float]], card: CardPower):
    columns = (np.array([getattr(work, f.name) for work, _ in rows]) for f in fields(Activity))
    together = Sustained(Activity(*columns), card, np.array([limit for _, limit in rows]))
    for place, (work, limit) in enumerate(rows):
        alone = Sustained(work, card, limit)
        for name in ("clock", "seconds", "joules"):
            assert np.asarray(getattr(together, name))[place] == float(getattr(alone, name))


def test_limits_and_work_have_axes_of_their_own():
    work = Activity(np.array([[1.0], [0.5]]), np.array([[0.0], [0.5]]), 250.0, 20.0)
    assert np.shape(sustained_clock(work, V100, np.array([100.0, 200.0, 300.0]), CONTROL)) == (2, 3)


def test_memory_bound_work_does_not_stretch():
    work = Activity(0.0, 1.0, 250.0, 20.0)
    found = Sustained(work, V100, 200.0)
    assert float(found.clock) < 1.0
    assert float(found.seconds) == 1.0


def test_below_the_knee_voltage_stays():
    assert [float(voltage_ratio(clock, 0.6, 0.7)) for clock in (0.1, 0.6)] == [0.7, 0.7]


def test_a_limit_no_clock_can_hold_leaves_the_lowest_clock():
    assert float(sustained_clock(Activity(1.0, 0.0, 250.0, 0.0), V100, 30.0, CONTROL)) == CONTROL.clock_floor


def test_v100_answers_a_limit_as_measured():
    """ml-energy/zeus, medians of 20 workloads on V100 250 W: 1.058 at 200 W, 1.184 at 150 W, 1.44 at 125 W."""
    work = Activity(0.64, 0.28, 0.72 * 0.73 * 250 * 0.92, 0.08 * 250 * 0.92)
    card = replace(V100, busy_watts=0.28 * 0.73 * 250)
    seconds = [float(Sustained(work, card, watts).seconds) for watts in (250.0, 200.0, 150.0)]
    assert [s / seconds[0] for s in seconds[1:]] == [pytest.approx(1.058, abs=0.02), pytest.approx(1.184, abs=0.03)]


def test_l4_products_stop_at_their_power_limit():
    """zzc0721/torch-performance-test-data: 70.9 TFLOP/s of bf16 products on L4 (72 W, 121 TFLOP/s)."""
    ada = ProcessPower(0.24, 1.2e-10, {"bf16": 5.7e-13}, 1.6e9, 1.5)
    card = card_power(ada, 2.04e9, 58, 72.0, 6e-11)
    assert float(sustained_flops_per_s(card, 0.87 * 121e12, "bf16", 72.0, CONTROL)) == pytest.approx(71e12, rel=0.08)
