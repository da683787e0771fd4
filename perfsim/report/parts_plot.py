"""Plans part by part as pictures, drawn by matplotlib: memory against what the card has, a step against the clock.

A part's filling is its hatch and its lightness, so that black and white tells parts apart.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perfsim.core.results import MEMORY_PARTS, Estimate
from perfsim.report.picture import BLUE, GREY, INK, Fill, blank, cut, plain_ticks, style
from perfsim.report.words import BOUNDS, part_name
from perfsim.search.uncertainty import MEMORY_REACH, Range, range_around
from perfsim.units import GIB, MILLI, number_text, percent_text, printable, seconds_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST = 5e-5  # of a total: parts below it are left out
LABEL, LINES = 30, 3  # letters and lines of a plan's name beside its bar
MEMORY_FILLS: dict[str, Fill] = dict(
    zip(
        MEMORY_PARTS,
        (
            ("#c8c8c8", ""), ("#ffffff", "||||"), (BLUE, ""), ("#a8cbe8", "////"), ("#6f9fd0", "\\\\\\\\"),
            ("#f4d3ae", ""), ("#e39a5b", "xxxx"), ("#d3e8cf", "----"), ("#ffffff", "...."),
        ),
        strict=True,
    )
)  # fmt: skip
KIND_FILLS: dict[str, Fill] = {
    "forward and backward": (BLUE, ""), "recomputation": ("#a8cbe8", "////"), "waiting for launches": ("#c8c8c8", ""),
    "exposed communication": ("#e39a5b", "xxxx"), "pipeline bubble": ("#ffffff", "...."),
    "optimizer": ("#d3e8cf", "----"), "host": ("#6b6b6b", ""), "stragglers": ("#ffffff", "||||"),
}  # fmt: skip
_KIND_OF_BOUND = {
    "launch": "waiting for launches", "communication": "exposed communication", "waiting": "pipeline bubble",
    "memory": "optimizer", "host": "host", "stragglers": "stragglers",
}  # fmt: skip
_HIDDEN: Any = {"facecolor": "none", "edgecolor": INK, "linestyle": (0, (3, 2)), "linewidth": 0.9}


@dataclass(frozen=True)
class Drawn:
    """A plan to draw: its name and its estimate, of one plan.

    step: the 90 % interval of the step [s]; alone: what exchanges would take by themselves (estimate.alone_seconds).
    """

    label: str
    estimate: Estimate
    step: Range | None = None
    alone: Mapping[str, Any] = field(default_factory=dict)

    def seconds(self) -> dict[str, float]:
        """The parts of the step, and 0 for exchanges that are hidden as a whole."""
        return {name: float(part) for name, part in self.estimate.time.parts().items()}

    def hidden(self, part: str) -> float:
        """Seconds of an exchange that other work hides."""
        return max(0.0, float(self.alone.get(part, 0.0)) - self.seconds()[part])


def parts_picture(plans: Sequence[Drawn], title: str) -> "Figure":
    """Memory and step of one plan in its parts; of several plans side by side."""
    with style():
        if len(plans) == 1:
            rows = len(_waterfall_parts(plans[0])) + 1
            figure = blank(9.2, 3.6 + 0.3 * rows)
            memory, step = figure.subplots(2, 1, height_ratios=[1.0, 0.55 + 0.26 * rows])
            draw_memory(memory, plans)
            draw_waterfall(step, plans[0])
        else:
            figure = blank(12.6, 2.6 + 0.42 * len(plans))
            memory, step = figure.subplots(1, 2, sharey=True)
            draw_memory(memory, plans)
            draw_steps(step, plans)
        wide = int(9.0 * figure.get_figwidth())
        top = 1.0 - 0.34 / figure.get_figheight()
        figure.text(0.012, top, cut(printable(title), wide), fontsize=11.5, fontweight="bold", va="center")
        figure.tight_layout(rect=(0.0, 0.0, 1.0, 1.0 - 0.55 / figure.get_figheight()))
        return figure


def draw_memory(axes: "Axes", plans: Sequence[Drawn]) -> None:
    """Memory of the fullest GPU, a stacked bar a plan, with its 90 % interval and the card's capacity."""
    shown: dict[str, None] = {}
    most = 0.0
    for i, plan in enumerate(plans):
        memory, capacity = plan.estimate.memory, float(plan.estimate.memory_capacity_bytes) / GIB
        parts = {name: float(part) / GIB for name, part in memory.parts().items()}
        shown |= dict.fromkeys(_stack(axes, i, parts, MEMORY_FILLS))
        ends = range_around(float(memory.total_bytes) / GIB, float(plan.estimate.memory_spread), MEMORY_REACH)
        _whisker(axes, i, ends)
        axes.plot([capacity] * 2, [i - 0.46, i + 0.46], color=INK, linewidth=3.0, solid_capstyle="butt", zorder=5)
        text = f"{number_text(ends.middle)} of {number_text(capacity)}"
        most = max(most, capacity, ends.high)
        axes.annotate(text, (max(capacity, ends.high), i), xytext=(5, 0), textcoords="offset points", va="center")
    axes.set_xlim(0.0, 1.2 * most)
    _names(axes, [plan.label for plan in plans])
    axes.set_title("memory of the fullest GPU [GiB]", loc="left", fontweight="bold")
    names = [name for name in MEMORY_PARTS if name in shown]
    fills = {part_name(name): MEMORY_FILLS[name] for name in names}
    _legend(axes, fills, [_capacity_handle(), _whisker_handle()], 6, is_from_edge=True)


