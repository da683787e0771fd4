"""The interval of a prediction and its basis, in lines for one plan and in a word for a table."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from perfsim.report.text import DAY_HOURS, MANY_HOURS
from perfsim.search.intervals import Cause, Intervals, Word
from perfsim.search.uncertainty import Range
from perfsim.units import GIB, MILLI, NO_NUMBER, number_text, printable, usd_text

CAUSES_SHOWN = 4
LETTERS: dict[Word, str] = {"measured": "m", "fitted": "f", "datasheet": "d", "extrapolated": "e"}
LEGEND = "+-%: 90 % of measured steps lie within (perfsim validate); m measured, f fitted, e extrapolated"
NONE_OF_MIXED = "No intervals: what cards of several kinds reach together, no measured run has shown."
ROWS = (  # figure, title, size of its unit
    ("step_seconds", "one step, ms", MILLI),
    ("samples_per_s", "samples/s", 1.0),
    ("tokens_per_s", "tokens/s", 1.0),
    ("mfu", "MFU, %", 0.01),
    ("watts_per_gpu", "power of a GPU, W", 1.0),
    ("memory_bytes", "memory of a GPU, GiB", GIB),
)
JOB_ROWS = (
    ("job_hours", "the job, hours", 1.0),
    ("job_usd", "the job, USD", 1.0),
    ("job_kwh", "the job, kWh", 1.0),
    ("job_kg_co2", "the job, kg CO2", 1.0),
)


def interval_lines(row: Mapping[str, Any], found: Intervals, has_job: bool) -> Iterator[RenderableType]:
    """A table of the figures of one plan, the reasons of their bases, and what makes the interval of the step wide."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("90 % interval", no_wrap=True)
    for header in ("low", "predicted", "high"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("basis", no_wrap=True)
    for figure, title, size in ROWS + (JOB_ROWS if has_job else ()):
        is_of_images = figure == "tokens_per_s" and row[figure] == row["samples_per_s"]
        if row[figure] is not None and not is_of_images:
            one = found[figure]
            cells = (number_text(value / size) for value in (one.low, one.middle, one.high))
            table.add_row(title, *cells, found.bases[figure].word)
    yield table
    yield from (Text(line, overflow="fold") for line in (*reason_lines(found), causes_text(found.causes)))


def reason_lines(found: Intervals) -> Iterator[str]:
    """Why figures have no better basis."""
    for figure, what in (("step_seconds", "time"), ("watts_per_gpu", "power"), ("memory_bytes", "memory")):
        if found.bases[figure].reason:
            yield printable(f"{what} {found.bases[figure].text}")


def causes_text(causes: tuple[Cause, ...]) -> str:
    """The numbers that make most of a step's interval, by their share of its variance.

    >>> causes_text((Cause("products on a T4", 0.6, 0.1), Cause("what remains of a run", 0.4, 0.04)))
    "width of the step's interval by share of variance: products on a T4 60 %, what remains of a run 40 %"
    """
    named = ", ".join(f"{printable(one.name)} {100 * one.share:.0f} %" for one in causes[:CAUSES_SHOWN])
    return f"width of the step's interval by share of variance: {named}"


def reach_text(found: Intervals) -> str:
    """How far the step's interval reaches above the prediction, in %, and the letter of its basis."""
    reach = f"{_percent(found['step_seconds'])}" if found.ranges else NO_NUMBER
    return f"{reach} {LETTERS[found.basis.word]}"


def width_text(found: Intervals | None, figure: str) -> str:
    """How far a figure's interval reaches above it, "" where that is not known."""
    return f" +-{_percent(found[figure])} %" if found and found.ranges else ""


def range_text(found: Intervals | None, figure: str, is_hours: bool = False) -> str:
    """The ends of a figure in brackets, in hours or days as hours_text shows it itself, "" where they are not known.

    is_hours: in hours, however long.
    """
    if found is None or not found.ranges:
        return ""
    one = found[figure]
    if figure == "job_usd":
        return f" ({usd_text(one.low).removeprefix('$')}-{usd_text(one.high).removeprefix('$')})"
    size = DAY_HOURS if figure == "job_hours" and one.middle >= MANY_HOURS and not is_hours else 1.0
    return f" ({number_text(one.low / size)}-{number_text(one.high / size)})"


def _percent(one: Range) -> str:
    return f"{100 * (one.high / one.middle - 1.0):.0f}"


def record_of(found: Intervals) -> dict[str, Any]:
    """For JSON: columns, and what makes the interval wide."""
    causes = [{"name": one.name, "share": one.share, "spread": one.spread} for one in found.causes]
    return {**found.columns(), "interval_causes": causes}
