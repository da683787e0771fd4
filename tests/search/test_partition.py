"""Cuts and choices equal those found by trying all of them."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim.core.plan import Schedule
from perfsim.formulas.pipeline import Work
from perfsim.graphs.schedule import order_of, simulate
from perfsim.search.partition import QUANTA, Partition, Units, partition, stage_bytes


@st.composite
def problems(draw: st.DrawFn, most_choices: int) -> tuple[Units, np.ndarray, np.ndarray, float]:
    stages, choices = draw(st.integers(1, 4)), draw(st.integers(1, most_choices))
    count = draw(st.integers(stages, 7 if choices == 1 else 5))
    unlike = (stages,) if draw(st.booleans()) else ()

    def numbers(*shape: int) -> np.ndarray:
        size = int(np.prod(shape))
        return np.array(draw(st.lists(st.integers(0, 9), min_size=size, max_size=size)), dtype=float).reshape(shape)

    units = Units(
        1.0 + numbers(*unlike, choices, count), numbers(count), numbers(choices, count), numbers(choices, count),
        draw(st.integers(0, 4)), 0.25 * numbers(count - 1),
    )  # fmt: skip
    capacity = np.array(draw(st.lists(st.sampled_from([16.0, 32.0, 64.0, 128.0]), min_size=stages, max_size=stages)))
    in_flight = np.arange(stages, 0, -1.0)
    return units, capacity, in_flight, draw(st.sampled_from([1.0, 2.0, 8.0, 100.0, np.inf]))


def brute(units: Units, capacity: np.ndarray, in_flight: np.ndarray, m: float) -> float:
    """The least value over all cuts and choices; inf where none fits."""
    stages, count = len(capacity), len(units.fixed_bytes)
    seconds = np.broadcast_to(units.seconds, (stages, *units.seconds.shape[-2:]))
    cut_cost = np.concatenate([[0.0], units.send_seconds, [0.0]])
    best = np.inf
    for inner in combinations(range(1, count), stages - 1):
        cuts = (0, *inner, count)
        for choices in product(range(len(units.kept_bytes)), repeat=count):
            if np.any(stage_bytes(units, cuts, np.array(choices), in_flight) > capacity):
                continue
            took = [
                sum(seconds[i, choices[u], u] for u in range(cuts[i], cuts[i + 1]))
                + cut_cost[cuts[i]]
                + cut_cost[cuts[i + 1]]
                for i in range(stages)
            ]
            best = min(best, max(took) if m == np.inf else sum(took) + (m - 1.0) * max(took))
    return best


@given(problems(most_choices=1))
def test_cuts_are_those_of_enumeration(problem: tuple[Units, np.ndarray, np.ndarray, float]) -> None:
    found, least = partition(*problem), brute(*problem)
    assert (found is None) == (least == np.inf)
    if found is not None:
        assert found.seconds == pytest.approx(least)
        fits(found, problem)


@given(problems(most_choices=3))
def test_choices_are_those_of_enumeration_where_bytes_are_whole_quanta(
    problem: tuple[Units, np.ndarray, np.ndarray, float],
) -> None:
    """Capacities are powers of two up to the number of quanta, so that nothing is rounded."""
    found, least = partition(*problem), brute(*problem)
    assert QUANTA % int(problem[1].max()) == 0 and (found is None) == (least == np.inf)
    if found is not None:
        assert found.seconds == pytest.approx(least)
        fits(found, problem)


@given(problems(most_choices=3), st.floats(0.3, 1.0))
def test_rounding_up_is_never_unsafe(problem: tuple[Units, np.ndarray, np.ndarray, float], scale: float) -> None:
    units, capacity, in_flight, m = problem
    found = partition(units, scale * capacity, in_flight, m)
    if found is not None:
        assert found.seconds >= brute(units, scale * capacity, in_flight, m) - 1e-9
        fits(found, (units, scale * capacity, in_flight, m))


def fits(found: Partition, problem: tuple[Units, np.ndarray, np.ndarray, float]) -> None:
    assert np.all(found.stage_bytes <= problem[1]) and len(found.stage_seconds) == len(problem[1])


def test_layers_alike_are_dealt_evenly_and_the_ends_count() -> None:
    layers = 12
    units = Units(
        np.array([[0.5, *[1.0] * layers, 2.0]]), np.ones(layers + 2), np.zeros((1, layers + 2)),
        np.zeros((1, layers + 2)), 0.0, np.zeros(layers + 1),
    )  # fmt: skip
    found = partition(units, np.full(4, np.inf), np.arange(4, 0, -1.0))
    assert found is not None and found.stage_seconds.max() == 4.0 and found.cuts[-2] >= 12


def test_a_quick_card_takes_more_layers_and_memory_bounds_it() -> None:
    seconds = np.array([[[1.0] * 12], [[2.0] * 12]])
    none = np.zeros((1, 12))
    units = Units(seconds, np.ones(12), none, none, 0.0, np.zeros(11))
    free = partition(units, np.array([99.0, 99.0]), np.array([2.0, 1.0]))
    tight = partition(units, np.array([6.0, 99.0]), np.array([2.0, 1.0]))
    assert free is not None and free.cuts == (0, 8, 12)
    assert tight is not None and tight.cuts == (0, 6, 12) and tight.seconds == 12.0


@given(problems(most_choices=1))
def test_no_1f1b_run_takes_longer_than_the_bound(problem: tuple[Units, np.ndarray, np.ndarray, float]) -> None:
    units, _, in_flight, _ = problem
    send, stages = 0.25, len(in_flight)
    alike = Units(units.seconds, units.fixed_bytes, units.kept_bytes, units.passing_bytes, 0.0,
                  np.full(len(units.send_seconds), send))  # fmt: skip
    found = partition(alike, np.full(stages, np.inf), in_flight, 16.0)
    assert found is not None
    handed = send * (2.0 - (np.arange(stages) == 0) - (np.arange(stages) == stages - 1))
    thirds = (found.stage_seconds - handed)[None] / 3.0
    took = simulate(order_of(Schedule.ONE_F_ONE_B, stages, 16), Work(thirds, thirds, thirds, send)).total_seconds
    assert took <= found.seconds + 1e-9
