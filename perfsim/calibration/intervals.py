"""The 90 % intervals of replayed runs, and what is predicted of them without their own kind."""

from collections.abc import Sequence
from dataclasses import replace

from perfsim.calibration.influences import Influence, influences
from perfsim.calibration.run_fit import RunFit
from perfsim.calibration.validate import Replayed, Report
from perfsim.core.calibration import Calibration
from perfsim.core.spreads import Spreads
from perfsim.search.uncertainty import MEMORY_REACH, Range, range_around, spread_of


def with_intervals(
    replayed: Sequence[Replayed], calibration: Calibration, spreads: Spreads, report: Report | None = None
) -> list[Replayed]:
    """The runs with the intervals of their steps and peaks: as of a source of its own, whose runs no fit has seen."""
    found = influences([one.run for one in replayed if not one.problem], calibration, report)
    each = iter(found)
    return [one if one.problem else _with_interval(one, next(each), spreads) for one in replayed]


def with_left_out(replayed: Sequence[Replayed], fit: RunFit) -> list[Replayed]:
    """The runs of the fit with their step times as without their source, card and software; the others as they are."""
    row_of = {run.run_id: i for i, run in enumerate(fit.runs)}
    return [
        replace(
            one,
            left_out={
                kind: range_around(float(left.seconds[i]), float(left.spread[i]), fit.spreads.reach)
                for kind, left in fit.left_out.items()
            },
        )
        if (i := row_of.get(one.run.run_id)) is not None
        else one
        for one in replayed
    ]


def _with_interval(one: Replayed, own: Sequence[Influence], spreads: Spreads) -> Replayed:
    spread = spread_of([i.seconds for i in own], [i.knob.spread for i in own], spreads)
    step = range_around(one.predicted_step_seconds, float(spread), spreads.reach)
    software = one.run.software
    peak: Range = range_around(
        one.predicted_peak_memory_bytes, software.memory_spread if software else 0.0, MEMORY_REACH
    )
    return replace(
        one,
        low_step_seconds=step.low,
        high_step_seconds=step.high,
        low_peak_memory_bytes=peak.low,
        high_peak_memory_bytes=peak.high,
    )
