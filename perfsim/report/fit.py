"""The fit matrix for people: cards of like memory in a row, three figures for every way to train, what would help."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from perfsim.core.hardware import Gpu
from perfsim.core.plan import Recompute
from perfsim.formulas.fits import HARDLY_CHANCE, SURE_CHANCE
from perfsim.formulas.needs import verdict
from perfsim.report.export import markdown_inline, markdown_text
from perfsim.report.text import card_text, sample_text
from perfsim.search.fit import MOST_SAMPLES, MOST_TOKENS, Fit
from perfsim.search.intervals import Basis
from perfsim.search.uncertainty import MEMORY_REACH, range_around
from perfsim.units import GIB, NO_NUMBER, floor_text, number_text, printable

ALIKE = 1.1  # memory of the largest card of a row over that of the smallest
LEAST_CARDS_WIDTH, CARDS = 12, 1  # and which column they are
REASON_WIDTH = 40  # of the names of cards that cannot run
WORTH = 0.95  # of the need, that a change must at least leave to be told


@dataclass(frozen=True)
class Row:
    """Cards that are told together, least memory first; the figures are those of the first."""

    cards: tuple[int, ...]


def fit_lines(found: Fit, basis: Basis, show_all: bool = False) -> Iterator[RenderableType]:
    """The answer in lines: what is asked, the matrix, its words, what every method needs, and what it rests on."""
    yield Text(title(found), style="bold", overflow="fold")
    yield Text("")
    yield FitTable(found, rows_of(found, show_all))
    for line in (*legend(found, show_all), *_need_lines(found), *_reasons(found), *_basis_lines(found, basis)):
        yield Text(line, style="dim", overflow="fold")


def title(found: Fit) -> str:
    """What is asked, in a line."""
    question, job = found.question, found.question.methods[0].workloads[0]
    n, zero = int(question.plan.gpus), int(question.plan.zero_stage)
    where = "one GPU" if n == 1 else f"each of {n:,} GPUs{f' under ZeRO-{zero}' if zero else ''}"
    adapters = question.methods[-1].workloads[0]
    rank = f", adapters of rank {adapters.lora_rank}" if adapters.is_adapter else ""
    return f"What of {printable(job.model.name)} fits on {where}: {_size_text(found)}, {job.optimizer}{rank}"


def rows_of(found: Fit, show_all: bool = False) -> list[Row]:
    """Every card by itself, or those of like memory that take the same formats and can run the same, together."""
    cards = found.question.cards
    order = sorted(range(len(cards)), key=lambda i: (found.capacity_bytes[i], _formats(found, i), cards[i].name))
    if show_all:
        return [Row((card,)) for card in order]
    rows: list[list[int]] = []
    of_kind: dict[Any, list[int]] = {}
    for card in order:
        kind = _formats(found, card), tuple(found.problems[:, card].tolist())
        row = of_kind.get(kind)
        if row is None or found.capacity_bytes[card] > ALIKE * found.capacity_bytes[row[0]]:
            row = of_kind[kind] = []
            rows.append(row)
        row.append(card)
    return [Row(tuple(row)) for row in rows]


def header(found: Fit) -> list[str]:
    """The columns: of the cards, then of every method."""
    figures = ("mb", "P %") if _has_one_length(found) else ("mb", "tokens", "P %")
    return ["GiB", "cards", "in", *(f"{method.name} {name}" for method in found.question.methods for name in figures)]


def cells(found: Fit, row: Row) -> list[str]:
    """A row as texts, but for the names of its cards."""
    first, sizes = row.cards[0], [_gib(found.question.cards[card]) for card in row.cards]
    texts = [sizes[0] if sizes[0] == sizes[-1] else f"{sizes[0]}-{sizes[-1]}", "", _formats(found, first)]
    for method in range(len(found.question.methods)):
        texts += _figures(found, method, first)
    return texts


def full_rows(found: Fit, show_all: bool = False) -> list[list[str]]:
    """The matrix as texts with the names of all cards."""
    cards = found.question.cards
    rows = rows_of(found, show_all)
    lines = [cells(found, row) for row in rows]
    for line, row in zip(lines, rows, strict=True):
        line[CARDS] = ", ".join(_names([cards[card] for card in row.cards]))
    return lines


def fit_markdown(found: Fit, show_all: bool = False) -> str:
    """The matrix as Markdown."""
    table = markdown_text(header(found), full_rows(found, show_all))
    return "\n".join([f"{markdown_inline(title(found))}\n", table, *(f"{line}\n" for line in legend(found, show_all))])


def fit_record(found: Fit, basis: Basis) -> dict[str, Any]:
    """What is asked and what every card can do, as JSON has it."""
    table = found.records()
    return {
        "question": title(found),
        "memory_spread": found.question.software.memory_spread,
        "memory_basis": basis.word,
        "memory_basis_reason": basis.reason,
        "changes": [
            {
                "change": change.text,
                "memory_bytes": {
                    method.name: None if np.isnan(size) else float(size)
                    for method, size in zip(found.question.methods, change.memory_bytes, strict=True)
                },
            }
            for change in found.lighter
        ],
        "rows": [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)],
    }


@dataclass(frozen=True)
class FitTable:
    """The matrix, with as many names of cards as the width at hand takes."""

    found: Fit
    rows: Sequence[Row]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table for the width at hand."""
        lines = [cells(self.found, row) for row in self.rows]
        heads = [self._over(name) for name in header(self.found)]
        own = [max(*map(len, head), *(len(line[i]) for line in lines)) for i, head in enumerate(heads)]
        room = max(options.max_width - sum(own) + own[CARDS] - len(heads), LEAST_CARDS_WIDTH)
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        for head in heads:
            is_text = head[1] in ("cards", "in")
            table.add_column("\n".join(head), justify="left" if is_text else "right", no_wrap=True)
        cards = self.found.question.cards
        for row, line in zip(self.rows, lines, strict=True):
            line[CARDS] = _some_names([cards[card] for card in row.cards], room)
            table.add_row(*map(Text, line))
        yield table

    def _over(self, name: str) -> tuple[str, str]:
        """A column's title in two lines: the method over the one in the middle of its columns."""
        method, _, figure = name.rpartition(" ") if name[-1] != "%" else name.partition(" ")
        is_middle = figure == ("mb" if _has_one_length(self.found) else "tokens")
        return method if is_middle else "", figure


