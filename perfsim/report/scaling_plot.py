"""How cards scale with their number, drawn by matplotlib: samples a second beside the ideal, and what is lost to what.

Cards differ by mark and dashes, not by colour alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from perfsim.report.picture import DASHES, INK, MARKS, blank, cut, plain_ticks, style
from perfsim.report.text import card_text, workload_text
from perfsim.search.intervals import Intervals
from perfsim.search.scaling import Scaling
from perfsim.units import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from perfsim.search.sweep import Sweep

Bands = Mapping[int, Intervals]
CARDS_DRAWN = len(MARKS)


def scaling_picture(sweep: "Sweep", curves: Sequence[Scaling], bands: Bands) -> "Figure":
    """Samples a second of the first cards over the number of GPUs, and below what of the step is not computing.

    bands: the intervals of the rows of `curves`.
    """
    with style():
        figure = blank(9.2, 7.4)
        rates, shares = figure.subplots(2, 1, sharex=True, height_ratios=[2.1, 1.0])
        figure.subplots_adjust(left=0.085, right=0.775, top=0.885, bottom=0.075, hspace=0.16)
        draw_rates(rates, curves, bands)
        draw_shares(shares, curves)
        rates.set_xlabel("")
        others = len(sweep.best_per_gpu()) - min(len(curves), CARDS_DRAWN)
        left = f"; {others:,} more cards are left out" if others else ""
        figure.text(0.012, 0.962, "Fastest plan of each number of GPUs", fontsize=12.0, fontweight="bold", va="center")
        figure.text(0.012, 0.925, cut(printable(workload_text(sweep.workload)), 120) + left, va="center")
        return figure


def draw_rates(axes: "Axes", curves: Sequence[Scaling], bands: Bands) -> None:
    """Samples a second on logarithmic axes, each card's ideal line through its fewest GPUs, 90 % bands."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.ticker import LogLocator, NullLocator

    handles = []
    for curve, (mark, colour), dashes in zip(curves, MARKS, DASHES, strict=False):
        look = {"marker": mark, "color": colour, "linestyle": dashes, "markersize": 5.5, "linewidth": 1.3}
        ranges = [bands[row]["samples_per_s"] for row in curve.rows.tolist() if row in bands and bands[row].ranges]
        if len(ranges) == len(curve.rows):
            low, high = ([getattr(one, end) for one in ranges] for end in ("low", "high"))
            axes.fill_between(curve.gpus, low, high, color=colour, alpha=0.16, linewidth=0.0, zorder=1)
            axes.errorbar(
                curve.gpus, curve.samples_per_s, fmt="none", ecolor=colour, elinewidth=0.8, capsize=2.5,
                yerr=[curve.samples_per_s - low, high - curve.samples_per_s], zorder=2,
            )  # fmt: skip
        ideal = curve.samples_per_s[0] * curve.gpus / curve.gpus[0]
        axes.plot(curve.gpus, ideal, ":", color=colour, linewidth=0.9, zorder=1.5)
        axes.plot(curve.gpus, curve.samples_per_s, zorder=3, **look)  # type: ignore[arg-type]
        handles.append(Line2D([], [], label=cut(card_text(curve.gpu_name), 24), **look))  # type: ignore[arg-type]
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    _counts(axes, curves)
    plain_ticks(axes.yaxis)
    axes.set_ylabel("samples/s")
    handles.append(Line2D([], [], linestyle=":", color=INK, linewidth=0.9, label="ideal"))
    handles.append(Patch(facecolor="#c8c8c8", edgecolor=INK, linewidth=0.4, label="90 % interval"))  # type: ignore[arg-type]
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, handlelength=3.2)


def draw_shares(axes: "Axes", curves: Sequence[Scaling]) -> None:
    """What of the step is exposed communication, full marks, and pipeline bubble, hollow ones."""
    from matplotlib.lines import Line2D

    for curve, (mark, colour), dashes in zip(curves, MARKS, DASHES, strict=False):
        look = {"marker": mark, "color": colour, "markersize": 5.5}
        axes.plot(curve.gpus, 100.0 * curve.exposed, linestyle=dashes, linewidth=1.3, **look)  # type: ignore[arg-type]
        if np.any(curve.bubble > 0.0):
            shares = np.where(curve.bubble > 0.0, 100.0 * curve.bubble, np.nan)
            axes.plot(curve.gpus, shares, ":", linewidth=1.0, markerfacecolor="white", **look)  # type: ignore[arg-type]
    _counts(axes, curves)
    axes.set_ylim(bottom=0.0)
    axes.set_ylabel("% of the step")
    full = Line2D([], [], marker="o", color=INK, markersize=5.5, label="exposed\ncommunication (full)")
    hollow = Line2D(
        [], [], marker="o", color=INK, linestyle=":", markerfacecolor="white", label="pipeline bubble\n(hollow)"
    )
    axes.legend(handles=[full, hollow], loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, handlelength=3.2)


def _counts(axes: "Axes", curves: Sequence[Scaling]) -> None:
    """The numbers of GPUs that occur, on a logarithmic axis."""
    from matplotlib.ticker import FixedLocator, NullLocator

    counts = sorted(set(_numbers(curves)))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_minor_locator(NullLocator())
    plain_ticks(axes.xaxis)
    axes.set_xlim(counts[0] / 1.2, counts[-1] * 1.2)
    axes.set_xlabel("GPUs")


def _numbers(curves: Sequence[Scaling]) -> Iterator[int]:
    for curve in curves:
        yield from curve.gpus.tolist()
