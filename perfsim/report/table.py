"""A sweep as a table for people: the verdict first, then one row a card, what cannot run, and what it rests on."""

import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console, ConsoleOptions, JustifyMethod, OverflowMethod, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from perfsim.core.plan import CARD_CANNOT
from perfsim.formulas.fits import SURE_CHANCE
from perfsim.report.columns import columns, records
from perfsim.report.export import write
from perfsim.report.front import front_verdict, left_out_lines
from perfsim.report.intervals import LEGEND, range_text, reach_text, width_text
from perfsim.report.job import goodput_text
from perfsim.report.refused import refused_lines
from perfsim.report.text import (
    card_text,
    cards_text,
    hours_text,
    is_limited,
    memory_text,
    miss_text,
    money_text,
    plan_text,
    search_line,
    telling_lines,
    workload_text,
)
from perfsim.search.certificate import OBJECTIVES
from perfsim.search.intervals import Intervals
from perfsim.units import GIB, MILLI, NO_NUMBER, number_text, percent_text, printable, usd_text

if TYPE_CHECKING:
    from perfsim.search.sweep import Sweep

CARDS_SHOWN = 11
WIDE = 100
CARD_WIDTH = 22
LIMIT_WIDTH = 9  # of a lowered power limit behind the card
REACH = "+-%"
HEADER = ("#", "GPUs", "plan", "GiB", "step ms", REACH, "samples/s", "hours", "$", "kWh", "note")
_WIDE_ONLY = ("samples/s", "note")
_TEXTS = ("GPUs", "plan", "note")
Row = dict[str, Any]
Forecast = Callable[[Sequence[int]], Sequence[Intervals]]


def console() -> Console:
    """A console on standard output, at most 100 columns wide; no markup in data, no colours when piped."""
    out = Console(highlight=False, markup=False, emoji=False)
    if not out.is_terminal and "COLUMNS" not in os.environ:
        out.width = WIDE
    out.width = min(out.width, WIDE)
    return out


def plain_text(lines: Iterable[RenderableType], width: int = WIDE) -> str:
    """The lines as they stand in a file: no colours, no blanks at the end of a line."""
    buffer = io.StringIO()
    out = Console(file=buffer, width=width, highlight=False, markup=False, emoji=False, no_color=True)
    for line in lines:
        out.print(line)
    return "".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines())


def show(lines: Iterable[RenderableType], target: str = "-") -> None:
    """Prints the lines, or writes them to the file `target`."""
    if target != "-":
        write(target, plain_text(lines))
        return
    out = console()
    if not out.is_terminal:
        write("-", plain_text(lines, out.width))
        return
    for line in lines:
        out.print(line)


def override_lines(files: Iterable[Path]) -> Iterator[Text]:
    """The user's own spec files that went into an answer: it must not change silently."""
    for file in files:
        yield _line(f"own specs: {file}", "yellow")


def rows_to_show(sweep: "Sweep", show_all: bool = False, top: int | None = None) -> list[int]:
    """Rows of the answer, best first: of each card (of each count and limit where there is one card) the best plan."""
    if show_all:
        return list(range(len(sweep.system_index)))[:top]
    cards = [system.gpu.key for system in sweep.systems]
    counts = np.broadcast_to(sweep.plans.gpus, np.shape(sweep.system_index))
    has_one_card = len(set(cards)) == 1
    limits = [float(system.gpu.power_limit_watts) for system in sweep.systems]
    best: dict[tuple[str, int, float], int] = {}
    for row, system in enumerate(sweep.system_index):
        alike = (int(counts[row]), limits[int(system)]) if has_one_card else (0, 0.0)
        best.setdefault((cards[int(system)], *alike), row)
    return list(best.values())[:top]


def table_lines(
    sweep: "Sweep", rows: Sequence[int], most: int | None = None, figures: Sequence[str] = (),
    forecast: Forecast | None = None,
) -> Iterator[RenderableType]:  # fmt: skip
    """The lines of one answer: the first `most` of `rows` as a table, between its verdict and what it rests on.

    figures: those of the front that the rows are. forecast: the intervals of rows.
    """
    shown = records(columns(sweep, rows[:most]))
    winners = winning_rows(sweep)
    ranges = forecast([*winners.values(), *rows[:most]]) if forecast else ()
    told, of_winners = ranges[len(winners) :], dict(zip(winners, ranges, strict=False))
    yield from (_line(line, style) for line, style in _verdict(sweep, shown[0], figures, told[:1], of_winners))
    yield Text("")
    yield SweepTable(shown, header(figures, bool(told)), cells(sweep, shown, figures, told))
    if len(shown) < len(rows):
        every = "" if figures else "; every plan: --all"
        yield _line(f"... {len(rows) - len(shown)} more: --top {len(rows)}{every}", "dim")
    for line in (
        *left_out_lines(sweep, figures),
        search_line(sweep.certificate, sweep.objective),
        *_reasons(sweep),
        *support_lines(shown),
        *basis_lines(sweep, shown),
        *(interval_basis_lines(told[0]) if told else ()),
    ):
        yield _line(line, "dim")


