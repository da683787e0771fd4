"""What a sweep of one or more tasks answers, in every form: lines for people, JSON, CSV, Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.text import Text

from perfsim.core.plan import Problem
from perfsim.report.columns import columns, plan_row, records
from perfsim.report.export import csv_text, json_text, markdown_text
from perfsim.report.refused import refused_cards, refused_lines
from perfsim.report.scaling import CURVES_SHOWN, scaling_lines
from perfsim.report.table import CARDS_SHOWN, Forecast, cells, header, override_lines, rows_to_show, table_lines
from perfsim.report.text import (
    TASK_TEXTS,
    cards_text,
    hours_text,
    memory_text,
    plan_text,
    reason_lines,
    workload_text,
)
from perfsim.search.certificate import COUNTS, OBJECTIVES
from perfsim.search.scaling import Scaling, scaling
from perfsim.units import printable

if TYPE_CHECKING:
    from perfsim.search.sweep import Sweep


@dataclass(frozen=True)
class Answer:
    """A sweep with the rows of it that are told, best first; forecast: the intervals of some rows.

    figures: those of the front that the rows are; curves: the cards whose scaling the rows are.
    """

    name: str
    sweep: "Sweep"
    rows: tuple[int, ...]
    figures: tuple[str, ...] = ()
    forecast: Forecast | None = None
    curves: tuple[Scaling, ...] = ()

    @classmethod
    def of(
        cls, name: str, sweep: "Sweep", show_all: bool = False, top: int | None = None, figures: Sequence[str] = (),
        forecast: Forecast | None = None,
    ) -> "Answer":  # fmt: skip
        """The best plan of each card, with `show_all` every plan, or the front over `figures`; of them the first."""
        rows = sweep.pareto(*figures)[:top].tolist() if figures else rows_to_show(sweep, show_all, top)
        return cls(name, sweep, tuple(rows), tuple(figures), forecast)

    @classmethod
    def of_scaling(cls, name: str, sweep: "Sweep", cards: int | None, forecast: Forecast) -> "Answer":
        """The fastest plan of every number of GPUs, of the first `cards` cards."""
        curves = scaling(sweep)[: cards or CURVES_SHOWN]
        return cls(name, sweep, tuple(row for one in curves for row in one.rows.tolist()), (), forecast, tuple(curves))

    @property
    def has_met(self) -> bool:
        """Something runs, inside deadline and budget."""
        return bool(self.sweep.meets_site[list(self.rows)].any())


def lines_of(
    answers: Sequence[Answer], overrides: Iterable[Path] = (), is_limited: bool = True
) -> Iterator[RenderableType]:
    """The answers for people; with `is_limited` only the first cards of each."""
    yield from override_lines(overrides)
    most = max(4, CARDS_SHOWN // len(answers)) if is_limited else None
    for i, answer in enumerate(answers):
        if i:
            yield Text("")
        if len(answers) > 1:
            yield Text(f"== {TASK_TEXTS[answer.sweep.workload.task]}", style="bold")
        if answer.curves:
            yield from scaling_lines(answer.sweep, answer.curves, answer.forecast)
        elif answer.rows:
            yield from table_lines(answer.sweep, answer.rows, most, answer.figures, answer.forecast)
        else:
            yield from _nothing_texts(answer.sweep)


def json_of(answers: Sequence[Answer]) -> str:
    """Rows of all tasks, what became of all plans, and why some cannot run."""
    from perfsim import __version__

    return json_text(
        {
            "perfsim": __version__,
            "scenario": answers[0].name,
            "objective": answers[0].sweep.objective,
            "front": list(answers[0].figures),
            "software": answers[0].sweep.software.key,
            "rows": [record for answer in answers for record in records(_columns(answer))],
            "certificate": {str(answer.sweep.workload.task): _certificate(answer.sweep) for answer in answers},
            "reasons": [
                {"task": str(answer.sweep.workload.task), "plans": int(count), "reason": problem.text}
                for answer in answers
                for problem, count in answer.sweep.certificate.problems.items()
                if count
            ],
            "refused": [
                {"task": str(answer.sweep.workload.task), "gpu_name": name, "lacking": list(lacking)}
                for answer in answers
                for name, lacking in refused_cards(answer.sweep).items()
            ],
        }
    )


def _certificate(sweep: "Sweep") -> dict[str, Any]:
    told = sweep.certificate
    least = {OBJECTIVES[name]: amount if isfinite(amount) else None for name, amount in told.least_left.items()}
    return {name: getattr(told, name) for name in COUNTS} | {"least_left": least}


def _columns(answer: Answer) -> dict[str, list[Any]]:
    """The rows with their intervals; those without one still have a basis."""
    table = columns(answer.sweep, answer.rows)
    if answer.forecast:
        ranges = [one.columns() for one in answer.forecast(answer.rows)]
        table |= {name: [one.get(name) for one in ranges] for name in ranges[0]} if ranges else {}
        for end in ("job_usd_low", "job_usd_high") if ranges else ():
            table[end] = [x if usd is not None else None for usd, x in zip(table["job_usd"], table[end], strict=True)]
    return table


def csv_of(answers: Sequence[Answer]) -> str:
    """Rows of all tasks as CSV."""
    table: dict[str, list[Any]] = {}
    for answer in answers:
        for name, values in _columns(answer).items():
            table.setdefault(name, []).extend(values)
    return csv_text(table)


def markdown_of(answers: Sequence[Answer]) -> str:
    """One Markdown table of all tasks, with the columns that people see."""
    rows = []
    for answer in answers:
        shown = records(columns(answer.sweep, answer.rows))
        ranges = answer.forecast(answer.rows) if answer.forecast else ()
        lines = cells(answer.sweep, shown, answer.figures, ranges)
        rows += [(str(answer.sweep.workload.task), *line) for line in lines]
    return markdown_text(("task", *header(answers[0].figures, answers[0].forecast is not None)), rows)


def _nothing_texts(sweep: "Sweep") -> Iterator[Text]:
    verdict, *changes = nothing_lines(sweep)
    yield Text(verdict, style="bold")
    if not len(sweep.system_index):
        yield Text(workload_text(sweep.workload))
        yield from map(Text, changes)
        for line in (*reason_lines(sweep.certificate.problems, most=4), *refused_lines(sweep)):
            yield Text(line, style="dim")


def nothing_lines(sweep: "Sweep") -> Iterator[str]:
    """Why a sweep has no rows, and what would give it some."""
    if len(sweep.system_index):  # so a front is asked for, over money
        yield "No price is known of anything that runs: leave money out of --pareto, or add prices"
        return
    yield f"Nothing fits: none of {sweep.certificate.considered:,} plans can run"
    changes = sweep.nearest_fit()
    for change, system, plan, estimate in changes:
        row = plan_row(sweep.workload, system, plan, estimate, sweep.site)
        figures = f"{hours_text(row['job_hours'])}, {memory_text(row)} a GPU"
        yield f"would fit: {printable(change)}: {cards_text(row)}, {plan_text(row)}: {figures}"
    problems = sweep.certificate.problems
    if not changes and Problem.MEMORY in problems:
        yield "no single change makes it fit; try cards with more memory, more of them, or a shorter sequence"
    elif not changes:
        yield f"no single change makes it run; try: {max(problems, key=lambda problem: problems[problem]).remedy}"
