"""Predicted over measured, run by run, drawn by matplotlib: a marker for each family of sources, intervals as bars."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from perfsim.calibration.validate import Replayed
from perfsim.report.picture import BLUE, GREEN, GREY, INK, OLIVE, RED, TEAL, VIOLET, blank, plain_ticks, style
from perfsim.units import GIB, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Quantity = Literal["time", "memory"]
TITLES: dict[Quantity, tuple[str, str]] = {"time": ("step time", "s"), "memory": ("peak memory", "GiB")}
BAND = 0.1
ANCHORS, OTHERS = "anchors, never fitted", "others"
# shapes differ, and so do fillings, so that the picture can be read in black and white
MARKS = (
    ("o", BLUE, "none"), ("^", RED, "none"), ("s", GREEN, "none"), ("D", VIOLET, "none"), ("x", RED, RED),
    ("+", TEAL, TEAL), ("v", OLIVE, "none"),
)  # fmt: skip
ANCHOR_MARK, OTHER_MARK = ("*", INK, INK), (".", GREY, GREY)


@dataclass(frozen=True)
class _Point:
    family: str
    measured: float
    predicted: float
    low: float
    high: float


def scatter_picture(replayed: Sequence[Replayed], *quantities: Quantity) -> "Figure":
    """A panel a quantity: predicted over measured of all runs that have both."""
    with style():
        picture = blank(7.2 * len(quantities), 7.2)
        panels = picture.subplots(1, len(quantities), squeeze=False)[0]
        side = 1.0 / len(quantities)
        picture.subplots_adjust(left=0.1 * side, right=1.0 - 0.02 * side, top=0.93, bottom=0.08)
        for axes, quantity in zip(panels, quantities, strict=True):
            draw_scatter(axes, replayed, quantity)
        return picture


def measured_picture(replayed: Sequence[Replayed]) -> "Figure":
    """Step times and, where any was measured, peak memory."""
    has_memory = any(one.run.measured_peak_memory_bytes > 0.0 for one in replayed)
    return scatter_picture(replayed, "time", *(("memory",) if has_memory else ()))


def draw_scatter(axes: "Axes", replayed: Sequence[Replayed], quantity: Quantity) -> None:
    """Predicted over measured step time or peak memory of all runs that have both, on logarithmic axes."""
    points = _points(replayed, quantity)
    title, unit = TITLES[quantity]
    axes.set_title(f"Predicted and measured {title} of {len(points):,} runs", loc="left", fontweight="bold")
    axes.set_xlabel(f"measured {title} [{unit}]")
    axes.set_ylabel(f"predicted {title} [{unit}]")
    if points:
        _draw(axes, points)


def _points(replayed: Sequence[Replayed], quantity: Quantity) -> list[_Point]:
    """The runs with a measurement and a prediction; beyond the largest families the sources share one name."""
    found = []
    for one in replayed:
        run = one.run
        family = ANCHORS if run.role == "anchor" else printable(run.collection.split("-")[0])
        if quantity == "time":
            unit, ends = 1.0, (one.low_step_seconds, one.high_step_seconds)
            middle = (run.measured_step_seconds, one.predicted_step_seconds)
        else:
            unit, ends = GIB, (one.low_peak_memory_bytes, one.high_peak_memory_bytes)
            middle = (run.measured_peak_memory_bytes, one.predicted_peak_memory_bytes)
        if min(middle) > 0.0:
            found.append(_Point(family, *(value / unit for value in (*middle, *ends))))
    counts = Counter(point.family for point in found if point.family != ANCHORS)
    large = {ANCHORS, *sorted(counts, key=lambda name: (-counts[name], name))[: len(MARKS)]}
    return [point if point.family in large else replace(point, family=OTHERS) for point in found]


def _draw(axes: "Axes", points: Sequence[_Point]) -> None:
    values = [value for point in points for value in (point.measured, point.predicted)]
    ends = np.array([min(values) / 1.3, max(values) * 1.3])
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        plain_ticks(axis)
    label = f"within {100 * BAND:.0f} %"
    axes.fill_between(ends, (1 - BAND) * ends, (1 + BAND) * ends, color="#dedede", linewidth=0, label=label, zorder=1)
    for factor, line in ((1 - BAND, ":"), (1.0, "-"), (1 + BAND, ":")):
        axes.plot(ends, factor * ends, line, color=INK, linewidth=0.7, zorder=5)
    _draw_bars(axes, points)
    for name, (mark, edge, face) in _marks(points).items():
        chosen = [point for point in points if point.family == name]
        x, y = [point.measured for point in chosen], [point.predicted for point in chosen]
        axes.plot(
            x, y, mark, markersize=7.0 if name == ANCHORS else 4.0, markeredgecolor=edge, markerfacecolor=face,
            markeredgewidth=0.7, label=f"{name} ({len(chosen):,})", zorder=4 if name == ANCHORS else 3,
        )  # fmt: skip
    axes.legend(loc="upper left", framealpha=1.0, edgecolor="white")


def _draw_bars(axes: "Axes", points: Sequence[_Point]) -> None:
    """The intervals, as one broken line."""
    barred = [point for point in points if point.high > 0.0]
    x = [value for point in barred for value in (point.measured, point.measured, np.nan)]
    y = [value for point in barred for value in (point.low, point.high, np.nan)]
    if barred:
        axes.plot(x, y, color="#bdbdbd", linewidth=0.6, label="90 % interval", zorder=2)


def _marks(points: Sequence[_Point]) -> dict[str, tuple[str, str, str]]:
    """A mark for each family, the one with the most points first; what the small ones share and anchors come last."""
    counts = Counter(point.family for point in points)
    last = {OTHERS: OTHER_MARK, ANCHORS: ANCHOR_MARK}
    names = sorted(counts.keys() - last.keys(), key=lambda name: (-counts[name], name))
    return dict(zip(names, MARKS, strict=False)) | {name: mark for name, mark in last.items() if counts[name]}
