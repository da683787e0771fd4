"""Results as small HTML tables, for notebooks: every text escaped, nothing printed, nothing loaded."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from perfsim.calibration.validate import Replayed
from perfsim.core.arrays import shape_of, take
from perfsim.core.plan import Problem
from perfsim.core.results import Estimate
from perfsim.report.columns import columns, records
from perfsim.report.fit import full_rows, legend, title
from perfsim.report.fit import header as fit_header
from perfsim.report.intervals import JOB_ROWS
from perfsim.report.intervals import ROWS as STEP_ROWS
from perfsim.report.table import cells, header, rows_to_show
from perfsim.report.text import hours_text, workload_text
from perfsim.report.words import part_name
from perfsim.search.fit import Fit
from perfsim.search.intervals import Intervals
from perfsim.units import GIB, MILLI, bytes_text, number_text, percent_text, printable, seconds_text

if TYPE_CHECKING:
    from perfsim.search.sweep import Sweep

ROWS_SHOWN, LEAST = 12, 5e-5  # rows of a table; of a total, parts below it are left out
Rows = Iterable[Sequence[str]]


def html_table(caption: str, titles: Sequence[str], rows: Rows, note: str = "") -> str:
    """A table with the first column to the left, all texts escaped.

    >>> html_table("a < b", [], [])
    '<table><caption>a &lt; b</caption><thead><tr></tr></thead><tbody></tbody></table>'
    """
    head = "".join(_cell("th", title, i) for i, title in enumerate(titles))
    body = "".join(f"<tr>{''.join(_cell('td', text, i) for i, text in enumerate(row))}</tr>" for row in rows)
    table = f"<table><caption>{_text(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return table + (f"<p>{_text(note)}</p>" if note else "")


def html(result: "Estimate | Sweep | Intervals | Replayed | Fit") -> str:
    """The result as a small HTML table, all texts escaped; notebooks show it by themselves."""
    if isinstance(result, Fit):
        return html_table(title(result), fit_header(result), full_rows(result), "; ".join(legend(result)))
    if isinstance(result, Estimate):
        return estimate_html(result)
    if isinstance(result, Intervals):
        return intervals_html(result)
    return replayed_html(result) if isinstance(result, Replayed) else sweep_html(result)


def estimate_html(found: Estimate) -> str:
    """One plan in its parts; of arrays of plans the totals of the first ones."""
    if shape_of(found):
        return _estimates_html(found)
    rows = [("step", seconds_text(float(found.time.total_seconds)), ""), *_part_rows(found, is_time=True)]
    rows += [("memory", bytes_text(float(found.memory.total_bytes)), ""), *_part_rows(found, is_time=False)]
    capacity = bytes_text(float(found.memory_capacity_bytes))
    reasons = "; ".join(problem.text for problem in Problem if int(found.problems) & problem)
    verdict = f"cannot run: {reasons}" if reasons else f"{number_text(float(found.samples_per_s))} samples/s"
    return html_table(f"{verdict}; the card has {capacity}", ("part", "amount", "share"), rows)


def sweep_html(sweep: "Sweep") -> str:
    """The best plan of each card, best first."""
    rows = rows_to_show(sweep, top=ROWS_SHOWN)
    if not rows:
        return html_table(f"Nothing fits: {workload_text(sweep.workload)}", ("see",), [("nearest_fit()",)])
    lines = cells(sweep, records(columns(sweep, rows)))
    note = f"{len(sweep):,} plans kept of {sweep.certificate.considered:,}; ps.sweep_intervals tells how sure each is"
    return html_table(workload_text(sweep.workload), header(), lines, note)


def intervals_html(found: Intervals) -> str:
    """Each figure between its ends, and what it rests on."""
    rows = [
        (title, *(number_text(end / size) for end in (one.low, one.middle, one.high)), found.bases[figure].word)
        for figure, title, size in (*STEP_ROWS, *JOB_ROWS)
        if (one := found.ranges.get(figure)) and one.middle > 0.0
    ]
    return html_table("90 % intervals", ("figure", "low", "predicted", "high", "basis"), rows, found.basis.text)


def replayed_html(one: Replayed) -> str:
    """A measured run beside its prediction."""
    run = one.run
    if one.problem:
        return html_table(f"{run.run_id}: not replayed", ("why",), [(one.problem,)])
    rows = []
    for what, measured, predicted, error, size in (
        ("step, ms", run.measured_step_seconds, one.predicted_step_seconds, one.time_error, MILLI),
        ("peak memory, GiB", run.measured_peak_memory_bytes, one.predicted_peak_memory_bytes, one.memory_error, GIB),
    ):
        amounts = ("-" if not amount else number_text(amount / size) for amount in (measured, predicted))
        rows.append((what, *amounts, "-" if error is None else f"{100 * error:+.1f} %"))
    return html_table(f"{run.run_id}: {run.model_key} on {run.gpu_key}", ("", "measured", "predicted", "error"), rows)


def _part_rows(found: Estimate, is_time: bool) -> list[tuple[str, str, str]]:
    parts = found.time.parts() if is_time else found.memory.parts()
    text, total = seconds_text if is_time else bytes_text, sum(float(part) for part in parts.values())
    shown = {name: float(part) for name, part in parts.items() if float(part) > LEAST * total}
    return [(f"· {part_name(name)}", text(part), percent_text(part / total)) for name, part in shown.items()]


def _estimates_html(found: Estimate) -> str:
    shape = shape_of(found)
    count = int(np.prod(shape, dtype=int))
    rows = []
    for i in range(min(count, ROWS_SHOWN)):
        one = take(found, np.unravel_index(i, shape) if len(shape) > 1 else i, shape)
        runs = "no" if int(one.problems) else "yes"
        amounts = (seconds_text(float(one.time.total_seconds)), bytes_text(float(one.memory.total_bytes)))
        rows.append((f"{i}", *amounts, hours_text(float(one.job_hours)), runs))
    left = f"; the first {ROWS_SHOWN}" if count > ROWS_SHOWN else ""
    return html_table(f"{count:,} plans{left}", ("plan", "step", "memory", "the job", "runs"), rows)


def _cell(tag: str, text: str, i: int) -> str:
    side = "left" if i == 0 else "right"
    return f'<{tag} style="text-align:{side}">{_text(text)}</{tag}>'


def _text(text: str) -> str:
    return escape(printable(text))
