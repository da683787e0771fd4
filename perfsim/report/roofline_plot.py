"""A card's roofline with a model's kernels as a picture, drawn by matplotlib.

Two panels: kernels that compute under the roofs, FLOP/s over FLOP/byte; kernels that only move data, GB/s over bytes a
launch. What a mark means never rests on its colour: shape is the kind of kernel, full or hollow the pass.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perfsim.graphs.points import Point, Roofline
from perfsim.report.picture import (
    BLUE,
    GREEN,
    GREY,
    INK,
    RED,
    VIOLET,
    Box,
    blank,
    boxes_along,
    cut,
    overlap,
    style,
)
from perfsim.report.roofline import joined_roofs, merged, operation_text, title_text
from perfsim.units import (
    GIGA,
    MEGA,
    TERA,
    bytes_per_s_text,
    flops_per_s_text,
    number_text,
    percent_text,
    printable,
    seconds_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_DRAWN, LEAST_NAMED, MOST_NAMED = 1e-3, 5e-3, 12  # shares of time, operations of a panel

_MARKS = {  # kind: (marker, colour); shapes tell them apart in black and white
    "product": ("o", BLUE), "attention": ("^", RED), "elementwise": ("s", BLUE), "softmax": ("D", RED),
    "norm": ("v", GREEN), "gather": ("P", VIOLET), "column": ("X", "#555555"),
}  # fmt: skip
_OTHER_MARK = ("*", "#555555")


def roofline_figure(found: Roofline) -> "Figure":
    """The picture as a matplotlib figure, for notebooks and for changes of one's own."""
    with style():
        drawn = [point for point in merged(found.points) if point.time_share >= LEAST_DRAWN]
        moving = [point for point in drawn if not point.flops]
        computing = [point for point in drawn if point.flops]
        figure = blank(13.5 if moving else 8.5, 6.6)
        if moving:
            panels = figure.subplots(1, 2, width_ratios=[1.25, 1.0])
            figure.subplots_adjust(left=0.06, right=0.905, top=0.835, bottom=0.205, wspace=0.46)
            compute, move = panels
            _memory_panel(move, found, moving)
        else:
            compute = figure.subplots()
            figure.subplots_adjust(left=0.095, right=0.815, top=0.85, bottom=0.17)
        _compute_panel(compute, found, computing)
        _titles(figure, found)
        _legend(figure, found, {point.kind for point in drawn})
        return figure


def _compute_panel(axes: "Axes", found: Roofline, points: Sequence[Point]) -> None:
    """FLOP/s over FLOP/byte: every number format's peak, DRAM, SM traffic, and the kernels that compute."""
    roofs = joined_roofs([roof for roof in found.roofs if roof.kind == "compute"])
    dram, cores = found.roof("dram"), found.roof("sm")
    top, least = max(roof.highest for roof in roofs), min(roof.datasheet for roof in roofs)
    ridges = least / dram.datasheet / 12.0, top / dram.datasheet * 6.0
    left = min([ridges[0], *(point.intensity / 1.6 for point in points)])
    right = max([ridges[1], *(point.intensity * 1.8 for point in points)])
    low = min([left * dram.datasheet, *(point.flops_per_s / 1.6 for point in points)])
    low = _with_room(points, low, 1.9 * top, min((point.flops_per_s for point in points), default=low))
    left = min(left, 4.0 * low / dram.datasheet)
    _logarithmic(axes, (left, right), (low / TERA, 1.9 * top / TERA))
    axes.set_xlabel("FLOP per byte of memory traffic")
    axes.set_ylabel("TFLOP/s")
    names: list[tuple[float, str, bool]] = []
    for roof in roofs:
        is_used = not points or any(name in found.formats for name in roof.name.split(", "))
        ink, width = (INK, 1.7) if is_used else (GREY, 0.9)
        _level(axes, roof.datasheet / dram.datasheet, right, roof.datasheet / TERA, ink, width, "-")
        _level(axes, roof.reached / dram.reached, right, roof.reached / TERA, ink, 0.7 * width, "--")
        text = f"{roof.name} {flops_per_s_text(roof.datasheet)}\nreached {flops_per_s_text(roof.reached)}"
        names.append((roof.datasheet / TERA, text, is_used))
    slopes = [(dram.datasheet, "-", 1.7, top), (dram.reached, "--", 1.2, max(roof.reached for roof in roofs))]
    if cores.reached > dram.datasheet and top / cores.reached > 2.0 * left:
        slopes.append((cores.reached, ":", 1.4, top))
        _along(axes, f"SM traffic {bytes_per_s_text(cores.reached)}", left, cores.reached / TERA, above=True)
    for rate, dashes, width, peak in slopes:
        axes.plot([left, peak / rate], [left * rate / TERA, peak / TERA], dashes, color=INK, linewidth=width)
    text = f"DRAM {bytes_per_s_text(dram.datasheet)}, reached {bytes_per_s_text(dram.reached)}"
    _along(axes, text, left, min(dram.datasheet, dram.reached) / TERA, above=False)
    _beside(axes, names)
    _marks(axes, found, points, lambda point: (point.intensity, point.flops_per_s / TERA))