def header(figures: Sequence[str] = (), has_ranges: bool = False) -> tuple[str, ...]:
    """The table's columns: memory that is taken, or, where a front is over it, memory that is left."""
    names = [name for name in HEADER if has_ranges or name != REACH]
    return tuple("GiB left" if name == "GiB" and "headroom" in figures else name for name in names)


def cells(
    sweep: "Sweep", shown: Sequence[Row], figures: Sequence[str] = (), told: Sequence[Intervals] = ()
) -> list[tuple[str, ...]]:
    """The table's cells as text, in the order of the header."""
    is_left = "headroom" in figures
    notes = [", ".join(filter(None, both)) for both in zip(notes_of(sweep, shown), _places(shown), strict=True)]
    reaches: list[tuple[str, ...]] = [(reach_text(one),) for one in told] or [()] * len(shown)
    ranks = iter(range(1, len(shown) + 1))
    return [
        (
            str(next(ranks)) if row["meets_site"] else NO_NUMBER,
            cards_text(row),
            plan_text(row),
            number_text((row["memory_capacity_bytes"] - row["memory_bytes"] if is_left else row["memory_bytes"]) / GIB),
            number_text(row["step_seconds"] / MILLI),
            *own,
            number_text(row["samples_per_s"]),
            number_text(row["job_hours"]),
            NO_NUMBER if row["job_usd"] is None else usd_text(row["job_usd"]).removeprefix("$"),
            number_text(row["job_kwh"]),
            note,
        )
        for row, note, own in zip(shown, notes, reaches, strict=True)
    ]


def interval_basis_lines(first: Intervals) -> list[str]:
    """What the step of the first row rests on, and what the column of intervals means."""
    return [f"first row {first.basis.text}", LEGEND]


def _reasons(sweep: "Sweep") -> list[str]:
    """The cards that cannot run the job, by name; else the commonest reason that plans cannot run."""
    refused, problems = refused_lines(sweep), sweep.certificate.problems
    if refused:
        problems = {problem: count for problem, count in problems.items() if problem not in CARD_CANNOT}
    return [*telling_lines(problems), *refused]


def support_lines(shown: Sequence[Row]) -> list[str]:
    """What software the cards shown lack, like cards together; nothing where all have everything."""
    limited: dict[str, list[str]] = {}
    for row in shown:
        if row["software_limits"]:
            limited.setdefault(row["software_limits"], []).append(card_text(row["gpu_name"]))
    told = (f"{', '.join(dict.fromkeys(cards))}: {limits}" for limits, cards in limited.items())
    return [f"software: {'; '.join(told)} (perfsim support)"] if limited else []


def basis_lines(sweep: "Sweep", shown: Sequence[Row]) -> list[str]:
    """What the figures rest on: software, the cards' calibration, prices."""
    gpus = {system.gpu.key: system.gpu for system in sweep.systems}
    bases = Counter(gpus[key].calibration.basis for key in dict.fromkeys(row["gpu"] for row in shown))
    cards = ", ".join(f"{count} {printable(basis)}" for basis, count in bases.most_common())
    prices = printable(shown[0]["price_basis"]) or "none known"
    return [
        f"basis: {printable(sweep.workload.precision.key)} on {printable(sweep.software.name)};"
        f" efficiency of the cards shown: {cards}",
        goodput_text(shown[0], sweep.site),
        f"price of the first row: {prices}; electricity {usd_text(sweep.site.usd_per_kwh)}/kWh, PUE {sweep.site.pue:g}",
    ]


