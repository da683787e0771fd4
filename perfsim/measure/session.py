"""A list of things to measure, worked off in a budget of time; tables that are written anew after each of them."""

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from perfsim.errors import InputError, PerfsimError
from perfsim.units import printable

DIGITS = 6
MOST_TEXT = 240
QUICK_SECONDS, FULL_SECONDS = 100.0, 840.0
Row = dict[str, Any]
Save = Callable[[str, Sequence[str], Sequence[Row]], None]
Report = Callable[[int, int], None]


@dataclass
class Table:
    """A table that grows; `save` writes all of it."""

    name: str
    columns: Sequence[str]
    save: Save
    rows: list[Row] = field(default_factory=list)

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows and write the table."""
        self.rows += [{name: plain(row.get(name)) for name in self.columns} for row in rows]
        self.save(self.name, self.columns, self.rows)

    @property
    def failures(self) -> int:
        """Rows that hold an error instead of a measurement."""
        return sum(1 for row in self.rows if row.get("error") and row.get("outcome") != "oom")


@dataclass(frozen=True)
class Work:
    """One thing to measure: its table, the cells that tell what it is, about how long it takes [s], how it is done."""

    table: Table
    cells: Row
    seconds: float
    measure: Callable[[], Sequence[Row]]


def budget(is_quick: bool) -> float:
    """Time for measuring [s], the start of PyTorch left out."""
    return QUICK_SECONDS if is_quick else FULL_SECONDS


def work_off(
    works: Sequence[Work],
    budget_seconds: float,
    report: Report = lambda done, total: None,
    release: Callable[[], None] = lambda: None,
    now: Callable[[], float] = time.monotonic,
) -> int:
    """Measure one after the other, and say how many were left out because they would not end within the budget [s].

    What fails writes its error into its row, and the next one goes on. `release` frees memory after each.
    Raises: InputError when the GPU no longer answers.
    """
    end = now() + budget_seconds
    left_out = 0
    for done, work in enumerate(works):
        report(done, len(works))
        if now() + work.seconds > end:
            left_out += 1
            continue
        error = _measure(work)
        release()
        if is_fatal(error):
            raise InputError(f"the GPU no longer answers ({error}); the rows so far are kept, start again")
    report(len(works), len(works))
    return left_out


def _measure(work: Work) -> str:
    """Measure one thing into its table; the error's text, "" where there was none."""
    try:
        work.table.add([work.cells | row for row in work.measure()])
    except PerfsimError:
        raise
    except Exception as error:
        text = error_text(error)
        work.table.add([work.cells | {"error": text}])
        return text
    return ""


def is_fatal(text: str) -> bool:
    """An error after which CUDA does nothing more in this process."""
    return "CUDA error" in text and "out of memory" not in text


def is_out_of_memory(error: BaseException) -> bool:
    """An allocation failed: PyTorch's own error, or one of the CUDA libraries'."""
    text = str(error).lower()
    return type(error).__name__ == "OutOfMemoryError" or "out of memory" in text or "alloc_failed" in text


def error_text(error: BaseException) -> str:
    r"""An error as one short line without paths of this machine.

    >>> error_text(RuntimeError("no kernel in /usr/lib/python3/torch/nn.py\nbecause"))
    'RuntimeError: no kernel in nn.py because'
    """
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return printable(re.sub(r"(?:/[\w.+-]+)+/", "", text))[:MOST_TEXT]


def plain(value: Any) -> Any:
    """A cell: numbers with six digits, yes and no as y and n, nothing for None, NaN and infinities.

    >>> plain(12.3456789), plain(True), plain(float("nan"))
    (12.3457, 'y', None)
    """
    if isinstance(value, bool):
        return "y" if value else "n"
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value
