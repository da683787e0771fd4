"""A front as a picture, drawn by matplotlib: the plans that none beats in two figures, named, before all others.

Names lie on the side of the front where better plans would be: no plan is there, so they hide none.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from perfsim.report.columns import columns, records
from perfsim.report.front import TOLD, nouns
from perfsim.report.picture import GREY, INK, style
from perfsim.report.text import cards_text, workload_text
from perfsim.search.front import LARGER_IS_BETTER, contenders, figure
from perfsim.units import number_text, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from perfsim.search.sweep import Sweep

FRONT = "#1f5fa8"
LOGARITHMIC = 8.0  # from which ratio of its ends an axis is
SHOWN = 3.0  # how many times the worst of the front others may be to be drawn
Box = tuple[float, float, float, float]


def front_picture(sweeps: Sequence["Sweep"], names: Sequence[str]) -> "Figure":
    """A panel a sweep: its front over two figures, the cards on it named, and the other plans behind."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style():
        picture = Figure(figsize=(8.4 * len(sweeps), 5.8), facecolor="white")
        FigureCanvasAgg(picture)  # which knows how wide a text is
        panels = picture.subplots(1, len(sweeps), squeeze=False)[0]
        picture.subplots_adjust(left=0.09 / len(sweeps), right=1.0 - 0.03 / len(sweeps), top=0.86, bottom=0.11)
        for axes, sweep in zip(panels, sweeps, strict=True):
            _panel(axes, sweep, names)
        return picture


def _panel(axes: "Axes", sweep: "Sweep", names: Sequence[str]) -> None:
    axes.set_title(f"Plans that none beats in {nouns(names)}\n", loc="left", fontsize=12.0, fontweight="bold")
    axes.set_xlabel(TOLD[names[0]].axis)
    axes.set_ylabel(TOLD[names[1]].axis)
    front, rows = sweep.pareto(*names), contenders(sweep, names)
    axes.text(0.0, 1.015, _subtitle(sweep, len(rows) - len(front)), transform=axes.transAxes, fontsize=8.5)
    if not len(front):
        return
    amounts = [figure(sweep, name) / TOLD[name].size for name in names]
    for axis, name, amount in zip((axes.xaxis, axes.yaxis), names, amounts, strict=True):
        _scale(axis, name, amount[front], amount[rows])
    x, y = amounts
    axes.scatter(x[rows], y[rows], s=7, color=GREY, alpha=0.35, linewidth=0, rasterized=len(rows) > 2000)
    axes.step(x[front], y[front], where="post", color=FRONT, linewidth=1.2)
    axes.scatter(x[front], y[front], s=34, color=FRONT, edgecolor="white", linewidth=0.8, zorder=3)
    signs = [1.0 if name in LARGER_IS_BETTER else -1.0 for name in names]
    _Names(axes, x[front], y[front], signs).put_all([cards_text(row) for row in records(columns(sweep, front))])


def _subtitle(sweep: "Sweep", others: int) -> str:
    behind = f"\nbehind: {others:,} other plans that fit" if others else ""
    return printable(workload_text(sweep.workload)) + behind


def _scale(axis: Any, name: str, front: np.ndarray, others: np.ndarray) -> None:
    """An axis with the whole front, room for names on its better side, and of the others those not far behind."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    low, high = float(front.min()), float(front.max())
    if name in LARGER_IS_BETTER:
        low = max(float(others.min()), low - (high - low))
    else:
        high = min(float(others.max()), SHOWN * high)
    if low > 0.0 and high / low > LOGARITHMIC:
        margin = (high / low) ** 0.06
        ends, room = (low / margin, high * margin), (high / low) ** 0.16
        ends = (ends[0], ends[1] * room) if name in LARGER_IS_BETTER else (ends[0] / room, ends[1])
        axis._set_axes_scale("log")
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_minor_locator(NullLocator())
    else:
        span = (high - low) or abs(high) or 1.0
        better = (0.06, 0.2) if name in LARGER_IS_BETTER else (0.2, 0.06)
        ends = (low - better[0] * span, high + better[1] * span)
    if name == "gpus":
        axis.set_major_locator(FixedLocator(sorted(set(others.tolist()))))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number_text(value, 3 if abs(value) >= 10 else 2)))
    axis._set_lim(*ends, auto=False)


class _Names:
    """Writes names beside the points of a front, where neither points nor names nor lines are; in pixels."""

    def __init__(self, axes: "Axes", x: np.ndarray, y: np.ndarray, signs: Sequence[float]) -> None:
        self._axes, self._signs = axes, signs
        self._points = axes.transData.transform(np.column_stack([x, y]))
        corners = np.column_stack([x[1:], y[:-1]])  # of the steps between them
        line = (
            np.insert(self._points, range(1, len(x)), axes.transData.transform(corners), axis=0) if len(x) > 1 else []
        )
        self._taken = [(px - 5, py - 5, px + 5, py + 5) for px, py in self._points]
        for start, end in zip(line[:-1], line[1:], strict=True):
            self._taken += _along(start, end)

    def put_all(self, names: Sequence[str]) -> None:
        """A name for each run of points of the same cards, those at the ends of the front first."""
        runs = [list(run) for _, run in groupby(range(len(names)), key=lambda i: names[i])]
        inwards = sorted(range(len(runs)), key=lambda i: min(i, len(runs) - 1 - i))
        for i in inwards:
            run = runs[i]
            self._put(self._points[run[len(run) // 2]], names[run[0]])

    def _put(self, point: np.ndarray, name: str) -> None:
        axes = self._axes
        text = axes.text(0, 0, printable(name), fontsize=8.5, color=INK, transform=None, va="bottom", zorder=4)
        size = text.get_window_extent(axes.figure.canvas.get_renderer())  # type: ignore[union-attr]
        frame = axes.get_window_extent()
        for box, end in self._places(point, size.width, size.height):
            leader = _along(point + 0.3 * (end - point), end)
            inside = frame.x0 < box[0] and box[2] < frame.x1 and frame.y0 < box[1] and box[3] < frame.y1
            if inside and not any(_overlap(one, other) for one in [box, *leader[1:]] for other in self._taken):
                break
        else:
            text.remove()
            return
        self._taken += [box, *leader]
        back = axes.transData.inverted()
        text.set_transform(axes.transData)
        text.set_position(back.transform((box[0] + 1, box[1] + 1)))
        ends = back.transform([point, end])
        axes.plot(ends[:, 0], ends[:, 1], color=GREY, linewidth=0.6, zorder=2)

    def _places(self, point: np.ndarray, width: float, height: float) -> Iterator[tuple[Box, np.ndarray]]:
        """(box, where a line from the point meets it), the nearest first, towards what would be better."""
        for distance in range(10, 260, 5):
            for turn in (45, 30, 60, 15, 75, 5, 85, -15, 105):
                dx, dy = math.cos(math.radians(turn)), math.sin(math.radians(turn))
                x, y = point + distance * np.array([self._signs[0] * dx, self._signs[1] * dy])
                left = x if self._signs[0] > 0 else x - width
                low = y - height / 2 if abs(dy) < 0.5 else y if self._signs[1] > 0 else y - height
                yield (left - 1, low - 1, left + width + 1, low + height + 1), np.array([x, y])


def _along(start: Any, end: Any) -> list[Box]:
    """Small boxes along a line."""
    count = 2 + int(math.dist(start, end) / 6)
    return [(x - 1.0, y - 1.0, x + 1.0, y + 1.0) for x, y in np.linspace(start, end, count)]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