def _figures(found: Fit, method: int, card: int) -> list[str]:
    """The largest micro-batch, the longest sequence and the chance in per cent, of a method on a card."""
    has_one = _has_one_length(found)
    if found.problems[method, card]:
        return [NO_NUMBER, *([] if has_one else [NO_NUMBER]), "no"]
    batch, length = int(found.largest_micro_batch[method, card]), int(found.longest_sequence[method, card])
    more = ">" if batch == MOST_SAMPLES else ""
    longer = ">" if length == MOST_TOKENS else ""
    end = "*" if length == found.question.most_tokens < MOST_TOKENS else ""
    chance = float(found.fit_probability[method, card])
    is_again = int(found.recompute[method, card]) == Recompute.FULL and len(found.question.recompute) > 1
    again = "r" if is_again and chance > HARDLY_CHANCE else ""
    lengths = [] if has_one else [longer + floor_text(length) + end if length else NO_NUMBER]
    return [more + floor_text(batch) if batch else NO_NUMBER, *lengths, _chance(chance) + again]


def _chance(chance: float) -> str:
    """A chance in per cent; no prediction is certain.

    >>> _chance(1.0), _chance(0.374), _chance(0.0)
    ('>99', '37', '<1')
    """
    return "<1" if chance < HARDLY_CHANCE else ">99" if chance > 1.0 - HARDLY_CHANCE else f"{100.0 * chance:.0f}"


def _has_one_length(found: Fit) -> bool:
    """The model reads samples of one size alone."""
    return found.question.least_tokens == found.question.most_tokens


def _size_text(found: Fit) -> str:
    return f"{int(found.question.plan.micro_batch_size):,} x {sample_text(found.question.methods[0].workloads[0])}"


def _formats(found: Fit, card: int) -> str:
    return found.workload(0, card).precision.matmul


def _gib(card: Gpu) -> str:
    return f"{float(card.memory_bytes) / GIB:.0f}"