def _verdict(
    sweep: "Sweep", best: Row, figures: Sequence[str], told: Sequence[Intervals], of_winners: Mapping[str, Intervals]
) -> Iterator[tuple[str, str]]:
    miss = miss_text(best, sweep.site)
    if figures:
        yield f"{'Nothing meets the limits; ' if miss else ''}{front_verdict(sweep, figures)}", "bold"
    else:
        ends = [range_text(told[0] if told else None, name) for name in ("job_hours", "job_usd")]
        money = money_text(best["job_usd"]) + (ends[1] if best["job_usd"] is not None else "")
        amounts = f"{hours_text(best['job_hours'])}{ends[0]}, {money}, {memory_text(best)} a GPU"
        head = f"Nothing meets the limits; the first {miss}" if miss else BEST[sweep.objective]
        yield f"{head}: {cards_text(best)}, {plan_text(best)}: {amounts}", "bold"
    yield workload_text(sweep.workload), ""
    others = [
        f"{WINNERS[key][0]}: {cards_text(row)}, {WINNERS[key][1](row)}{width_text(of_winners.get(key), key)}"
        for key, row in _winners(sweep).items()
        if figures or key != OBJECTIVES[sweep.objective]
    ]
    if others:
        text = "; ".join(others)
        yield text[0].upper() + text[1:], ""


BEST = {"time": "Fastest", "money": "Cheapest", "energy": "Least energy"}
WINNERS: dict[str, tuple[str, Callable[[Row], str]]] = {
    "job_hours": ("fastest", lambda row: hours_text(row["job_hours"])),
    "job_usd": ("cheapest", lambda row: money_text(row["job_usd"])),
    "job_kwh": ("least energy", lambda row: f"{number_text(row['job_kwh'])} kWh"),
}


def _winners(sweep: "Sweep") -> dict[str, Row]:
    """Their rows."""
    return {key: records(columns(sweep, [row]))[0] for key, row in winning_rows(sweep).items()}


def winning_rows(sweep: "Sweep") -> dict[str, int]:
    """The rows with the least hours, dollars and kWh of all plans inside the site's limits, safe ones where any is."""
    from perfsim.search.branch import is_safe

    safe = is_safe(sweep.estimates)
    winners = {}
    for key in WINNERS:
        counts = np.asarray(sweep.meets_site)
        if key == "job_usd":
            counts = counts & sweep.has_price
        counts = counts & safe if (counts & safe).any() else counts
        if counts.any():
            figure = np.where(counts, getattr(sweep.estimates, key), np.inf)
            winners[key] = int(np.argmin(figure))
    return winners


def notes_of(sweep: "Sweep", shown: Sequence[Row]) -> list[str]:
    """What each row is the best in, and what speaks against it."""
    winners = _winners(sweep)
    names = [[WINNERS[key][0] for key, winner in winners.items() if winner == row] for row in shown]
    misses = [miss_text(row, sweep.site) for row in shown]
    risks = [
        "" if (chance := row["fit_probability"]) >= SURE_CHANCE else f"fits at {percent_text(chance)}" for row in shown
    ]
    return [", ".join([*name, *filter(None, rest)]) for name, *rest in zip(names, risks, misses, strict=True)]


def _places(shown: Sequence[Row]) -> list[str]:
    """The systems of rows that differ in nothing else of their cards."""
    systems: dict[str, set[str]] = {}
    for row in shown:
        systems.setdefault(cards_text(row), set()).add(row["system"])
    return [f"on {row['system']}" if len(systems[cards_text(row)]) > 1 else "" for row in shown]


@dataclass(frozen=True)
class SweepTable:
    """The rows of a sweep; on a console narrower than 100 columns without the columns that can be missed."""

    shown: Sequence[Row]
    header: Sequence[str]
    lines: Sequence[tuple[str, ...]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table for the width at hand."""
        kept = [i for i, name in enumerate(self.header) if options.max_width >= WIDE or name not in _WIDE_ONLY]
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        for i in kept:
            name = self.header[i]
            overflow: OverflowMethod = "ellipsis" if name == "GPUs" else "fold"
            justify: JustifyMethod = "left" if name in _TEXTS else "right"
            most = None if name != "GPUs" else CARD_WIDTH + LIMIT_WIDTH * any(map(is_limited, self.shown))
            wraps = name in ("plan", "note")
            table.add_column(name, justify=justify, no_wrap=not wraps, overflow=overflow, max_width=most)
        for row, line in zip(self.shown, self.lines, strict=True):
            table.add_row(*(Text(line[i]) for i in kept), style="" if row["meets_site"] else "dim")
        yield table


def _line(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style, overflow="fold")
