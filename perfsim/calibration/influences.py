"""What the uncertain numbers of each measured run do to its prediction."""

from collections.abc import Sequence
from dataclasses import dataclass

from perfsim.calibration.runs import MeasuredRun
from perfsim.calibration.validate import Report, stacked, stacks
from perfsim.core.calibration import Calibration
from perfsim.search.sensitivity import Inputs, Knob
from perfsim.search.uncertainty import elasticities


@dataclass(frozen=True)
class Influence:
    """A number and what it does to one run: d ln(seconds) / d ln(number)."""

    knob: Knob
    seconds: float


def influences(
    runs: Sequence[MeasuredRun], calibration: Calibration, report: Report | None = None
) -> list[tuple[Influence, ...]]:
    """For each run that can be replayed those of its knobs, in their order; nothing for the others."""
    found: list[tuple[Influence, ...]] = [()] * len(runs)
    done = 0
    for chosen in stacks(runs):
        knobs = [runs[i].knobs for i in chosen]
        paths = list(dict.fromkeys(knob.paths for own in knobs for knob in own))
        workload, system, plan, software = stacked([runs[i] for i in chosen])
        moved = elasticities(Inputs(workload, system, plan, software, calibration), paths)
        row_of = {path: row for row, path in enumerate(paths)}
        for column, (i, own) in enumerate(zip(chosen, knobs, strict=True)):
            found[i] = tuple(Influence(knob, float(moved.seconds[row_of[knob.paths], column])) for knob in own)
        done += len(chosen)
        if report:
            report(done, len(runs))
    return found