def _names(cards: Sequence[Gpu]) -> list[str]:
    """Names of cards, the newest that people buy first."""
    ordered = sorted(cards, key=lambda card: ("RTX" not in card.series and "GTX" not in card.series,
                                              -float(card.compute_capability), card.name))  # fmt: skip
    return [card_text(card.name) for card in ordered]


def _some_names(cards: Sequence[Gpu], width: int) -> str:
    """As many names as the width takes, and how many more there are."""
    names = _names(cards)
    for count in range(len(names), 0, -1):
        rest = f" +{len(names) - count}" if count < len(names) else ""
        text = ", ".join(names[:count]) + rest
        if len(text) <= width:
            return text
    rest = f" +{len(names) - 1}" if len(names) > 1 else ""
    one = next((name for name in names if len(name + rest) <= width), None)
    return (one or f"{names[0][: width - len(rest) - 3]}...") + rest


def legend(found: Fit, show_all: bool = False) -> list[str]:
    """What the columns mean."""
    question, job = found.question, found.question.methods[0].workloads[0]
    sure = f"{100.0 * SURE_CHANCE:.0f} %"
    again = ", recomputing where that allows more" if len(question.recompute) > 1 else ""
    again = ", with full recomputation" if question.recompute == (Recompute.FULL,) else again
    tokens = "" if _has_one_length(found) else "; tokens: the longest sequence, alone"
    lines = [f"mb: the largest micro-batch of {sample_text(job)}{tokens}; what fits surely ({sure}){again}"]
    marks = [f"P: chance that {_size_text(found)} fits"]
    if np.any(found.recompute == Recompute.FULL) and len(question.recompute) > 1:
        marks.append("r: with full recomputation")
    if (
        not _has_one_length(found)
        and np.any(found.longest_sequence == question.most_tokens)
        and question.most_tokens < MOST_TOKENS
    ):
        marks.append("*: all the tokens that the model has positions for")
    lines.append("; ".join(marks))
    if not show_all:
        lines.append("cards of like memory share a row, the figures are those of its smallest; each by itself: --all")
    return lines


def _need_lines(found: Fit) -> Iterator[str]:
    """What the micro-batch asked about needs by the methods that do not surely fit everywhere, and after changes."""
    for row, method in enumerate(found.question.methods):
        if np.nanmin(found.fit_probability[row], initial=1.0) >= SURE_CHANCE:
            continue
        now, *changes = [(one.text, float(one.memory_bytes[row])) for one in found.lighter]
        ends = range_around(now[1] / GIB, found.question.software.memory_spread, MEMORY_REACH)
        told = [f"{number_text(size / GIB)} by {text}" for text, size in changes if size <= WORTH * now[1]]
        least = "at least " if len(found.question.recompute) > 1 else ""
        yield (
            f"{method.name} needs {least}{number_text(ends.middle)} GiB ({number_text(ends.low)}-"
            f"{number_text(ends.high)}){'; ' if told else ''}{', '.join(told)}"
        )


def _reasons(found: Fit) -> Iterator[str]:
    """What cards lack that cannot run a method."""
    question, lacking = found.question, dict[str, tuple[set[int], list[str]]]()
    for row, method in enumerate(question.methods):
        for i in np.flatnonzero(found.problems[row]).tolist():
            lacks = verdict(question.cards[i], found.workload(row, i), question.software).lacking
            cards, methods = lacking.setdefault(" and ".join(lacks), (set(), []))
            cards.add(i)
            methods += [method.name] * (method.name not in methods)
    for what, (cards, methods) in lacking.items():
        names = _some_names([question.cards[i] for i in sorted(cards)], REASON_WIDTH)
        yield printable(f"no: without {what} no {', '.join(methods)}: {names} (perfsim support CARD)")


def _basis_lines(found: Fit, basis: Basis) -> Iterator[str]:
    """Formats, software, and how well its memory is known."""
    question = found.question
    keys = dict.fromkeys(found.workload(0, card).precision.key for card in range(len(question.cards)))
    yield printable(
        f"{' or '.join(keys)} on {question.software.name}; memory {basis.text}; 90 % of peaks within"
        f" x/ {np.exp(MEMORY_REACH * question.software.memory_spread):.2f}"
    )
