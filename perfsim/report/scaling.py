"""How cards scale with their number, as a table: speed-up, efficiency, and what the step loses to communication."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from perfsim.report.columns import columns, records
from perfsim.report.intervals import LEGEND, reach_text
from perfsim.report.table import REACH, Forecast
from perfsim.report.text import cards_text, plan_text, workload_text
from perfsim.search.scaling import Scaling
from perfsim.units import GIB, MILLI, NO_NUMBER, number_text, usd_text

if TYPE_CHECKING:
    from perfsim.search.sweep import Sweep

CARDS_SHOWN = 6
_HEADERS = ("GiB", "step ms", REACH, "samples/s", "speed-up", "eff. %", "comm. %", "bubble %", "hours", "$")
LESS = (
    "speed-up: over the fewest GPUs of the card; eff.: of perfect scaling; comm., bubble: of the step, exposed"
    " communication and pipeline bubble"
)


def scaling_lines(
    sweep: "Sweep", curves: Sequence[Scaling], forecast: Forecast, most: int | None = CARDS_SHOWN
) -> Iterator[RenderableType]:
    """A row for each number of GPUs of the first `most` cards."""
    yield Text("Fastest plan of each number of GPUs", style="bold")
    yield Text(workload_text(sweep.workload), overflow="fold")
    yield Text("")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("GPUs", no_wrap=True)
    table.add_column("plan", overflow="fold")
    for header in _HEADERS:
        table.add_column(header, justify="right", no_wrap=True)
    shown = curves[:most]
    for curve in shown:
        rows = curve.rows.tolist()
        for i, (row, told) in enumerate(zip(records(columns(sweep, rows)), forecast(rows), strict=True)):
            shares = (curve.efficiency[i], curve.exposed[i], curve.bubble[i])
            table.add_row(
                cards_text(row), plan_text(row), number_text(row["memory_bytes"] / GIB),
                number_text(row["step_seconds"] / MILLI), reach_text(told), number_text(row["samples_per_s"]),
                number_text(curve.speedup[i]), *(f"{100 * share:.1f}" for share in shares),
                number_text(row["job_hours"]),
                NO_NUMBER if row["job_usd"] is None else usd_text(row["job_usd"]).removeprefix("$"),
            )  # fmt: skip
    yield table
    if len(curves) > len(shown):
        yield Text(f"... {len(curves) - len(shown)} more cards: --top {len(curves)}", style="dim")
    yield from (Text(line, style="dim", overflow="fold") for line in (LESS, LEGEND))
