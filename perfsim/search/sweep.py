"""Every plan of a space on every system, costed on open grids; what cannot run is counted, the rest is ranked."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from perfsim.core.arrays import concatenate, rows, stack, take
from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.numbers import Bools
from perfsim.core.plan import Plan, Problem
from perfsim.core.results import Estimate
from perfsim.core.site import Site
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.estimate import estimate
from perfsim.formulas.cost import has_price
from perfsim.formulas.fits import surely_fits
from perfsim.search.pareto import pareto_front
from perfsim.search.space import Space, blocks, filled, grid

if TYPE_CHECKING:
    import pandas as pd

Objective = Literal["time", "money", "energy"]
OBJECTIVES: dict[Objective, str] = {"time": "job_hours", "money": "job_usd", "energy": "job_kwh"}
PLANS_AT_ONCE = 400_000
KEPT_PER_COUNT = 50  # of each system and count, the fastest


@dataclass(frozen=True)
class Sweep:
    """The plans of a space that can run, best first; arrays have one entry a kept plan.

    considered counts all plans, problems how many each problem stops (a plan may have several). Kept are, of every
    system and count, the fastest KEPT_PER_COUNT and all that no other beats in both time and energy.
    """

    workload: Workload
    software: Software
    calibration: Calibration
    site: Site
    objective: Objective
    systems: tuple[System, ...]
    space: Space
    considered: int
    runnable: int
    problems: dict[Problem, int]
    system_index: np.ndarray
    plans: Plan
    estimates: Estimate
    meets_site: np.ndarray

    def __len__(self) -> int:
        return len(self.system_index)

    def row(self, i: int) -> tuple[System, Plan, Estimate]:
        """System, plan and estimate of row i, as scalars."""
        return self.systems[int(self.system_index[i])], take(self.plans, i), take(self.estimates, i)

    def best(self) -> tuple[System, Plan, Estimate]:
        """The first row.

        Raises: IndexError when nothing runs.
        """
        if not len(self):
            raise IndexError("nothing fits: see nearest_fit()")
        return self.row(0)

    def best_per_gpu(self) -> np.ndarray:
        """Indices of the best row of every card, best first."""
        seen: dict[str, int] = {}
        for i, system in enumerate(self.system_index):
            seen.setdefault(self.systems[int(system)].gpu.key, i)
        return np.fromiter(seen.values(), dtype=np.int64)

    def pareto(self, *figures: str) -> np.ndarray:
        """Indices of rows that no other row beats in all of `figures` (default job_hours, job_usd, job_kwh)."""
        names = figures or tuple(OBJECTIVES.values())
        return pareto_front(np.column_stack([np.asarray(getattr(self.estimates, name)) for name in names]))

    def records(self) -> dict[str, Any]:
        """Columns, one entry a row: system, plan and every figure, SI units in the names."""
        of_row = [self.systems[int(i)] for i in self.system_index]
        columns: dict[str, Any] = {
            "gpu": [s.gpu.key for s in of_row],
            "system": [s.key for s in of_row],
            "gpus": np.asarray(self.plans.gpus),
            "power_limit_watts": np.array([float(s.gpu.power_limit_watts) for s in of_row]),
        }
        columns |= {f.name: np.asarray(getattr(self.plans, f.name)) for f in fields(Plan)}
        for part in (self.estimates.time, self.estimates.memory, self.estimates.energy):
            columns |= {name: np.asarray(value) for name, value in part.parts().items()}
        columns["step_seconds"] = np.asarray(self.estimates.time.total_seconds)
        columns["memory_bytes"] = np.asarray(self.estimates.memory.total_bytes)
        names = (
            "memory_capacity_bytes",
            "mfu",
            "hfu",
            "tokens_per_s",
            "samples_per_s",
            "useful_tokens_per_s",
            "watts_per_gpu",
            "clock_ratio",
        )
        columns |= {
            name: np.asarray(getattr(self.estimates, name)) for name in (*names, "job_kg_co2", *OBJECTIVES.values())
        }
        columns["has_price"] = np.array([bool(has_price(s, self.site)) for s in of_row], dtype=bool)
        columns["meets_site"] = self.meets_site
        return columns

    def to_pandas(self) -> "pd.DataFrame":
        """A tidy table, one row a plan (needs pandas)."""
        import pandas as pd

        return pd.DataFrame(self.records())

    def nearest_fit(self) -> list[tuple[str, System, Plan, Estimate]]:
        """When nothing runs: single changes to the space that make something run, each with its best plan."""
        from perfsim.search.nearest import nearest_fit

        return nearest_fit(self)


def sweep(
    workload: Workload, software: Software, calibration: Calibration, systems: Sequence[System], space: Space,
    site: Site | None = None, objective: Objective = "time", progress: Callable[[int, int], None] | None = None,
) -> Sweep:  # fmt: skip
    """Cost every plan of `space` on every system and rank those that run by `objective`.

    Plans that leave memory to spare come before those that may not fit. progress(done, all) counts plans. Ties go to
    fewer GPUs, then to the plan that comes first. However large the space, at most PLANS_AT_ONCE plans are in memory;
    what is kept does not depend on how it is cut.
    """
    site = site or Site()
    space = filled(space, workload, systems)
    found: list[tuple[np.ndarray, np.ndarray, Plan, Estimate]] = []
    problems = dict.fromkeys(Problem, 0)
    runnable = done = 0
    for first, block in blocks(space, PLANS_AT_ONCE):
        plan, count = grid(block, software)
        for start, part in _chunks(systems, block.size):
            shape, estimates, bits = _costed(workload, software, calibration, part, plan, count, site)
            for problem in Problem:
                problems[problem] += int(np.count_nonzero(bits & int(problem)))
            runs = bits == 0
            runnable += int(np.count_nonzero(runs))
            place = np.unravel_index(np.flatnonzero(runs), shape)
            keep = _kept(place[0], place[1], estimates, shape, place)
            place = tuple(axis[keep] for axis in place)
            position = np.ravel_multi_index([axis + at for axis, at in zip(place[1:], first, strict=True)], space.shape)
            found.append((place[0] + start, position, rows(plan, place, shape), rows(estimates, place, shape)))
            done += block.size * len(part)
            if progress:
                progress(done, space.size * len(systems))
    of_system, of_position, of_plan, of_estimate = zip(*found, strict=True)
    index, position = np.concatenate(of_system), np.concatenate(of_position)
    order = np.lexsort((position, index))
    index, plans, kept = index[order], take(concatenate(of_plan), order), take(concatenate(of_estimate), order)
    again = _kept(index, np.asarray(plans.gpus), kept, index.shape, (np.arange(len(index)),))
    index, plans, kept = index[again], take(plans, again), take(kept, again)
    ranked, meets = _ranking(systems, index, plans, kept, site, objective)
    return Sweep(
        workload, software, calibration, site, objective, tuple(systems), space, space.size * len(systems), runnable,
        {p: n for p, n in problems.items() if n}, index[ranked], take(plans, ranked), take(kept, ranked), meets[ranked],
    )  # fmt: skip


def is_safe(estimates: Estimate) -> Bools:
    """Whether a plan leaves the memory that the prediction may be short of."""
    return surely_fits(estimates.memory.total_bytes, estimates.memory_capacity_bytes, estimates.memory_spread)


def _chunks(systems: Sequence[System], size: int) -> Iterator[tuple[int, Sequence[System]]]:
    at_once = max(1, PLANS_AT_ONCE // size)
    for start in range(0, len(systems), at_once):
        yield start, systems[start : start + at_once]


def _costed(
    workload: Workload, software: Software, calibration: Calibration, systems: Sequence[System], plan: Plan,
    count: np.ndarray, site: Site,
) -> tuple[tuple[int, ...], Estimate, np.ndarray]:  # fmt: skip
    """(shape, estimates, problem bits of every plan) of a few systems on the first axis of the grid."""
    stacked = stack(systems, (-1,) + (1,) * (len(fields(Space))))
    estimates = replace(estimate(workload, stacked, plan, software, calibration, site), operations={})
    misfit = np.where(plan.gpus != count, int(Problem.GPUS), 0)
    choices = (np.shape(getattr(plan, f.name)) for f in fields(Plan))
    shape = np.broadcast_shapes((len(systems),) + (1,) * len(fields(Space)), count.shape, *choices)
    return shape, estimates, np.broadcast_to(estimates.problems | misfit, shape)


def _kept(
    system: np.ndarray, count: np.ndarray, estimates: Estimate, shape: tuple[int, ...], place: tuple[np.ndarray, ...]
) -> np.ndarray:
    """Which of the plans at `place` are worth keeping: of every system and count the best, of all and of the safe ones.

    system, count: whole numbers that tell the groups apart. place: indices into arrays of `shape`, in order.
    """

    def at(values: Any) -> np.ndarray:
        there: np.ndarray = np.broadcast_to(values, shape)[place]
        return there

    hours, joules = at(estimates.job_hours), at(estimates.job_kwh)
    _, group = np.unique(np.stack([system, count]), axis=1, return_inverse=True)
    keep = np.zeros(len(system), dtype=bool)
    for chosen in (np.arange(len(system)), np.flatnonzero(at(is_safe(estimates)))):
        keep[chosen[_best(hours[chosen], joules[chosen], np.ravel(group)[chosen])]] = True
    return np.flatnonzero(keep)


def _best(hours: np.ndarray, joules: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The fastest of each group, and the group's front of time and energy."""
    if not len(hours):
        return np.zeros(0, dtype=np.int64)
    order = np.lexsort((joules, hours, group))
    group, joules = group[order], joules[order]
    starts = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
    place = np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))
    keep = place < KEPT_PER_COUNT
    for start, end in zip(starts, np.append(starts[1:], len(group)), strict=True):
        least = np.minimum.accumulate(joules[start:end])
        keep[start:end] |= np.concatenate([[True], joules[start + 1 : end] < least[:-1]])
    found: np.ndarray = order[keep]
    return found


def _ranking(
    systems: Sequence[System], index: np.ndarray, plans: Plan, estimates: Estimate, site: Site, objective: Objective
) -> tuple[np.ndarray, np.ndarray]:
    """(order, whether each row meets deadline and budget): those that do first, then safe memory, objective, GPUs."""
    priced = np.array([bool(has_price(systems[int(i)], site)) for i in index], dtype=bool)
    hours, dollars = np.asarray(estimates.job_hours), np.asarray(estimates.job_usd)
    meets = np.ones(len(index), dtype=bool)
    if site.deadline_hours:
        meets &= hours <= site.deadline_hours
    if site.budget_usd:
        meets &= priced & (dollars <= site.budget_usd)
    figure = np.asarray(getattr(estimates, OBJECTIVES[objective]))
    unpriced = ~priced if objective == "money" else np.zeros(len(index), dtype=bool)
    figure = np.where(unpriced, np.asarray(plans.gpus) * hours, figure)  # what they would cost at one price for all
    rounded = np.array([float(f"{x:.9e}") for x in figure])
    tight = ~np.broadcast_to(is_safe(estimates), meets.shape)
    return np.lexsort((np.arange(len(index)), np.asarray(plans.gpus), rounded, unpriced, tight, ~meets)), meets
