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
from perfsim.units import MEGA, NO_NUMBER, count_text, number_text, usd_text

if TYPE_CHECKING:
    from perfsim.search.sweep import Sweep

CURVES_SHOWN = 6
_HEADERS = (REACH, "samples/s", "speed-up", "eff. %", "comm. %", "bubble %", "hours", "$")
LOSSES = (
    "speed-up: over the fewest GPUs of the card; eff.: of perfect scaling; comm., bubble: of the step, exposed"
    " communication and pipeline bubble"
)


def scaling_lines(sweep: "Sweep", curves: Sequence[Scaling], forecast: Forecast | None) -> Iterator[RenderableType]:
    """A row for each number of GPUs of each card."""
    yield Text("Fastest plan of each number of GPUs", style="bold")
    yield Text(workload_text(sweep.workload), overflow="fold")
    yield Text("")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("GPUs", no_wrap=True)
    table.add_column("plan", overflow="fold", min_width=16)
    for header in _HEADERS:
        table.add_column(header, justify="right", no_wrap=True)
    for curve in curves:
        rows = curve.rows.tolist()
        ranges = forecast(rows) if forecast else [None] * len(rows)
        for i, (row, told) in enumerate(zip(records(columns(sweep, rows)), ranges, strict=True)):
            shares = (curve.efficiency[i], curve.exposed[i], curve.bubble[i])
            usd = row["job_usd"]
            table.add_row(
                cards_text(row), plan_text(row), reach_text(told) if told else NO_NUMBER,
                number_text(row["samples_per_s"]), number_text(curve.speedup[i]),
                *(f"{100 * share:.1f}" for share in shares), number_text(row["job_hours"]),
                NO_NUMBER if usd is None else count_text(usd) if usd >= MEGA else usd_text(usd).removeprefix("$"),
            )  # fmt: skip
    yield table
    cards = len(sweep.best_per_gpu())
    if cards > len(curves):
        yield Text(f"... {cards - len(curves)} more cards: --top {cards}", style="dim")
    yield from (Text(line, style="dim", overflow="fold") for line in (LOSSES, LEGEND))
