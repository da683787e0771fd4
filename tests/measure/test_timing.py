"""Bursts leave the host's time out, sustained runs settle first; windows sum up what lies between their marks."""

import time

import pytest

from perfsim.measure import timing
from perfsim.measure.board import NoBoard, Reading, Stretch, Window, summed_up
from perfsim.measure.timing import burst, sustained
from tests.measure.conftest import PretendedBoard, SimulatedClock


@pytest.mark.parametrize("host, gpu", [(1e-5, 1e-4), (1e-5, 2e-6), (1e-6, 0.2)])
def test_burst_is_the_time_of_the_gpu_alone(host: float, gpu: float, board: PretendedBoard) -> None:
    clock = SimulatedClock(host, gpu)
    found = burst(clock, board, clock.call, 3)
    assert found.seconds == pytest.approx(gpu, rel=1e-6)
    assert found.least <= found.seconds <= found.most
    assert set(clock.calls) == {0, 1, 2}
    assert found.row()["sm_mhz"] == 1700.0
    assert 1 <= found.calls <= timing.MOST_CALLS


def test_sustained_leaves_the_start_out(board: PretendedBoard) -> None:
    clock = SimulatedClock(1e-6, 1e-3)
    found = sustained(clock, board, clock.call, 2, 1e-3, seconds=0.5)
    assert found.seconds == pytest.approx(1e-3, rel=1e-6)
    assert found.calls * found.repeats * 1e-3 == pytest.approx(0.5, abs=0.1)
    assert len(clock.calls) * 1e-3 > 0.5 + timing.SETTLE_SECONDS


def test_row_has_the_columns_of_the_tables() -> None:
    clock = SimulatedClock(1e-6, 1e-3)
    assert set(burst(clock, NoBoard(), clock.call).row()) == set(timing.TIMING_COLUMNS)


def test_window_takes_watts_from_the_energy_counter_once_it_is_long() -> None:
    class Counter(PretendedBoard):
        def joules(self) -> float | None:
            return 100.0 * time.perf_counter()

    with Window(Counter(), period_seconds=0.01) as window:
        window.mark()
        time.sleep(1.05)
        window.mark()
    assert window.stretch().watts == pytest.approx(100.0, rel=1e-3)
    assert window.stretch().sm_mhz == pytest.approx(1700.0)
    assert len(window.samples) > 10


def test_board_that_says_nothing_gives_empty_cells() -> None:
    assert summed_up(1.0, [Reading(), Reading()]) == Stretch(1.0)
    assert Stretch(1.0).row()["throttle"] is None


def test_idle_is_no_reason_for_a_lower_clock() -> None:
    assert summed_up(1.0, [Reading(throttle=0x1), Reading(throttle=0x4)]).row()["throttle"] == "0x4"
