"""A front as a picture, drawn by matplotlib: the plans that none beats in two figures, named, before all others.

Names lie on the side of the front where better plans would be: no plan is there, so they hide none.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np

from perfsim.report.columns import columns, records
from perfsim.report.front import TOLD, nouns
from perfsim.report.picture import BLUE, GREY, INK, Box, blank, boxes_along, overlap, plain_ticks, style
from perfsim.report.text import cards_text, workload_text
from perfsim.search.front import LARGER_IS_BETTER, contenders, figure
from perfsim.units import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from perfsim.search.sweep import Sweep

LOGARITHMIC, LEAST = 4.0, 1e-3  # from which ratio of the front's ends an axis is; and what of it zero is drawn as
ROOM, BEHIND, MARGIN = {"x": 0.5, "y": 0.35}, 0.6, 0.06  # of the front's extent: for names, for other plans, to spare


def front_picture(sweeps: Sequence["Sweep"], names: Sequence[str]) -> "Figure":
    """A panel a sweep: its front over two figures, the cards on it named, and the other plans behind."""
    with style():
        picture = blank(8.4 * len(sweeps), 5.8)
        panels = picture.subplots(1, len(sweeps), squeeze=False)[0]
        picture.subplots_adjust(left=0.09 / len(sweeps), right=1.0 - 0.03 / len(sweeps), top=0.865, bottom=0.11)
        for axes, sweep in zip(panels, sweeps, strict=True):
            draw_front(axes, sweep, names)
        return picture


def draw_front(axes: "Axes", sweep: "Sweep", names: Sequence[str]) -> None:
    """The front of a sweep over two figures, the cards on it named, before the other plans."""
    axes.set_title(f"Plans that none beats in {nouns(names)}", loc="left", fontsize=12.0, fontweight="bold", pad=32)
    axes.set_xlabel(TOLD[names[0]].axis)
    axes.set_ylabel(TOLD[names[1]].axis)
    front, rows = sweep.pareto(*names), contenders(sweep, names)
    axes.text(0.0, 1.015, _subtitle(sweep, len(rows) - len(front)), transform=axes.transAxes, fontsize=8.5)
    if not len(front):
        return
    amounts = [figure(sweep, name) / TOLD[name].size for name in names]
    for letter, name, amount in zip("xy", names, amounts, strict=True):
        _scale(axes, letter, name, amount[front], amount[rows])
    x, y = amounts
    axes.scatter(x[rows], y[rows], s=7, color=GREY, alpha=0.35, linewidth=0, rasterized=len(rows) > 2000)
    axes.step(x[front], y[front], where="post", color=BLUE, linewidth=1.2)
    axes.scatter(x[front], y[front], s=34, color=BLUE, edgecolor="white", linewidth=0.8, zorder=3)
    signs = [1.0 if name in LARGER_IS_BETTER else -1.0 for name in names]
    _Names(axes, x[front], y[front], signs).put_all(
        [cards_text(row) for row in records(columns(sweep, front.tolist()))]
    )


def _subtitle(sweep: "Sweep", others: int) -> str:
    behind = f"\ngrey: the nearest of {others:,} other plans" if others else ""
    return printable(workload_text(sweep.workload)) + behind


def _scale(axes: "Axes", letter: str, name: str, front: np.ndarray, others: np.ndarray) -> None:
    """An axis with the whole front, room for names on its better side, and on the other the plans not far behind."""
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

    axis, low = getattr(axes, f"{letter}axis"), float(front.min())
    is_logarithmic = low > 0.0 and float(front.max()) / low > LOGARITHMIC
    if is_logarithmic:
        front, others = np.log10(front), np.log10(np.maximum(others, LEAST * low))
        getattr(axes, f"set_{letter}scale")("log")
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_minor_locator(NullLocator())
    sign = -1.0 if name in LARGER_IS_BETTER else 1.0
    better, worse = sorted((sign * front.min(), sign * front.max()))
    extent = worse - better or 2.0 * abs(worse) or 1.0
    behind = min(float(np.max(sign * others)), worse + BEHIND * extent)
    ends = [better - ROOM[letter] * extent, behind + MARGIN * extent]
    ends = sorted(sign * end for end in ends)
    if name == "gpus":
        axis.set_major_locator(FixedLocator(sorted(set((10.0**others if is_logarithmic else others).tolist()))))
    plain_ticks(axis)
    getattr(axes, f"set_{letter}lim")(*(10.0**end if is_logarithmic else end for end in ends))


class _Names:
    """Writes names beside the points of a front, so that nothing hides another; boxes are in pixels.

    Where there is no such place a name's leader may cross other leaders.
    """

    def __init__(self, axes: "Axes", x: np.ndarray, y: np.ndarray, signs: Sequence[float]) -> None:
        self._axes, self._signs = axes, signs
        self._points = axes.transData.transform(np.column_stack([x, y]))
        self._marks = [(px - 5, py - 5, px + 5, py + 5) for px, py in self._points]
        corners = [(later[0], earlier[1]) for earlier, later in pairwise(self._points)]
        self._leaders: list[Box] = []
        self._steps = [
            box
            for earlier, corner, later in zip(self._points[:-1], corners, self._points[1:], strict=True)
            for box in (*boxes_along(earlier, corner), *boxes_along(corner, later))
        ]

    def put_all(self, names: Sequence[str]) -> None:
        """A name for each run of points of the same cards."""
        for _, group in groupby(range(len(names)), key=lambda i: names[i]):
            run = list(group)
            self._put(self._points[run[len(run) // 2]], printable(names[run[0]]))

    def _put(self, point: np.ndarray, name: str) -> None:
        axes, canvas = self._axes, self._axes.figure.canvas
        text = axes.text(0, 0, name, fontsize=8.5, color=INK, va="bottom", zorder=4)
        size = text.get_window_extent(canvas.get_renderer())  # type: ignore[attr-defined]
        places = list(self._places(point, size.width, size.height))
        clear = (place for place in places if self._is_free(place, self._leaders))
        crossing = (place for place in places if self._is_free(place, []))
        found = next(clear, None) or next(crossing, None)
        if found is None:
            text.remove()
            return
        box, leader = found
        self._marks.append(box)
        self._leaders += leader
        back = axes.transData.inverted()
        x, y = back.transform((box[0] + 1, box[1] + 1))
        text.set_position((x, y))
        ends = back.transform(np.array([point, np.add(leader[-1][:2], leader[-1][2:]) / 2]))
        axes.plot(ends[:, 0], ends[:, 1], color=GREY, linewidth=0.6, zorder=2)

    def _is_free(self, place: tuple[Box, list[Box]], leaders: Sequence[Box]) -> bool:
        """The name lies inside the axes and on nothing, and its leader crosses at most leaders beside `leaders`."""
        box, leader = place
        frame = self._axes.get_window_extent()
        is_inside = frame.x0 < box[0] and box[2] < frame.x1 and frame.y0 < box[1] and box[3] < frame.y1
        taken = (*self._marks, *self._steps)
        return (
            is_inside
            and not any(overlap(box, other) for other in (*taken, *self._leaders))
            and not any(overlap(one, other) for one in leader for other in (*taken, *leaders))
        )

    def _places(self, point: np.ndarray, width: float, height: float) -> Iterator[tuple[Box, list[Box]]]:
        """(a name's box, its leader from the point), the nearest first, towards what would be better."""
        for distance in range(10, 260, 5):
            for turn in (45, 30, 60, 15, 75, 5, 85, -15, 105):
                ahead = np.array([math.cos(math.radians(turn)), math.sin(math.radians(turn))]) * self._signs
                x, y = point + distance * ahead
                left = x if self._signs[0] > 0 else x - width
                low = y - height / 2 if abs(ahead[1]) < 0.5 else y if self._signs[1] > 0 else y - height
                box = (left - 1, low - 1, left + width + 1, low + height + 1)
                yield box, boxes_along(point + 8.0 * ahead, np.array([x, y]))
