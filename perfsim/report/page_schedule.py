"""A simulated step as bars for a page: what each pipeline stage does when, as numbers of a thousandth of the step."""

from typing import Any

import numpy as np

from perfsim.graphs.schedule import BACKWARD, FORWARD, WEIGHT
from perfsim.simulation import Simulation
from perfsim.units import percent_text, seconds_text

MOST_PIECES = 600
SCALE = 10_000  # of the time that is shown
KINDS = ("forward", "backward", "input gradient", "weight gradient", "forward and backward", "after the passes")
Bar = list[int]


def schedule_record(found: Simulation) -> dict[str, Any]:
    """Stages, bars (stage, start, length, kind, micro-batch) and what is shown of the step, in words.

    Of a step with more than MOST_PIECES pieces the beginning is shown.
    """
    line, order = found.timeline, found.timeline.order
    is_cut = len(order.stage) > MOST_PIECES
    shown = float(np.sort(line.start)[MOST_PIECES]) if is_cut else found.step_seconds
    bars = [
        _bar(int(order.stage[i]), float(line.start[i]), min(float(line.end[i]), shown), shown, *_kind(found, i))
        for i in np.flatnonzero(line.start < shown).tolist()
    ]
    after, start = [], float(line.total_seconds)
    for name, seconds in found.after.items():
        if seconds > 0 and not is_cut:
            bars += [_bar(stage, start, start + seconds, shown, 5, 0) for stage in range(order.stages)]
            after.append(f"{name} {seconds_text(seconds)}")
        start += seconds
    part = f"the first {percent_text(shown / found.step_seconds)} of it" if is_cut else ", ".join(after)
    told = f"one step of {seconds_text(found.step_seconds)}, simulated{'; ' if part else ''}"
    return {
        "stages": order.stages,
        "bars": bars,
        "kinds": sorted({bar[3] for bar in bars}),
        "text": told + (part if is_cut or not part else f"after the passes {part}"),
        "end": seconds_text(shown),
    }


def _kind(found: Simulation, piece: int) -> tuple[int, int]:
    """What a piece is, as a place in KINDS, and its micro-batch."""
    order = found.timeline.order
    parts = order.parts[piece]
    has = parts >= 0
    if has[FORWARD]:
        kind, first = (4 if has[BACKWARD] else 0), FORWARD
    elif has[BACKWARD]:
        kind, first = (1 if has[WEIGHT] else 2), BACKWARD
    else:
        kind, first = 3, WEIGHT
    return kind, int(parts[first]) % order.microbatches


def _bar(stage: int, start: float, end: float, shown: float, kind: int, microbatch: int) -> Bar:
    first = round(SCALE * start / shown)
    return [stage, first, max(1, round(SCALE * end / shown) - first), kind, microbatch]
