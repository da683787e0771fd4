"""The simulation of pipelines: held against closed forms, bounds, and what the schedules' authors publish."""

from collections.abc import Sequence
from time import process_time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim.core.plan import Schedule
from perfsim.formulas.pipeline import Work, cycle_seconds, in_flight, lower_bound, pipeline
from perfsim.graphs.schedule import BACKWARD, FORWARD, WEIGHT, held, order_of, peak_held, routes, simulate, step_seconds

GPIPE, ONE, H1, V, DUAL = Schedule
KINDS = [(GPIPE, 1), (ONE, 1), (ONE, 2), (ONE, 3), (H1, 1), (V, 2), (DUAL, 1)]
kinds = st.sampled_from(KINDS)
seconds = st.floats(0.5, 2.0)
hand_overs = st.floats(0.0, 0.1)
stage_counts = st.sampled_from([2, 4, 6, 8])
rounds_of_stages = st.integers(2, 6)


def on_stages(schedule: Schedule, virtual: int, work: Work) -> Work:
    """Seconds [stages, ...] as the chunks of the stages have them: equal parts, or a stage from either end."""
    if schedule is DUAL:
        parts = [np.stack([x, x[::-1]]) for x in (work.forward, work.backward, work.weight)]
    else:
        parts = [np.stack([x / virtual] * virtual) for x in (work.forward, work.backward, work.weight)]
    return Work(*parts, work.send, work.saved)


def equal(stages: int, forward: float, backward: float, weight: float, send: float = 0.0) -> Work:
    return Work(*(np.full(stages, x) for x in (forward, backward, weight)), send)


def simulated(schedule: Schedule, stages: int, microbatches: int, virtual: int, work: Work) -> float:
    order = order_of(schedule, stages, microbatches, virtual)
    return float(simulate(order, on_stages(schedule, virtual, work)).total_seconds)


@given(kinds, stage_counts, rounds_of_stages, seconds, seconds, seconds, hand_overs)
def test_closed_form_is_the_simulation_of_equal_stages(kind, p, rounds, f, b, w, send) -> None:
    """Exact but for ZB-V's rarer paths and the rounding of DualPipe's hand-overs."""
    (schedule, v), m = kind, p * rounds
    send = min(send / v, w / 4)
    closed = pipeline(Work(f, b, w, send), 0.0, 0.0, schedule, p, m, v).total_seconds
    tolerance = {V: 6e-3, DUAL: 6e-3}.get(schedule, 1e-12)
    assert closed == pytest.approx(simulated(schedule, p, m, v, equal(p, f, b, w, send)), rel=tolerance)


@pytest.mark.parametrize(("schedule", "virtual"), KINDS)
def test_closed_form_with_the_ends_of_a_model(schedule: Schedule, virtual: int) -> None:
    """A head of up to a stage's own work and an embedding of a twentieth: 3.1 % off at worst, 0.7 % in the mean."""
    rng = np.random.default_rng(7)
    errors = []
    for p, rounds in [(2, 4), (4, 2), (4, 8), (8, 3), (16, 4)]:
        f, b, w = (rng.uniform(*span, 100) for span in ((0.8, 1.2), (0.9, 1.3), (0.6, 1.0)))
        send, head, embedding = rng.uniform(0.0, 0.05, 100) / virtual, rng.uniform(0, 3, 100), rng.uniform(0, 0.15, 100)
        layers = on_stages(schedule, virtual, Work(*(np.tile(x, (p, 1)) for x in (f, b, w)), send))
        for route in routes(schedule, p, 2 if schedule is DUAL else virtual):
            for part in (layers.forward, layers.backward, layers.weight):
                part[route[0]] += embedding / 3
                part[route[-1]] += head / 3
        exact = simulate(order_of(schedule, p, p * rounds, virtual), layers).total_seconds
        found = pipeline(Work(f, b, w, send), head + embedding, head, schedule, p, p * rounds, virtual)
        errors.append(found.total_seconds / exact - 1.0)
    assert np.max(np.abs(errors)) < 0.035 and np.mean(np.abs(errors)) < 0.008


@given(st.sampled_from([GPIPE, ONE]), st.integers(2, 9), st.integers(1, 40), seconds, st.floats(0.0, 1.0))
def test_closed_form_of_any_number_of_micro_batches(schedule, p, m, f, send) -> None:
    closed = pipeline(Work(f, f, f, send), 0.0, 0.0, schedule, p, m, 1).total_seconds
    assert closed == pytest.approx(simulated(schedule, p, m, 1, equal(p, f, f, f, send)), rel=1e-12)


@pytest.mark.parametrize("p", [4, 8, 16])
@pytest.mark.parametrize("saved", [0.0, 1.0])
def test_dualpipe_has_the_bubble_of_its_readme(p: int, saved: float) -> None:
    """(p/2-1)(F&B + B - 3W) at F = B = W, on the stages in the middle; B is the whole backward pass."""
    f, m = 1.0, 4 * p
    order = order_of(DUAL, p, m)
    work = Work(*(np.full((2, p), f) for _ in range(3)), saved=saved)
    line = simulate(order, work)
    middle = order.stage == p // 2
    busy = float(np.sum(line.end[middle] - line.start[middle]))
    assert line.total_seconds - busy == pytest.approx((p / 2 - 1) * ((3 * f - saved) + 2 * f - 3 * f))


