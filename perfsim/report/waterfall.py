"""Two plans side by side: which parts of time, memory and money make the difference."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from math import inf, log
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from perfsim.core.results import MEMORY_PARTS, StepTime
from perfsim.report.picture import BLUE, GREY, INK, blank, cut, plain_ticks, style
from perfsim.report.text import cards_text, plan_text
from perfsim.report.words import part_name
from perfsim.units import GIB, MILLI, count_text, number_text, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAR = 16
SAME = 1e-5  # of the total, what two plans may differ by and still be the same
TIME_PARTS = tuple(f.name for f in fields(StepTime))


@dataclass(frozen=True)
class Waterfall:
    """One figure of two plans; parts: name, of A, of B and the difference; differences add up to that of the totals."""

    title: str
    unit: str
    parts: tuple[tuple[str, float, float, float], ...]
    totals: tuple[float, float]

    def largest(self) -> list[tuple[str, float, float, float]]:
        """The parts that differ, by how much; rounding is no difference."""
        least = SAME * max(self.totals)
        return sorted((part for part in self.parts if abs(part[3]) > least), key=lambda part: -abs(part[3]))


def waterfalls(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Waterfall]:
    """Time, memory of the fullest GPU and, where both have a price, money, of two records of `estimate --json`.

    Time is that of A's batch: B's step counts as often as it must to see as many samples. Money is GPUs x hours x
    price; each factor's part is L·ln(b/a) with L = (B - A)/ln(B/A), which leaves no rest (log-mean Divisia index:
    Ang 2005, Energy Policy 33, 867).
    """
    samples = [round(row["step_seconds"] * row["samples_per_s"], 6) for row in (a, b)]
    scale = samples[0] / samples[1]
    is_same = abs(scale - 1.0) < 1e-6
    title = "one step" if is_same else f"{count_text(samples[0])} samples"
    found = [
        _of_parts(title, "ms", TIME_PARTS, a, b, 1.0 if is_same else scale, MILLI),
        _of_parts("memory of the fullest GPU", "GiB", MEMORY_PARTS, a, b, 1.0, GIB),
    ]
    if a.get("job_usd") and b.get("job_usd"):
        found.append(_money(a, b))
    return found


def waterfall_lines(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The two plans in a line each, then a table a figure, the largest differences first."""
    for letter, row in (("A", a), ("B", b)):
        yield Text(f"{letter}: {describe(row)}{_interval(row)}", style="bold")
    for fall in waterfalls(a, b):
        yield Text("")
        yield _table(fall)


def describe(row: Mapping[str, Any]) -> str:
    """Model, task, cards and plan."""
    return printable(f"{row['model']} {row['task']}, {cards_text(row)}, {plan_text(row)}")


def _interval(row: Mapping[str, Any]) -> str:
    """The 90 % interval of the step and its basis, where the record tells them."""
    ends = [row.get(f"step_seconds_{end}") for end in ("low", "high")]
    if not all(isinstance(end, float) and 0.0 < end < inf for end in ends):
        return ""
    low, high = (number_text(end / MILLI) for end in ends if end)
    basis = row.get("basis")
    return f", a step in {low} to {high} ms (90 %{f', {printable(basis)}' if isinstance(basis, str) else ''})"


def waterfall_picture(a: Mapping[str, Any], b: Mapping[str, Any]) -> "Figure":
    """A bar a part from where the one before ended, A's total at the top and B's at the bottom, in a panel a figure."""
    with style():
        falls = waterfalls(a, b)
        figure = blank(5.0 * len(falls), 4.9)
        panels = figure.subplots(1, len(falls), squeeze=False)[0]
        for axes, fall in zip(panels, falls, strict=True):
            _draw(axes, fall)
        for height, letter, row in ((0.965, "A", a), (0.925, "B", b)):
            figure.text(0.01, height, cut(f"{letter}: {describe(row)}", 75 * len(falls)), fontsize=10.0, va="center")
        figure.tight_layout(rect=(0.0, 0.0, 1.0, 0.9))
        return figure


def _draw(axes: "Axes", fall: Waterfall) -> None:
    """One figure: totals grey, what B has more of dark, what it has less of light and hatched."""
    parts = fall.largest()
    bars = [(f"A: {number_text(fall.totals[0])}", 0.0, fall.totals[0], GREY, "")]
    start = fall.totals[0]
    for name, *_, more in parts:
        look = (BLUE, "") if more > 0 else ("#ffffff", "////")
        bars.append((f"{name}: {signed(more)}", start, more, *look))
        start += more
    bars.append((f"B: {number_text(fall.totals[1])}", 0.0, fall.totals[1], GREY, ""))
    for i, (_, left, width, colour, hatch) in enumerate(bars):
        axes.barh(i, width, left=left, color=colour, hatch=hatch, edgecolor=INK, linewidth=0.6, height=0.66)
    axes.set_yticks(range(len(bars)), [name for name, *_ in bars])
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.03 * max(left + max(width, 0.0) for _, left, width, *_ in bars))
    axes.grid(visible=False, axis="y")
    plain_ticks(axes.xaxis)
    axes.set_title(f"{fall.title} [{fall.unit}]", loc="left", fontweight="bold")


def _of_parts(
    title: str, unit: str, names: Sequence[str], a: Mapping[str, Any], b: Mapping[str, Any], scale: float, size: float
) -> Waterfall:
    pairs = [(name, a[name] / size, b[name] * scale / size) for name in names]
    parts = tuple((part_name(name), of_a, of_b, of_b - of_a) for name, of_a, of_b in pairs if of_a + of_b > 0.0)
    return Waterfall(title, unit, parts, (sum(p[1] for p in parts), sum(p[2] for p in parts)))


def _money(a: Mapping[str, Any], b: Mapping[str, Any]) -> Waterfall:
    def factors(row: Mapping[str, Any]) -> tuple[float, float, float]:
        return row["gpus"], row["job_hours"], row["job_usd"] / (row["gpus"] * row["job_hours"])

    totals = float(a["job_usd"]), float(b["job_usd"])
    ratio = log(totals[1] / totals[0])
    mean = (totals[1] - totals[0]) / ratio if ratio else totals[0]
    names = ("number of GPUs", "hours", "USD a GPU-hour")
    found = zip(names, factors(a), factors(b), strict=True)
    return Waterfall("the job", "USD", tuple((n, one, two, mean * log(two / one)) for n, one, two in found), totals)


def _table(fall: Waterfall) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(f"{fall.title}, {fall.unit}", no_wrap=True)
    for header in ("A", "B", "B - A"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("")
    parts = fall.largest()
    most = max((abs(part[3]) for part in parts), default=1.0)
    for name, of_a, of_b, more in parts:
        bar = ("+" if more > 0 else "-") * max(1, round(BAR * abs(more) / most))
        table.add_row(name, number_text(of_a), number_text(of_b), signed(more), bar)
    if len(parts) < len(fall.parts) and fall.unit != "USD":
        rest = number_text(sum(part[1] for part in fall.parts if part not in parts))
        table.add_row("all else, the same", rest, rest, "0", "")
    of_a, of_b = fall.totals
    table.add_row(Text("total", style="bold"), number_text(of_a), number_text(of_b), signed(of_b - of_a), "")
    return table


def signed(value: float) -> str:
    """A difference with its sign.

    >>> signed(1234.5), signed(-0.5)
    ('+1,230', '-0.500')
    """
    return f"{'+' if value > 0 else ''}{number_text(value)}"