def _memory_panel(axes: "Axes", found: Roofline, points: Sequence[Point]) -> None:
    """GB/s over bytes a launch: DRAM, SM traffic, the start of a kernel, and the kernels that only move data."""
    dram, cores = found.roof("dram"), found.roof("sm")
    start = float(found.gpu.calibration.kernel_seconds)
    sizes = [point.bytes / point.launches / MEGA for point in points]
    top = max(dram.highest, cores.reached, *(point.bytes_per_s for point in points))
    left, right = min(sizes) / 2.0, max(sizes) * 2.0
    low = min([dram.datasheet / 10.0, *(point.bytes_per_s / 1.6 for point in points)])
    low = _with_room(points, low, 2.2 * top, min(point.bytes_per_s for point in points))
    _logarithmic(axes, (left, right), (low / GIGA, 2.2 * top / GIGA))
    axes.set_xlabel("MB moved by a launch")
    axes.set_ylabel("GB/s")
    names = [
        (
            dram.datasheet / GIGA,
            f"DRAM {bytes_per_s_text(dram.datasheet)}\nreached {bytes_per_s_text(dram.reached)}",
            True,
        )
    ]
    _level(axes, left, right, dram.datasheet / GIGA, INK, 1.7, "-")
    _level(axes, left, right, dram.reached / GIGA, INK, 1.2, "--")
    if cores.reached > dram.datasheet:
        _level(axes, left, right, cores.reached / GIGA, INK, 1.4, ":")
        names.append((cores.reached / GIGA, f"SM traffic {bytes_per_s_text(cores.reached)}", True))
    if start > 0.0:
        ends = [max(left, low * start / MEGA), min(right, 2.2 * top * start / MEGA)]
        if ends[0] < ends[1]:
            rates = [size * MEGA / start / GIGA for size in ends]
            axes.plot(ends, rates, "-.", color=INK, linewidth=1.0)
    _beside(axes, names)
    _marks(axes, found, points, lambda point: (point.bytes / point.launches / MEGA, point.bytes_per_s / GIGA))


def _logarithmic(axes: "Axes", across: tuple[float, float], up: tuple[float, float]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*across)
    axes.set_ylim(*up)
    for axis, (least, most) in ((axes.xaxis, across), (axes.yaxis, up)):
        axis.set_major_formatter(FuncFormatter(lambda value, _: number_text(value, 1)))
        few = math.log10(most / least) < 1.6
        minor = FuncFormatter(lambda value, _: number_text(value, 1) if f"{value:e}"[0] in "25" else "")
        axis.set_minor_formatter(minor if few else NullFormatter())


def _level(axes: "Axes", start: float, end: float, rate: float, ink: str, width: float, dashes: str) -> None:
    """A horizontal roof from its ridge to the right."""
    axes.plot([min(start, end), end], [rate, rate], dashes, color=ink, linewidth=width)


def _along(axes: "Axes", text: str, left: float, rate: float, above: bool) -> None:
    """A text along the slope of a bandwidth, from the left edge."""
    start = max(left, axes.get_ylim()[0] / rate) * 1.25
    here, there = axes.transData.transform([(start, start * rate), (10 * start, 10 * start * rate)])
    angle = math.degrees(math.atan2(there[1] - here[1], there[0] - here[0]))
    axes.annotate(
        text, (start, start * rate), xytext=(-3, 4) if above else (4, -3), textcoords="offset points",
        rotation=angle, rotation_mode="anchor", va="bottom" if above else "top", fontsize=8.5,
    )  # fmt: skip


def _beside(axes: "Axes", names: Iterable[tuple[float, str, bool]], gap: float = 0.062) -> None:
    """Texts right of the axes at their heights, moved apart where they would overlap."""
    listed = sorted(names)
    low, high = (math.log(limit) for limit in axes.get_ylim())
    heights = [(math.log(rate) - low) / (high - low) for rate, _, _ in listed]
    for _ in range(200):
        for i in range(len(heights) - 1):
            if (lack := gap - (heights[i + 1] - heights[i])) > 1e-6:
                heights[i] -= lack / 2
                heights[i + 1] += lack / 2
    for height, (rate, text, is_strong) in zip(heights, listed, strict=True):
        axes.annotate(
            text, (1.0, (math.log(rate) - low) / (high - low)), xycoords="axes fraction", xytext=(1.025, height),
            textcoords="axes fraction", va="center", fontsize=8.0, color=INK if is_strong else "#555555",
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": GREY, "shrinkA": 0, "shrinkB": 0},
            linespacing=1.05,
        )  # fmt: skip


