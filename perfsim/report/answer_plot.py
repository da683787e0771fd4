"""What a sweep answers as a picture: its rows in their parts, its front, or how its cards scale."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from perfsim.report.answer import Answer
from perfsim.report.columns import columns, records
from perfsim.report.front_plot import front_picture
from perfsim.report.parts_plot import Drawn, parts_picture
from perfsim.report.scaling_plot import scaling_picture
from perfsim.report.text import cards_text, plan_text, workload_text
from perfsim.search.intervals import Intervals

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from perfsim.search.sweep import Sweep

ROWS_DRAWN = 16


def answer_picture(answers: Sequence[Answer]) -> "Figure":
    """The picture that goes with the answers' tables: of several tasks' fronts, else of the one task with rows."""
    first = answers[0]
    if first.figures:
        return front_picture([answer.sweep for answer in answers], first.figures[:2])
    ranges = first.forecast(first.rows) if first.forecast else ()
    if first.curves:
        return scaling_picture(first.sweep, first.curves, dict(zip(first.rows, ranges, strict=False)))
    shown = first.rows[:ROWS_DRAWN]
    left = f"; the first {len(shown)} of {len(first.rows):,} rows" if len(first.rows) > len(shown) else ""
    return parts_picture(drawn_rows(first.sweep, shown, ranges), f"{workload_text(first.sweep.workload)}{left}")


def drawn_rows(sweep: "Sweep", rows: Sequence[int], ranges: Sequence[Intervals] = ()) -> list[Drawn]:
    """Some rows of a sweep to draw, with the intervals of their steps where they are given."""
    told = [one["step_seconds"] if one.ranges else None for one in ranges][: len(rows)] or [None] * len(rows)
    labels = [f"{cards_text(row)}, {plan_text(row)}" for row in records(columns(sweep, rows))]
    return [Drawn(label, sweep.row(row)[2], step) for label, row, step in zip(labels, rows, told, strict=True)]
