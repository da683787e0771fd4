"""The interval of a prediction and its basis, in lines for one plan and in a word for a table."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from perfsim.search.intervals import Cause, Intervals, Word
from perfsim.units import GIB, MILLI, NO_NUMBER, number_text, printable, usd_text

CAUSES_SHOWN = 4
LETTERS: dict[Word, str] = {"measured": "m", "fitted": "f", "datasheet": "d", "extrapolated": "e"}
LEGEND = "+-%: 90 % of measured steps lie within; m measured, f fitted, e extrapolated (--json: why)"
NONE_OF_MIXED = "No intervals: what cards of several kinds reach together, no measured run has shown."
_ROWS = (  # figure, title, size of its unit
    ("step_seconds", "one step, ms", MILLI),
    ("samples_per_s", "samples/s", 1.0),
    ("tokens_per_s", "tokens/s", 1.0),
    ("mfu", "MFU, %", 0.01),
    ("watts_per_gpu", "power of a GPU, W", 1.0),
    ("memory_bytes", "memory of a GPU, GiB", GIB),
)
_JOB_ROWS = (
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
    for figure, title, size in _ROWS + (_JOB_ROWS if has_job else ()):
        if row[figure] is not None:
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
    'width of the step's interval by share of variance: products on a T4 60 %, what remains of a run 40 %'
    """
    named = ", ".join(f"{printable(one.name)} {100 * one.share:.0f} %" for one in causes[:CAUSES_SHOWN])
    return f"width of the step's interval by share of variance: {named}"


def reach_text(found: Intervals) -> str:
    """How far the step's interval reaches above the prediction, in %, and the letter of its basis."""
    letter = LETTERS[found.basis.word]
    if not found.ranges:
        return f"{NO_NUMBER} {letter}"
    step = found["step_seconds"]
    return f"{100 * (step.high / step.middle - 1.0):.0f} {letter}"


def range_text(found: Intervals | None, figure: str) -> str:
    """The ends of a figure in brackets, "" where they are not known."""
    if found is None or not found.ranges:
        return ""
    one = found[figure]
    text = usd_text if figure == "job_usd" else number_text
    return f" ({text(one.low)} to {text(one.high)})"


def record_of(found: Intervals) -> dict[str, Any]:
    """For JSON: columns, and what makes the interval wide."""
    causes = [{"name": one.name, "share": one.share, "spread": one.spread} for one in found.causes]
    return {**found.columns(), "interval_causes": causes}