def _marks(axes: "Axes", found: Roofline, points: Sequence[Point], place: Any) -> None:
    """The kernels, an area for their share of time, and the names of those with most of it."""
    for point in sorted(points, key=lambda point: -point.time_share):
        marker, colour = _MARKS.get(point.kind, _OTHER_MARK)
        x, y = place(point)
        face = colour if point.direction == "forward" else "white"
        axes.scatter(
            x, y, s=_area(point), marker=marker, facecolor=face, edgecolor=colour if face == "white" else INK,
            linewidth=1.4 if face == "white" else 0.6, zorder=3, alpha=0.95,
        )  # fmt: skip
    labels = _Labels(axes)
    for point in points:
        labels.keep_free(place(point), math.sqrt(_area(point)) / 2.0 + 1.0)
    named = _named(points)
    key = []
    for number, group in enumerate(labels.clusters([place(point) for point in named]), 1):
        labels.put(place(named[group[0]]), str(number))
        key += [f"{number}  {name}" for name in _names(found, [named[i] for i in group])]
    if key:
        axes.text(
            0.99, 0.015, "\n".join(key), transform=axes.transAxes, ha="right", va="bottom", multialignment="left",
            fontsize=8.0, linespacing=1.2, zorder=2.5,
            bbox={"boxstyle": "square,pad=0.3", "facecolor": "white", "edgecolor": "none"},
        )  # fmt: skip


def _named(points: Sequence[Point]) -> list[Point]:
    """The kernels that the key under them names, most time first."""
    return [point for point in points if point.time_share >= LEAST_NAMED][:MOST_NAMED]


def _with_room(points: Sequence[Point], low: float, high: float, lowest: float) -> float:
    """`low` so far down that the key fits under the lowest mark of an axis from there to `high`, all logarithmic."""
    operations = {(point.part, point.operation, point.kind) for point in _named(points)}
    lines = 1.2 * len(operations) + 3.0
    share = min(0.6, lines * LINE_POINTS / PANEL_POINTS)
    return min(low, math.exp((math.log(lowest) - share * math.log(high)) / (1.0 - share))) if points else low


def _names(found: Roofline, points: Sequence[Point]) -> list[str]:
    """A line for each operation of some points, with its passes' shares of time."""
    lines: dict[str, list[str]] = {}
    for point in points:
        name = printable(operation_text(found, point.part, point.operation))
        direction = "fwd" if point.direction == "forward" else "bwd"
        lines.setdefault(name, []).append(f"{direction} {percent_text(point.time_share)}")
    return [f"{cut(name)}  {', '.join(sorted(shares, reverse=True))}" for name, shares in lines.items()]


def _area(point: Point) -> float:
    return 22.0 + 900.0 * min(point.time_share, 0.3)


LINE_POINTS, PANEL_POINTS = 11.6, 298.0  # of the key's lines and of the panels' height
NEAR = 13.0  # points: marks that share a label