def draw_steps(axes: "Axes", plans: Sequence[Drawn]) -> None:
    """One step, a stacked bar a plan: kernels, exposed communication, bubble and the rest, with its 90 % interval."""
    shown: dict[str, None] = {}
    longest = max(_end(plan) for plan in plans)
    for i, plan in enumerate(plans):
        kinds: dict[str, float] = {}
        for name, seconds in plan.seconds().items():
            kinds[kind_of(name)] = kinds.get(kind_of(name), 0.0) + seconds / MILLI
        kinds = {name: kinds[name] for name in KIND_FILLS if name in kinds}
        shown |= dict.fromkeys(_stack(axes, i, kinds, KIND_FILLS))
        if plan.step:
            _whisker(axes, i, _scaled(plan.step))
        text = seconds_text(sum(plan.seconds().values()))
        axes.annotate(text, (_end(plan), i), xytext=(5, 0), textcoords="offset points", va="center")
    axes.set_xlim(0.0, 1.2 * longest)
    _names(axes, [plan.label for plan in plans])
    axes.set_title("one step [ms]", loc="left", fontweight="bold")
    handles = [_whisker_handle()] if any(plan.step for plan in plans) else []
    _legend(axes, {name: KIND_FILLS[name] for name in KIND_FILLS if name in shown}, handles, 3)


def draw_waterfall(axes: "Axes", plan: Drawn) -> None:
    """One plan's step, a bar a part from where the one before ended; dashed in front of it what of it is hidden."""
    parts, start = _waterfall_parts(plan), 0.0
    total = sum(plan.seconds().values()) / MILLI
    for i, (name, seconds) in enumerate(parts.items()):
        width, hidden = seconds / MILLI, plan.hidden(name) / MILLI
        colour, hatch = KIND_FILLS[kind_of(name)]
        axes.barh(i, width, left=start, color=colour, hatch=hatch, edgecolor=INK, linewidth=0.6, height=0.7)
        text = f"{number_text(width)}   {percent_text(width / total)}"
        if hidden > LEAST * total:
            axes.barh(i, hidden, left=max(0.0, start - hidden), height=0.7, **_HIDDEN)
            text += f"   (+ {number_text(hidden)} hidden)"
        _in_margin(axes, i, text)
        start += width
    axes.barh(len(parts), total, color=GREY, edgecolor=INK, linewidth=0.6, height=0.7)
    if plan.step:
        _whisker(axes, len(parts), _scaled(plan.step))
    _in_margin(axes, len(parts), number_text(total))
    axes.set_xlim(0.0, 1.02 * _end(plan))
    _names(axes, [*map(part_name, parts), "total"])
    axes.set_title("one step [ms]", loc="left", fontweight="bold")
    kinds = {kind_of(name) for name in parts}
    handles = [_hidden_handle()] if any(plan.hidden(name) > LEAST * total * MILLI for name in parts) else []
    handles += [_whisker_handle()] if plan.step else []
    _legend(axes, {name: KIND_FILLS[name] for name in KIND_FILLS if name in kinds}, handles, 4)


