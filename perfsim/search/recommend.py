"""Which cards to take: of those that are there and those to be had, what keeps the limits and is best at something.

Cards come in pools: what one owns, what can be rented. Each pool is swept once; as the fastest plans of every system
and count are kept, and all that no other beats in time and energy, the best by any criterion is among them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import log
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from perfsim.core.hardware import System
from perfsim.core.plan import Plan
from perfsim.core.results import Estimate
from perfsim.core.site import Site
from perfsim.core.workload import Workload
from perfsim.formulas.fits import SURE_CHANCE, fit_probability
from perfsim.search.branch import is_safe
from perfsim.search.certificate import OBJECTIVES
from perfsim.search.intervals import Intervals
from perfsim.search.question import Question
from perfsim.search.runner import Runner
from perfsim.search.sensitivity import REACH
from perfsim.search.sweep import Objective, Sweep, ranked, with_contenders_simulated
from perfsim.search.uncertainty import Range

Tenure = Literal["owned", "rented"]
Criterion = Literal["cheapest", "smallest", "greenest", "fastest"]
CRITERIA: Mapping[Criterion, tuple[str, str]] = {  # the figure that decides, and the one that breaks ties
    "cheapest": ("job_usd", "job_hours"),
    "smallest": ("gpus", "job_usd"),
    "greenest": ("job_kwh", "job_usd"),
    "fastest": ("job_hours", "job_usd"),
}
FIRST, LOOKED_AT = (
    12,
    96,
)  # sets of cards of each order whose intervals are looked at: at first, and for want of a sure one


@dataclass(frozen=True)
class Pool:
    """Cards that are had in one way, swept; the site of the sweep says what they cost and what the limits are."""

    tenure: Tenure
    sweep: Sweep


@dataclass(frozen=True)
class Choice:
    """One plan of a pool, with the intervals of its figures."""

    pool: Pool
    row: int
    ranges: Intervals

    @property
    def tenure(self) -> Tenure:
        """How its cards are had."""
        return self.pool.tenure

    @property
    def site(self) -> Site:
        """Its prices, and the limits."""
        return self.pool.sweep.site

    @cached_property
    def parts(self) -> tuple[System, Plan, Estimate]:
        """System, plan and estimate, as scalars."""
        return self.pool.sweep.row(self.row)

    @property
    def cards(self) -> tuple[Tenure, str, int]:
        """The set of cards that it takes."""
        system, plan, _ = self.parts
        return self.tenure, system.gpu.key, int(plan.gpus)

    def figure(self, name: str) -> float:
        """The number of GPUs, or a figure of the estimate by its name, in its unit."""
        _, plan, found = self.parts
        return float(plan.gpus if name == "gpus" else getattr(found, name))

    @property
    def fit_chance(self) -> float:
        """The chance that its memory is enough."""
        found = self.parts[2]
        return float(fit_probability(found.memory.total_bytes, found.memory_capacity_bytes, found.memory_spread))

    @property
    def chance(self) -> float:
        """The chance that it fits and keeps the deadline and the budget of its site; hours and dollars err together."""
        ends = ((self.site.deadline_hours, "job_hours"), (self.site.budget_usd, "job_usd"))
        return self.fit_chance * min((chance_below(end, self.ranges[name]) for end, name in ends if end), default=1.0)


Kind = Literal["limits", "count", "rent", "spot", "gpus", "precision", "method"]


@dataclass(frozen=True)
class Change:
    """A change to what was asked, and the best plan that it leads to.

    kind: other "limits", as the plan's own hours and dollars tell; another "count" of the same cards; cards to "rent";
    the same on "spot"; more "gpus" of all kinds; another "precision" or "method", whose key is the value.
    """

    kind: Kind
    value: str
    choice: Choice


Forecast = Callable[[Sequence[tuple[Pool, int]]], Sequence[Intervals]]


@dataclass(frozen=True)
class Recommendation:
    """What is best by each criterion, with its runner-up, on other cards if there are; empty where nothing does.

    is_sure: the choices keep the limits with a chance of 95 %; otherwise none does, and they keep them as predicted.
    asked: of the pools, how many hold what was asked for; later ones look closer. changes: what would change the
    answer, or make one possible. overtaken: the chance that the runner-up of the cheapest is the cheaper in truth.
    """

    pools: tuple[Pool, ...]
    choices: Mapping[Criterion, tuple[Choice, Choice | None]]
    is_sure: bool
    asked: int = 1
    changes: tuple[Change, ...] = ()
    overtaken: float = 0.0

    @property
    def workload(self) -> Workload:
        """The job."""
        return self.pools[0].sweep.workload

    @property
    def site(self) -> Site:
        """The limits."""
        return self.pools[0].sweep.site

    def __bool__(self) -> bool:
        return bool(self.choices)

    def __getitem__(self, criterion: Criterion) -> Choice:
        """The best by a criterion.

        Raises: KeyError when nothing meets the limits.
        """
        return self.choices[criterion][0]

    def to_dict(self) -> dict[str, Any]:
        """Flat: `cheapest_gpu`, `cheapest_job_hours`, `cheapest_job_hours_low` ... of every criterion."""
        flat: dict[str, Any] = {}
        for criterion, (choice, _) in self.choices.items():
            system, plan, _ = choice.parts
            own: dict[str, Any] = {"gpu": system.gpu.key, "system": system.key, "gpus": int(plan.gpus),
                                   "tenure": choice.tenure, "chance": choice.chance}  # fmt: skip
            own |= {name: choice.figure(name) for name in OBJECTIVES.values()} | choice.ranges.columns()
            flat |= {f"{criterion}_{name}": value for name, value in own.items()}
        return flat


def swept(tenure: Tenure, question: Question, simulated: Sequence[Objective] = ()) -> Pool:
    """The pool of a question; plans that contend for the first place by one of `simulated` are simulated.

    Others stand at their closed forms, a few per cent off at most.
    """
    found = Runner().run(question)
    for objective in simulated:
        found = with_contenders_simulated(question, found, objective)
    return Pool(tenure, ranked(question, found, "money"))


def recommend(pools: Sequence[Pool], forecast: Forecast) -> Recommendation:
    """The best of the pools by each criterion.

    Chosen are plans that surely fit and keep the limits by the upper ends of their intervals, 95 in 100; if there is
    none of them, plans that keep them as predicted. Of each set of cards one plan stands in an order.
    """
    limits = pools[0].sweep.site
    some = candidates(pools, limits, forecast, most=FIRST)
    is_sure = any(choice.chance >= SURE_CHANCE for choice in some)
    if some and not is_sure:
        some = candidates(pools, limits, forecast)
        is_sure = any(choice.chance >= SURE_CHANCE for choice in some)
    keeping = [choice for choice in some if choice.chance >= SURE_CHANCE or not is_sure]
    choices: dict[Criterion, tuple[Choice, Choice | None]] = {}
    for criterion in CRITERIA if keeping else ():
        best, *others = in_order(keeping, criterion)
        rivals = [other for other in others if other.cards != best.cards]
        choices[criterion] = best, next(iter([one for one in rivals if one.cards[:2] != best.cards[:2]] + rivals), None)
    return Recommendation(tuple(pools), choices, is_sure, len(pools))


def candidates(
    pools: Sequence[Pool], limits: Site, forecast: Forecast, criteria: Sequence[Criterion] = tuple(CRITERIA),
    most: int = LOOKED_AT,
) -> list[Choice]:  # fmt: skip
    """The first plans by each criterion of those that surely fit and keep the limits as predicted; `most` of each."""
    orders = (islice(_places(pools, criterion, limits), most) for criterion in criteria)
    wanted = [(pools[pool], row) for pool, row in dict.fromkeys(place for order in orders for place in order)]
    return [Choice(pool, row, own) for (pool, row), own in zip(wanted, forecast(wanted), strict=True)]


def in_order(choices: Iterable[Choice], criterion: Criterion) -> list[Choice]:
    """Best first."""
    return sorted(choices, key=lambda choice: tuple(choice.figure(name) for name in CRITERIA[criterion]))


def _places(pools: Sequence[Pool], criterion: Criterion, limits: Site) -> Iterator[tuple[int, int]]:
    """(pool, row) of the plans that keep the limits and surely fit, best first, one of every set of cards."""
    places: list[tuple[int, int]] = []
    figures: list[tuple[float, ...]] = []
    for which, pool in enumerate(pools):
        sweep = pool.sweep
        keeps = is_safe(sweep.estimates) & sweep.has_price
        for end, name in ((limits.deadline_hours, "job_hours"), (limits.budget_usd, "job_usd")):
            keeps &= (_figure(sweep, name) <= end) | (not end)
        rows = np.flatnonzero(keeps)
        places += [(which, int(row)) for row in rows]
        figures += zip(*(_figure(sweep, name)[rows].tolist() for name in CRITERIA[criterion]), strict=True)
    seen = set()
    for place in sorted(range(len(places)), key=lambda i: figures[i]):
        which, row = places[place]
        sweep = pools[which].sweep
        gpu = sweep.systems[int(sweep.system_index[row])].gpu.key
        cards = pools[which].tenure, gpu, int(np.broadcast_to(sweep.plans.gpus, len(sweep))[row])
        if cards not in seen:
            seen.add(cards)
            yield which, row


def _figure(sweep: Sweep, name: str) -> np.ndarray:
    values = sweep.plans.gpus if name == "gpus" else getattr(sweep.estimates, name)
    return np.broadcast_to(np.asarray(values, dtype=float), len(sweep))


def chance_below(limit: float, one: Range) -> float:
    """The chance that a figure with this 90 % interval, normal in its log, is at most `limit`.

    >>> round(chance_below(12.0, Range(8.0, 10.0, 12.5)), 2)
    0.91
    """
    if one.high <= one.middle:
        return float(one.middle <= limit)
    return NormalDist().cdf(log(limit / one.middle) / (log(one.high / one.middle) / REACH))