@dataclass
class _Labels:
    """Finds a free place for each label, in points from the lower left corner of the axes."""

    axes: "Axes"
    taken: list[Box] = field(default_factory=list)

    def keep_free(self, at: tuple[float, float], radius: float) -> None:
        """No label may cover a mark of this radius [points]."""
        x, y = self._points(at)
        self.taken.append((x - radius, y - radius, x + radius, y + radius))

    def clusters(self, places: Sequence[tuple[float, float]]) -> list[list[int]]:
        """Which places lie so near each other that one label serves them; the first of each is the first given."""
        found: list[list[int]] = []
        spots = [self._points(place) for place in places]
        for i, spot in enumerate(spots):
            near = next((group for group in found if math.dist(spots[group[0]], spot) < NEAR), None)
            if near is None:
                found.append([i])
            else:
                near.append(i)
        return found

    def put(self, at: tuple[float, float], text: str) -> None:
        """Write the short text as near to its mark as nothing else is, off the roofs where that can be."""
        x, y = self._points(at)
        width, height = 5.6 * len(text) + 2.0, 9.0
        boxes = list(self._places(x, y, width, height))
        roofs = self._lines()
        free = (box for box in boxes if self._is_free(box, [*self.taken, *roofs]))
        box = next(free, None) or next((box for box in boxes if self._is_free(box, self.taken)), None)
        if box is None:
            return
        self.taken.append(box)
        self.axes.annotate(
            text, at, xytext=(box[0] - x + 1.0, box[1] - y + 1.0), textcoords="offset points", fontsize=8.5,
            fontweight="bold", zorder=5,
            bbox={"boxstyle": "square,pad=0.08", "facecolor": "white", "edgecolor": "none"},
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "color": "#444444", "shrinkA": 0, "shrinkB": 2},
        )  # fmt: skip

    def _places(self, x: float, y: float, width: float, height: float) -> Iterator[Box]:
        """Boxes around a point, the nearest first, below before above: roofs lie above."""
        for distance in range(8, 120, 3):
            for turn in (0, 180, -35, 215, 35, 145, -90, 90, -60, 240, 60, 120):
                dx, dy = math.cos(math.radians(turn)), math.sin(math.radians(turn))
                left = x + distance * dx - (0.0 if dx > 0.1 else width if dx < -0.1 else width / 2.0)
                bottom = y + distance * dy - (0.0 if dy > 0.1 else height if dy < -0.1 else height / 2.0)
                yield left, bottom, left + width, bottom + height

    def _lines(self) -> list[Box]:
        """The roofs, as small boxes along them."""
        boxes: list[Box] = []
        for line in self.axes.get_lines():
            data: Any = line.get_xydata()
            ends = [self._points((float(x), float(y))) for x, y in data]
            boxes += boxes_along(ends[0], ends[-1])
        return boxes

    def _is_free(self, box: Box, taken: Sequence[Box]) -> bool:
        width, height = self._size()
        if box[0] < 2.0 or box[1] < 2.0 or box[2] > width or box[3] > height:
            return False
        return not any(overlap(box, other) for other in taken)

    def _points(self, at: tuple[float, float]) -> tuple[float, float]:
        """A place in the data as points from the corner of the axes."""
        inside = self.axes.transAxes.inverted().transform(self.axes.transData.transform(at))
        width, height = self._size()
        return float(inside[0]) * width, float(inside[1]) * height

    def _size(self) -> tuple[float, float]:
        place = self.axes.get_position()
        width, height = self.axes.get_figure(root=True).get_size_inches()  # type: ignore[union-attr]
        return place.width * width * 72.0, place.height * height * 72.0


def _titles(figure: "Figure", found: Roofline) -> None:
    left = figure.axes[0].get_position().x0
    figure.text(left, 0.955, title_text(found), fontsize=12.0, fontweight="bold", va="top")
    if found.points:
        shares = ", ".join(f"{bound} {percent_text(share)}" for bound, share in found.bound_shares().items())
        line = f"kernels of one micro-batch: {seconds_text(found.seconds)}; bound by {shares}"
    else:
        line = f"dense peaks, products summed in fp32; reached: in training ({found.gpu.calibration.basis})"
    figure.text(left, 0.905, line, fontsize=9.5, va="top")
    for axes, text in zip(figure.axes, _PANELS, strict=False):
        if found.points:
            axes.set_title(text, fontsize=9.5, loc="left")


_PANELS = ("kernels that compute", "kernels that only move data")


def _legend(figure: "Figure", found: Roofline, drawn: Collection[str]) -> None:
    """What shapes, fillings and dashes mean, below the panels."""
    from matplotlib.lines import Line2D

    kinds = [kind for kind in _MARKS if kind in drawn]
    marks: list[Any] = [
        Line2D([], [], linestyle="", marker=_MARKS[kind][0], color=_MARKS[kind][1], markersize=7, label=kind)
        for kind in kinds
    ]
    if found.points:
        full: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 7, "color": INK}
        marks.append(Line2D([], [], label="forward (full)", **full))
        marks.append(Line2D([], [], label="backward (hollow)", markerfacecolor="white", **full))
    dram, cores = found.roof("dram"), found.roof("sm")
    dashes: list[tuple[Any, str]] = [("-", "datasheet"), ("--", f"reached in training ({dram.basis or 'calibrated'})")]
    if cores.reached > dram.datasheet:
        dashes.append((":", f"SM traffic, from caches ({cores.basis or 'calibrated'})"))
    if any(line.get_linestyle() == "-." for axes in figure.axes for line in axes.get_lines()):
        dashes.append(("-.", f"start of a kernel, {seconds_text(float(found.gpu.calibration.kernel_seconds))}"))
    lines: list[Any] = [Line2D([], [], linestyle=dash, color=INK, label=text) for dash, text in dashes]
    left = figure.axes[0].get_position().x0 - 0.01
    for height, handles in ((0.085, marks), (0.045, lines)):
        if handles:
            legend = figure.legend(
                handles=handles, loc="center left", bbox_to_anchor=(left, height), ncols=len(handles), frameon=False,
                fontsize=8.5, handletextpad=0.5, columnspacing=1.5, handlelength=2.4 if handles is lines else 1.0,
            )  # fmt: skip
            figure.add_artist(legend)
    if found.points:
        note = (
            "area of a mark and per cent: share of the time of all layers, embedding and head, without communication"
            f" and optimizer; kernels under {percent_text(LEAST_DRAWN)} of it are left out"
        )
        figure.text(left + 0.01, 0.012, note, fontsize=8.0, color="#444444")
