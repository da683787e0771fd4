"""How long a GPU takes for some work: in bursts at full clock, or sustained, where power decides the clock."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from perfsim.measure.board import Board, Reading, Stretch, Window, summed_up
from perfsim.units import MICRO

WARM_UP, PROBES, REPEATS, MOST_CALLS = 3, 3, 5, 300
BURST_SECONDS = 0.006
LONGEST_SPIN_SECONDS = 0.08
SETTLE_SECONDS = 0.3
CHUNK_SECONDS = 0.02
QUEUED_CHUNKS = 3
TIMING_COLUMNS = (
    "mode time_us time_us_min time_us_max n_calls n_repeats n_sets sm_mhz sm_mhz_min mem_mhz power_w temp_c throttle "
    "window_s"
).split()
Call = Callable[[int], object]


class Clock(Protocol):
    """What times a GPU's work."""

    def now(self) -> float:
        """The host's time [s]."""

    def mark(self) -> Any:
        """Put a mark into the queue; the GPU notes when it gets there."""

    def wait(self, mark: Any) -> None:
        """Return when the GPU has passed the mark."""

    def seconds(self, first: Any, last: Any) -> float:
        """Time of the GPU between two marks that it has passed [s]."""

    def spin(self, seconds: float) -> None:
        """Keep the GPU busy for about so long [s], so that the host can queue work behind."""

    def sync(self) -> None:
        """Return when the GPU has nothing left to do."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one call [s]: the median of `repeats` batches of `calls` calls, the least and the most of them.

    mode: "burst" or "sustained"; sets: how many sets of operands took turns; stretch: the board meanwhile.
    """

    mode: str
    seconds: float
    least: float
    most: float
    calls: int
    repeats: int
    sets: int
    stretch: Stretch

    def row(self) -> dict[str, Any]:
        """The timing in the columns of the tables."""
        return {
            **self.stretch.row(),
            "mode": self.mode,
            "time_us": self.seconds / MICRO,
            "time_us_min": self.least / MICRO,
            "time_us_max": self.most / MICRO,
            "n_calls": self.calls,
            "n_repeats": self.repeats,
            "n_sets": self.sets,
        }


def burst(clock: Clock, board: Board, call: Call, sets: int = 1) -> Timing:
    """The time of `call(i)`, i < `sets`, in short batches with pauses: the card is cool and at its highest clock.

    A spinning kernel holds the queue until the host has filled it, so what a launch costs the host is left out. The
    board is read once, while the last batch runs.
    """
    for i in range(WARM_UP):
        call(i % sets)
    clock.sync()
    began = clock.now()
    for i in range(PROBES):
        call(i % sets)
    host = (clock.now() - began) / PROBES
    clock.sync()
    each = max((clock.now() - began) / PROBES, 1e-7)
    calls = max(1, min(MOST_CALLS, round(BURST_SECONDS / each)))
    times, reading = [], Reading()
    for repeat in range(REPEATS):
        clock.spin(min(1.5 * host * calls + 40e-6, LONGEST_SPIN_SECONDS))
        first = clock.mark()
        for i in range(calls):
            call((repeat * calls + i) % sets)
        last = clock.mark()
        if repeat == REPEATS - 1:
            reading = board.read()
        clock.sync()
        times.append(clock.seconds(first, last) / calls)
    seconds = statistics.median(times)
    stretch = summed_up(seconds * calls, [reading])
    return Timing("burst", seconds, min(times), max(times), calls, REPEATS, sets, stretch)


def sustained(
    clock: Clock, board: Board, call: Call, sets: int, each_seconds: float, seconds: float,
    settle_seconds: float = SETTLE_SECONDS, samples: Any = None,
) -> Timing:  # fmt: skip
    """The time of `call(i)` back to back for `seconds` [s] with the board sampled, after `settle_seconds` [s] of it.

    each_seconds: about what a call takes [s]. samples: a list that gets the window's readings.
    """
    calls = max(1, round(CHUNK_SECONDS / each_seconds))
    marks: list[Any] = []
    first = done = 0
    with Window(board) as window:
        began, is_settled = clock.now(), False
        while True:
            passed = clock.now() - began
            if not is_settled and passed >= settle_seconds:
                window.mark()
                first, is_settled = len(marks), True
            if is_settled and passed >= settle_seconds + seconds and len(marks) >= first + 3:
                break
            marks.append(clock.mark())
            for _ in range(calls):
                call(done % sets)
                done += 1
            if len(marks) > QUEUED_CHUNKS:
                clock.wait(marks[-QUEUED_CHUNKS])
        marks.append(clock.mark())
        clock.sync()
        window.mark()
    if samples is not None:
        samples += window.samples
    times = [clock.seconds(a, b) / calls for a, b in zip(marks[first:], marks[first + 1 :], strict=False)]
    median = statistics.median(times)
    return Timing("sustained", median, min(times), max(times), calls, len(times), sets, window.stretch())
