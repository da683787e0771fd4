"""A bar on standard error for what takes longer than a second; silence when no one is looking."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from perfsim.units import printable

PATIENCE_SECONDS = 1.0


@contextmanager
def progress(what: str, patience_seconds: float = PATIENCE_SECONDS) -> Iterator[Callable[[int, int], None]]:
    """A function to call with (done, total); it draws a bar once `patience_seconds` have passed.

    >>> with progress("sweep") as report:
    ...     report(1, 2)
    """
    console = Console(stderr=True, markup=False, highlight=False)
    text = TextColumn("{task.description}", markup=False)
    bar = Progress(text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True)
    task = bar.add_task(printable(what), total=None)
    began = time.monotonic()
    is_shown = False

    def report(done: int, total: int) -> None:
        nonlocal is_shown
        if not console.is_terminal or time.monotonic() - began < patience_seconds:
            return
        if not is_shown:
            bar.start()
            is_shown = True
        bar.update(task, completed=done, total=total)

    try:
        yield report
    finally:
        if is_shown:
            bar.stop()