def kind_of(part: str) -> str:
    """What a part of a step is, such as "exposed communication"."""
    if part in BOUNDS:
        return _KIND_OF_BOUND[BOUNDS[part]]
    return "recomputation" if part == "recompute_seconds" else "forward and backward"


def _waterfall_parts(plan: Drawn) -> dict[str, float]:
    """Those that are more than nothing, or hide something."""
    parts = plan.seconds()
    least = LEAST * sum(parts.values())
    return {name: seconds for name, seconds in parts.items() if max(seconds, plan.hidden(name)) > least}


def _end(plan: Drawn) -> float:
    """Where the bar of a step and its whisker end [ms]."""
    total = sum(plan.seconds().values())
    return max(total, plan.step.high if plan.step else 0.0) / MILLI


def _scaled(seconds: Range) -> Range:
    return Range(seconds.low / MILLI, seconds.middle / MILLI, seconds.high / MILLI)


def _stack(axes: "Axes", row: int, parts: Mapping[str, float], fills: Mapping[str, Fill]) -> list[str]:
    """A stacked bar; the names of the parts that it shows."""
    start, least, shown = 0.0, LEAST * sum(parts.values()), []
    for name, width in parts.items():
        if width > least:
            colour, hatch = fills[name]
            axes.barh(row, width, left=start, color=colour, hatch=hatch, edgecolor=INK, linewidth=0.5, height=0.62)
            shown.append(name)
        start += max(width, 0.0)
    return shown


def _whisker(axes: "Axes", row: int, ends: Range) -> None:
    """From low to high, white below so that it can be seen on every filling."""
    for colour, width in (("white", 3.2), (INK, 1.3)):
        axes.errorbar(
            [ends.middle], [row], xerr=[[ends.middle - ends.low], [ends.high - ends.middle]], fmt="none", ecolor=colour,
            elinewidth=width, capsize=3.0 if colour == INK else 0.0, zorder=4,
        )  # fmt: skip


def _in_margin(axes: "Axes", row: int, text: str) -> None:
    """A text right of the axes."""
    axes.annotate(text, (1.0, row), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points",
                  va="center")  # fmt: skip


def _names(axes: "Axes", labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), [_wrapped(label) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    plain_ticks(axes.xaxis)


def _wrapped(label: str) -> str:
    lines = textwrap.wrap(printable(label), LABEL)
    return "\n".join([*lines[: LINES - 1], cut(" ".join(lines[LINES - 1 :]), LABEL)] if len(lines) > LINES else lines)


def _legend(
    axes: "Axes", fills: Mapping[str, Fill], more: Sequence[Any], columns: int, is_from_edge: bool = False
) -> None:
    """What fillings and lines mean, below the axes; its left end is theirs, or the figure's edge."""
    from matplotlib.patches import Patch
    from matplotlib.transforms import blended_transform_factory

    handles: list[Any] = [
        Patch(facecolor=colour, hatch=hatch, edgecolor=INK, linewidth=0.5, label=name)
        for name, (colour, hatch) in fills.items()
    ]
    figure: Any = axes.get_figure(root=True)
    height = 72.0 * figure.get_figheight() * axes.get_position().height
    place = blended_transform_factory(figure.transFigure, axes.transAxes) if is_from_edge else axes.transAxes
    axes.legend(
        handles=[*handles, *more], loc="upper left", bbox_to_anchor=(0.012 * is_from_edge, -22.0 / height),
        bbox_transform=place, ncols=columns, frameon=False,
        fontsize=8.5, handlelength=1.8, handleheight=1.1, columnspacing=1.3, borderaxespad=0.0,
    )  # fmt: skip


def _capacity_handle() -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="", marker="|", markersize=12, markeredgewidth=3.0, color=INK, label="the card has")


def _whisker_handle() -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=INK, linewidth=1.3, marker="|", markersize=6, label="90 % interval")


def _hidden_handle() -> Any:
    from matplotlib.patches import Patch

    return Patch(label="hidden beside other work", **_HIDDEN)