@pytest.mark.parametrize("p", [2, 3, 4, 8])
def test_zero_bubble_schedules_have_the_bubbles_of_their_readme(p: int) -> None:
    """ZB-H1 waits a third of 1F1B; in ZB-V no stage waits between its first and its last piece."""
    m = 4 * p
    assert simulated(H1, p, m, 1, equal(p, 1, 1, 1)) - 3 * m == pytest.approx(p - 1)
    order = order_of(V, p, m, 2)
    line = simulate(order, on_stages(V, 2, equal(p, 1, 1, 1)))
    for first, last in zip(order.starts[:-1], order.starts[1:], strict=True):
        assert line.end[last - 1] - line.start[first] == pytest.approx(3 * m)


@given(kinds, stage_counts, rounds_of_stages, st.integers(0, 2**31), hand_overs)
def test_bound_is_never_above_the_simulation(kind, p, rounds, seed, send) -> None:
    (schedule, v), m = kind, p * rounds
    rng = np.random.default_rng(seed)
    saved = rng.uniform(0.0, 0.5) if schedule is DUAL else 0.0
    work = Work(*rng.uniform(0.5, 2.0, (3, p)), send, saved)
    assert lower_bound(work, schedule, m, v) <= simulated(schedule, p, m, v, work) * (1 + 1e-12)


@given(st.integers(2, 8), st.integers(1, 30), st.integers(0, 2**31), st.floats(0.0, 0.5))
def test_cycles_after_the_first_round_bound_1f1b_from_above(p, m, seed, send) -> None:
    work = Work(*np.random.default_rng(seed).uniform(0.5, 2.0, (3, p)), send)
    once = float(np.sum(work.total)) + 2 * (p - 1) * send
    assert simulated(ONE, p, m, 1, work) <= (once + (m - 1) * float(cycle_seconds(work, ONE))) * (1 + 1e-12)


@pytest.mark.parametrize(("schedule", "virtual"), KINDS)
def test_a_cycle_for_each_further_micro_batch_is_within_two_percent(schedule: Schedule, virtual: int) -> None:
    """Stages that differ by ±30 %, hand-overs up to a tenth of a forward pass."""
    rng = np.random.default_rng(7)
    for p, rounds in [(2, 9), (4, 5), (4, 12), (8, 6), (16, 5)]:
        work = Work(*rng.uniform(0.7, 1.3, (3, p, 100)), rng.uniform(0.0, 0.1, 100) / virtual)
        chunked, m = on_stages(schedule, virtual, work), p * rounds
        exact = simulate(order_of(schedule, p, m, virtual), chunked).total_seconds
        assert step_seconds(schedule, p, m, virtual, chunked) == pytest.approx(exact, rel=0.02)


@given(kinds, stage_counts, rounds_of_stages)
def test_peak_is_what_the_formulas_say(kind, p, rounds) -> None:
    (schedule, v), m = kind, p * rounds
    expected = in_flight(schedule, p, np.arange(p), m, v)
    assert peak_held(order_of(schedule, p, m, v)) == pytest.approx(expected)


def test_memory_comes_back_to_nothing_and_weights_hold_their_share() -> None:
    for schedule, v in KINDS:
        order = order_of(schedule, 4, 8, v)
        last = order.starts[1:] - 1
        assert np.all(held(order)[last] <= 1.0 / order.chunks)
    assert np.all(peak_held(order_of(H1, 4, 8), 0.5) == [4.0, 3.5, 3.0, 2.5])


@given(kinds, st.lists(st.tuples(seconds, seconds, hand_overs), min_size=1, max_size=4))
def test_alone_as_in_an_array(kind, plans: Sequence[tuple[float, float, float]]) -> None:
    schedule, v = kind
    order = order_of(schedule, 4, 8, v)
    f, w, send = (np.array(column) for column in zip(*plans, strict=True))
    together = simulate(order, Work(*(np.broadcast_to(x, (order.chunks, 4, len(f))) for x in (f, f, w)), send))
    for i, (one, other, hand_over) in enumerate(plans):
        parts = (np.full((order.chunks, 4), x) for x in (one, one, other))
        alone = simulate(order, Work(*parts, hand_over))
        assert np.array_equal(together.end[:, i], alone.end)


@given(kinds, stage_counts, rounds_of_stages)
def test_every_pass_of_every_micro_batch_runs_once(kind, p, rounds) -> None:
    (schedule, v), m = kind, p * rounds
    order = order_of(schedule, p, m, v)
    for part in (FORWARD, BACKWARD, WEIGHT):
        for stage in range(p):
            numbers = order.parts[order.stage == stage, part]
            assert np.array_equal(np.sort(numbers[numbers >= 0]), np.arange(m if schedule is DUAL else m * v))


def test_interleaved_530b_takes_milliseconds() -> None:
    """35 stages of 3 chunks, 2,240 micro-batches, order and all: 12 ms on an idle core; the limit is for busy ones."""
    x = np.ones((3, 35))
    taken = []
    for _ in range(3):
        order_of.cache_clear()
        start = process_time()
        total = step_seconds(ONE, 35, 2240, 3, Work(x, x, x, 0.01))
        taken.append(process_time() - start)
    assert total == pytest.approx(pipeline(Work(3.0, 3.0, 3.0, 0.01), 0.0, 0.0, ONE, 35, 2240, 3).total_seconds)
    assert min(taken) < 0.050


def test_a_schedule_that_waits_for_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="waits for itself"):
        order_of(ONE, 4, 9, 3)
