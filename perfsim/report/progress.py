"""A bar on standard error for what takes longer than a second; silence when no one is looking."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from perfsim.units import count_text, number_text, printable, seconds_text

PATIENCE_SECONDS = 1.0


@contextmanager
def progress(what: str, patience_seconds: float = PATIENCE_SECONDS) -> Iterator[Callable[[int, int], None]]:
    """A function to call with (done, total); it draws a bar once `patience_seconds` have passed.

    Rate and time left count from the first call on: what it says is done was done before.

    >>> with progress("sweep") as report:
    ...     report(1, 2)
    """
    console = Console(stderr=True, markup=False, highlight=False)
    text = [TextColumn(part, markup=False) for part in ("{task.description}", "{task.fields[pace]}")]
    bar = Progress(text[0], BarColumn(), text[1], console=console, transient=True)
    task = bar.add_task(printable(what), total=None, pace="")
    began, before = time.monotonic(), -1
    is_shown = False

    def report(done: int, total: int) -> None:
        nonlocal is_shown, before
        before = done if before < 0 else before
        seconds = time.monotonic() - began
        if not console.is_terminal or seconds < patience_seconds:
            return
        if not is_shown:
            bar.start()
            is_shown = True
        bar.update(task, completed=done, total=total, pace=pace(done, total, before, seconds))

    try:
        yield report
    finally:
        if is_shown:
            bar.stop()


def pace(done: int, total: int, before: int, seconds: float) -> str:
    """How far it is, how fast, and how long it will take, where `before` of what is done was there at the start.

    >>> pace(done=4_000_000, total=10_000_000, before=1_000_000, seconds=2.0)
    '4.00 M of 10.0 M, 1.50 M/s, 4.00 s left'
    """
    text = f"{count_text(done)} of {count_text(total)}"
    rate = (done - before) / seconds
    if rate <= 0.0:
        return text
    shown = count_text(rate) if rate >= 1.0 else number_text(rate, 2)
    return f"{text}, {shown}/s, {seconds_text((total - done) / rate)} left"
