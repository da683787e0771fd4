"""The interval of a prediction and its basis, in lines for one plan and in a word for a table."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from perfsim.search.intervals import Cause, Intervals, Word
from perfsim.units import GIB, MILLI, NO_NUMBER, number_text, printable, usd_text

TITLE = "90 % interval"
CAUSES_SHOWN = 4
LETTERS: dict[Word, str] = {"measured": "m", "fitted": "f", "datasheet": "d", "extrapolated": "e"}
LEGEND = "+-%: 90 % of measured steps lie as close; m measured, f fitted, e extrapolated"
NONE_OF_MIXED = "No intervals: what cards of several kinds reach together, no measured run has shown."
_ROWS = (  # figure, title, size of its unit
    ("step_seconds", "one step, ms", MILLI), ("samples_per_s", "samples/s", 1.0), ("tokens_per_s", "tokens/s", 1.0),
    ("mfu", "MFU, %", 0.01), ("watts_per_gpu", "power of a GPU, W", 1.0), ("job_hours", "the job, hours", 1.0), ("job_usd", "the job, USD", 1.0), ("job_kwh", "the job, kWh", 1.0),
    ("job_kg_co2", "the job, kg CO2", 1.0), ("memory_bytes", "memory of a GPU, GiB", GIB),
)  # fmt: skip


def interval_lines(row: Mapping[str, Any], found: Intervals) -> Iterator[RenderableType]:
    """A table of the figures of one plan, the reasons of their bases, and what makes the interval of the step wide."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(TITLE, no_wrap=True)
    for header in ("low", "predicted", "high"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("basis", no_wrap=True)
    for figure, title, size in _ROWS:
        if row[figure] is not None and (figure == "memory_bytes" or not figure.startswith("job") or has_job(row)):
            one = found[figure]
            cells = (number_text(value / size) for value in (one.low, one.middle, one.high))
            table.add_row(title, *cells, found.bases[figure].word)
    yield table
    yield from (Text(line, overflow="fold") for line in (*reason_lines(found), causes_text(found.causes)))


def has_job(row: Mapping[str, Any]) -> bool:
    """Whether the job's length is known: its hours are more than those of a step."""
    return bool(row["job_hours"] * 3600.0 > 1.5 * row["step_seconds"])


def reason_lines(found: Intervals) -> Iterator[str]:
    """Why figures have no better basis."""
    for figure, what in (("step_seconds", "time"), ("watts_per_gpu", "power"), ("memory_bytes", "memory")):
        if found.bases[figure].reason:
            yield printable(f"{what} {found.bases[figure].text}")


def causes_text(causes: tuple[Cause, ...]) -> str:
    """The numbers that make most of a step's interval, by their share of its variance.

    >>> causes_text((Cause("products on a T4", 0.6, 0.1), Cause("what remains of a run", 0.4, 0.04)))
    'its width (share of variance): products on a T4 60 %, what remains of a run 40 %'
    """
    named = ", ".join(f"{printable(one.name)} {100 * one.share:.0f} %" for one in causes[:CAUSES_SHOWN])
    return f"its width (share of variance): {named}"


def reach_text(found: Intervals) -> str:
    """How far the step's interval reaches above the prediction, in %, and the letter of its basis."""
    letter = LETTERS[found.basis.word]
    return f"{100 * reach(found):.0f} {letter}" if found.ranges else f"{NO_NUMBER} {letter}"


def reach(found: Intervals) -> float:
    """high / predicted - 1 of the step."""
    one = found["step_seconds"]
    return one.high / one.middle - 1.0


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
