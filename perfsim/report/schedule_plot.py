"""A simulated step as a Gantt chart, drawn by matplotlib: what every pipeline stage does when, and when it waits.

Fillings differ by lightness and hatch, so that black and white tells passes apart; white is waiting.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from perfsim.graphs.schedule import BACKWARD, FORWARD, WEIGHT
from perfsim.report.picture import BLUE, INK, Fill, blank, cut, plain_ticks, style
from perfsim.simulation import Simulation
from perfsim.units import MILLI, percent_text, printable, seconds_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_KINDS: dict[tuple[int, ...], tuple[str, Fill]] = {  # parts of a piece
    (FORWARD,): ("forward", ("#a8cbe8", "")),
    (BACKWARD, WEIGHT): ("backward", (BLUE, "")),
    (BACKWARD,): ("gradient of the input", (BLUE, "")),
    (WEIGHT,): ("gradient of the weights", ("#f4d3ae", "////")),
    (FORWARD, BACKWARD, WEIGHT): ("forward and backward together", ("#6f9fd0", "xxxx")),
    (FORWARD, BACKWARD): ("forward and gradient of the input together", ("#6f9fd0", "....")),
}
_AFTER: Fill = ("#d3e8cf", "----")
HATCHED, NUMBERED = 2.5, 6.5  # points: widths from which a piece is hatched, and has its micro-batch's number
Spans = dict[tuple[int, ...], list[tuple[int, float, float, int]]]


def schedule_picture(found: Simulation, title: str) -> "Figure":
    """A row a stage: its passes, numbered by micro-batch where there is room, and what follows the last of them."""
    with style():
        stages = found.timeline.order.stages
        row = max(0.1, min(0.42, 9.0 / stages))
        figure = blank(12.6, 1.9 + row * stages)
        axes = figure.subplots()
        height = figure.get_figheight()
        figure.subplots_adjust(left=0.055, right=0.93, top=1.0 - 0.75 / height, bottom=0.82 / height)
        draw_schedule(axes, found)
        figure.text(
            0.012, 1.0 - 0.22 / height, cut(printable(title), 120), fontsize=11.5, fontweight="bold", va="center"
        )
        figure.text(0.012, 1.0 - 0.5 / height, _subtitle(found), va="center")
        return figure


def draw_schedule(axes: "Axes", found: Simulation) -> None:
    """The chart; per cent at the right: of the step, what the stage waits for others."""
    stages, end = found.timeline.order.stages, found.step_seconds / MILLI
    axes.set_xlim(0.0, end)
    axes.set_ylim(stages - 0.5, -0.5)
    axes.set_facecolor("white")
    axes.grid(visible=False, axis="y")
    points = 72.0 * axes.get_position().width * axes.get_figure(root=True).get_figwidth() / end  # type: ignore[union-attr]
    spans = _spans(found)
    for kind, listed in spans.items():
        _bars(axes, listed, _KINDS[kind][1], points)
        _numbers(axes, listed, points, "white" if _KINDS[kind][1] == (BLUE, "") else INK)
    start = float(found.timeline.total_seconds) / MILLI
    if end > start:
        _bars(axes, [(stage, start, end - start, -1) for stage in range(stages)], _AFTER, points)
    for stage, share in enumerate(waiting_shares(found)):
        if stage % -(-stages // 32) == 0:
            axes.annotate(
                percent_text(float(share)), (1.0, stage), xycoords=("axes fraction", "data"), xytext=(5, 0),
                textcoords="offset points", va="center", fontsize=8.0,
            )  # fmt: skip
    axes.set_yticks(range(0, stages, -(-stages // 32)))
    axes.set_ylabel("stage")
    axes.set_xlabel("ms")
    plain_ticks(axes.xaxis)
    _legend(axes, found, spans)


def waiting_shares(found: Simulation) -> np.ndarray:
    """Of the step, what each stage waits for others; [stages]."""
    line, order = found.timeline, found.timeline.order
    busy = np.add.reduceat(line.end - line.start, order.starts[:-1])
    shares: np.ndarray = (float(line.total_seconds) - busy) / found.step_seconds
    return shares


def _subtitle(found: Simulation) -> str:
    order, shares = found.timeline.order, waiting_shares(found)
    chunks = f", {order.chunks} chunks each" if order.chunks > 1 else ""
    stages = "1 stage" if order.stages == 1 else f"{order.stages} stages"
    return (
        f"{order.schedule.label}, {stages}{chunks}, {order.microbatches:,} micro-batches; a step as"
        f" simulated: {seconds_text(found.step_seconds)}; stages wait {percent_text(float(shares.mean()))} of it"
    )


def _spans(found: Simulation) -> Spans:
    """(stage, start, length [ms], micro-batch) of all pieces, by what they are made of."""
    order, line = found.timeline.order, found.timeline
    spans: Spans = {}
    for piece, parts in enumerate(order.parts):
        kind = tuple(part for part in (FORWARD, BACKWARD, WEIGHT) if parts[part] >= 0)
        microbatch = int(parts[kind[0]]) % order.microbatches
        start, end = float(line.start[piece]) / MILLI, float(line.end[piece]) / MILLI
        spans.setdefault(kind, []).append((int(order.stage[piece]), start, end - start, microbatch))
    return {kind: spans[kind] for kind in _KINDS if kind in spans}


def _bars(axes: "Axes", spans: list[tuple[int, float, float, int]], fill: Fill, points: float) -> None:
    """Rectangles as one collection; where they are too narrow, without hatch and outline."""
    from matplotlib.collections import PolyCollection

    widest = max(width for _, _, width, _ in spans) * points
    corners = [_corners(stage, start, width) for stage, start, width, _ in spans]
    axes.add_collection(
        PolyCollection(
            corners, facecolor=fill[0], edgecolor=INK, linewidth=0.4 if widest > HATCHED else 0.0,
            hatch=fill[1] if widest > HATCHED else "",
        ),
        autolim=False,
    )  # fmt: skip


def _corners(stage: int, start: float, width: float) -> list[tuple[float, float]]:
    low, high, end = stage - 0.42, stage + 0.42, start + width
    return [(start, low), (end, low), (end, high), (start, high)]


def _numbers(axes: "Axes", spans: list[tuple[int, float, float, int]], points: float, ink: str) -> None:
    for stage, start, width, microbatch in spans:
        if width * points > NUMBERED + 4.0 * (microbatch > 9) + 4.0 * (microbatch > 99):
            axes.text(start + width / 2.0, stage, f"{microbatch}", ha="center", va="center", fontsize=7.0, color=ink)


def _legend(axes: "Axes", found: Simulation, spans: Spans) -> None:
    from matplotlib.patches import Patch

    def patch(name: str, fill: Fill) -> Any:
        return Patch(facecolor=fill[0], hatch=fill[1], edgecolor=INK, linewidth=0.4, label=name)

    handles = [patch(*_KINDS[kind]) for kind in spans]
    after = ", ".join(_after(found))
    handles += [patch(f"then: {after}", _AFTER)] if after else []
    handles += [patch("waiting (right: of the step)", ("#ffffff", ""))]
    height = 72.0 * axes.get_figure(root=True).get_figheight() * axes.get_position().height  # type: ignore[union-attr]
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.0, -32.0 / height), ncols=len(handles), frameon=False,
        fontsize=8.5, borderaxespad=0.0, handleheight=1.0, columnspacing=1.4,
    )  # fmt: skip


def _after(found: Simulation) -> Iterator[str]:
    """What follows the passes and takes a thousandth of the step or more."""
    return (name for name, seconds in found.after.items() if seconds > 1e-3 * found.step_seconds)
