"""The first plans of a ranking, as far as their closed forms cannot tell them apart: bounded, and simulated if need be.

A pipeline's closed form is exact for equal stages and a few per cent off where the model's ends make them unequal
(formulas.pipeline). So the first of a ranking may not be the best by its simulated time. Plans are looked at in order:
one whose lower bound is above the best simulated one cannot be it, the others are simulated, until closed forms are
too far off to matter.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from perfsim.core.arrays import concatenate, stack, take
from perfsim.core.plan import Plan
from perfsim.core.results import Estimate
from perfsim.estimate import delayed
from perfsim.search.branch import Found
from perfsim.search.question import Question
from perfsim.simulation import staged

Figure = Callable[[Plan, Estimate], np.ndarray]
CLOSED_FORM_ERROR = 0.03  # of the simulated step, at worst: formulas.pipeline.pipeline


def separated(question: Question, found: Found, order: np.ndarray, figure: Figure) -> Found:
    """What was found, with the plans that contend for the first place at their simulated times.

    order: indices of the plans that are ranked alike but for `figure`, best first; figure: of a plan and its estimate,
    best when least. A plan that need not be simulated stands at its bound where its closed form is below that.
    """

    def at(seconds: float) -> tuple[Estimate, float]:
        """The plan in hand, and its figure, if its step took so long."""
        waited = seconds - float(closed.time.total_seconds)
        one = delayed(closed, question.workload, system, plan, question.site, waited)
        return one, float(figure(plan, one))

    best, changed, simulated = np.inf, dict[int, Estimate](), 0
    for i in map(int, order):
        system, plan, closed = question.systems[found.systems[i]], take(found.plans, i), take(found.estimates, i)
        amount = float(figure(plan, closed))
        if amount > best * (1.0 + CLOSED_FORM_ERROR):
            break
        if int(plan.pipeline_parallel) > 1:
            pieces = staged(question.workload, system, plan, question.software, question.calibration)
            bound, least = at(pieces.least_seconds)
            if least < best:
                changed[i], amount = at(pieces.simulated().step_seconds)
                simulated += 1
            elif amount < least:
                changed[i], amount = bound, least
        best = min(best, amount)
    certificate = replace(found.certificate, simulated=found.certificate.simulated + simulated)
    if not changed:
        return replace(found, certificate=certificate)
    index = np.arange(len(found))
    index[list(changed)] = len(found) + np.arange(len(changed))
    estimates = take(concatenate([found.estimates, stack(list(changed.values()))]), index)
    return replace(found, certificate=certificate, estimates=estimates)
