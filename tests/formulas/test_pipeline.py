"""Closed forms of pipeline schedules: published bubbles, limits, bounds; the simulation is in tests/graphs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim.core.plan import Schedule
from perfsim.formulas.pipeline import Work, cycle_seconds, in_flight, lower_bound, pipeline

GPIPE, ONE, H1, V, DUAL = Schedule
some = st.floats(1e-3, 10.0)


@given(some, st.integers(1, 64), st.integers(1, 64), st.integers(1, 8))
def test_equal_stages_without_sends_are_narayanans(work: float, stages: int, microbatches: int, virtual: int) -> None:
    """Narayanan et al. 2021 (arXiv 2104.04473): m·w + (p - 1)·w/v."""
    found = pipeline(Work(work / 3, work / 3, work / 3), 0.0, 0.0, ONE, stages, microbatches, virtual)
    assert found.total_seconds == pytest.approx(microbatches * work + (stages - 1) * work / virtual)


@given(st.sampled_from(list(Schedule)), some, some, some, st.sampled_from([2, 4, 8]), st.sampled_from([16, 32]))
def test_never_less_than_the_busiest_stage(
    schedule: Schedule, work: float, head: float, embedding: float, stages: int, microbatches: int
) -> None:
    v = 2 if schedule is V else 1
    found = pipeline(Work(work, work, work), head + embedding, head, schedule, stages, microbatches, v)
    heaviest = {V: head + embedding, DUAL: (head + embedding) / 2}.get(schedule, max(head, embedding))
    assert found.work_seconds >= microbatches * (3 * work + heaviest) * (1 - 1e-12)
    assert found.bubble_seconds >= 0.0 and found.send_seconds >= 0.0


@pytest.mark.parametrize(
    ("schedule", "virtual", "bubble"),
    [
        (GPIPE, 1, 7 * 3.0),
        (ONE, 1, 7 * 3.0),
        (ONE, 2, 7 * 3.0 / 2),
        (H1, 1, 7 * 1.0),  # a third of 1F1B's, sail-sg/zero-bubble-pipeline-parallelism README
        (V, 2, 7 * 0.5),  # stages start one after another, then never wait
        (DUAL, 1, 3 * (3.0 + 2.0 - 3 * 1.0)),  # (p/2-1)(F&B + B - 3W), deepseek-ai/DualPipe README
    ],
)
def test_published_bubbles_of_eight_stages(schedule: Schedule, virtual: int, bubble: float) -> None:
    found = pipeline(Work(1.0, 1.0, 1.0), 0.0, 0.0, schedule, 8, 32, virtual)
    assert found.bubble_seconds == pytest.approx(bubble) and found.work_seconds == pytest.approx(96.0)


def test_one_stage_has_no_pipeline() -> None:
    for schedule in Schedule:
        found = pipeline(Work(1.0, 1.0, 1.0, send=0.5), 0.25, 0.125, schedule, 1, 8, 1)
        assert (found.work_seconds, found.bubble_seconds, found.send_seconds) == (8 * 3.25, 0.0, 0.0)


@given(st.lists(st.tuples(st.sampled_from(list(Schedule)), st.sampled_from([2, 4, 8]), st.integers(8, 40), some)))
def test_alone_as_in_an_array(plans: list[tuple[Schedule, int, int, float]]) -> None:
    if not plans:
        return
    name, p, m, x = (np.array(column) for column in zip(*plans, strict=True))
    together = pipeline(Work(x, 1.1 * x, 0.9 * x, 0.01), 0.3, 0.2, name, p, m, 1)
    for i, plan in enumerate(plans):
        alone = pipeline(Work(plan[3], 1.1 * plan[3], 0.9 * plan[3], 0.01), 0.3, 0.2, *plan[:3], 1)
        assert together.total_seconds[i] == alone.total_seconds


@pytest.mark.parametrize(
    ("schedule", "stages", "stage", "microbatches", "virtual", "expected"),
    [
        (ONE, 4, 0, 8, 1, 4),
        (ONE, 4, 3, 8, 1, 1),
        (ONE, 4, 0, 2, 1, 2),
        (ONE, 4, 0, 8, 2, (2 * 3 + 4 + 1) / 2),
        (ONE, 1, 0, 8, 1, 1),
        (GPIPE, 4, 0, 8, 1, 8),
        (H1, 4, 3, 8, 1, 4),
        (H1, 1, 0, 8, 1, 1),
        (V, 4, 3, 8, 2, 4),
        (DUAL, 4, 3, 8, 1, 5 / 2),
    ],
)
def test_in_flight(
    schedule: Schedule, stages: int, stage: int, microbatches: int, virtual: int, expected: float
) -> None:
    assert in_flight(schedule, stages, stage, microbatches, virtual) == expected


def test_cycle_of_a_slow_stage_and_of_hand_overs() -> None:
    one = np.ones(4)
    assert cycle_seconds(Work(one, one, one), ONE) == 3.0
    assert cycle_seconds(Work(one, one, one, send=0.4), ONE) == pytest.approx(3.0 + 2 * 0.4 * 3 / 4)
    slow = np.array([1.0, 2.0, 1.0, 1.0])
    assert cycle_seconds(Work(slow, one, one, send=0.1), ONE) == pytest.approx(4.0)
    assert cycle_seconds(Work(slow, np.array([1.0, 1.0, 3.0, 1.0]), one), GPIPE) == pytest.approx(2.0 + 4.0)


def test_bound_is_the_round_trip_of_one_micro_batch() -> None:
    one = np.ones(4)
    assert lower_bound(Work(one, one, one, send=0.1), ONE, 1) == pytest.approx(4 * 3 + 6 * 0.1)
