"""The best plans of a space on every system: searched piece by piece, ranked, with a certificate of the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from perfsim.core.arrays import take
from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.plan import Plan
from perfsim.core.results import Estimate
from perfsim.core.site import Site
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.errors import InputError
from perfsim.formulas.cost import has_price
from perfsim.search.branch import Found, is_safe
from perfsim.search.certificate import OBJECTIVES, Certificate
from perfsim.search.front import check_figures, front, rounded
from perfsim.search.question import Question
from perfsim.search.runner import Runner
from perfsim.search.separate import Figure, separated
from perfsim.search.space import Space, filled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Objective = Literal["time", "money", "energy"]


@dataclass(frozen=True)
class Sweep:
    """The plans of a space that can run, best first; arrays have one entry a kept plan.

    The certificate counts all plans, and says of those that are not kept why not. Kept are, of every system and count,
    the fastest KEPT_PER_COUNT and all that no other beats in both time and energy, of all plans and of those that
    surely fit; with has_headroom all that no other beats in time, energy and memory.
    """

    workload: Workload
    software: Software
    calibration: Calibration
    site: Site
    objective: Objective
    systems: tuple[System, ...]
    space: Space
    certificate: Certificate
    system_index: np.ndarray
    plans: Plan
    estimates: Estimate
    meets_site: np.ndarray
    has_headroom: bool = False

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

    @property
    def has_price(self) -> np.ndarray:
        """Of every row whether its price is known."""
        return _has_price(self.systems, self.system_index, self.plans, self.site)

    def pareto(self, *figures: str) -> np.ndarray:
        """Indices of the plans that no other beats in all of `figures`, by the first (default time, money, energy).

        Figures: step-time, time, money, energy, gpus, headroom (memory left of a card). They are plans inside the
        site's limits that surely fit, where there are any; over money, those whose price is known.
        Raises: UnknownNameError; InputError for headroom in a sweep that did not keep it (has_headroom).
        """
        names = figures or tuple(OBJECTIVES)
        check_figures(names)
        if "headroom" in names and not self.has_headroom:
            raise InputError("headroom: the sweep has not kept the plans with most of it; sweep with has_headroom=True")
        return front(self, names)

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
        columns |= {name: np.asarray(value) for name, value in self.estimates.job.parts().items()}
        columns["goodput"] = np.asarray(self.estimates.job.goodput)
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
        columns["has_price"] = self.has_price
        columns["meets_site"] = self.meets_site
        return columns

    def to_pandas(self) -> "pd.DataFrame":
        """A tidy table, one row a plan (needs pandas)."""
        import pandas as pd

        return pd.DataFrame(self.records())

    def to_dict(self, row: int = 0) -> dict[str, Any]:
        """A row, the best unless told, as flat plain values such as experiment trackers log; no price is None."""
        found = {k: np.broadcast_to(column, (len(self),))[row].item() for k, column in self.records().items()}
        return found if found["has_price"] else found | {"job_usd": None}

    def plot(self, *figures: str, ax: "Axes | None" = None) -> "Axes":
        """The front over two figures (time and money unless told) on `ax` or on new axes (needs matplotlib).

        Raises: UnknownNameError for what is no figure; InputError for other than two.
        """
        import perfsim

        return perfsim.plot_front(self, figures or ("time", "money"), ax)

    def plot_memory(self, ax: "Axes | None" = None) -> "Axes":
        """Memory of the best plan of each card in its parts against what the card has."""
        import perfsim

        return perfsim.plot_memory(self, ax)

    def plot_time(self, ax: "Axes | None" = None) -> "Axes":
        """The step of the best plan of each card in its parts."""
        import perfsim

        return perfsim.plot_time(self, ax)

    def plot_scaling(self, ax: "Axes | None" = None) -> "Axes":
        """Samples a second of the first cards over the number of GPUs, with bands of 90 %."""
        import perfsim
        from perfsim.search.scaling import scaling

        rows = [row for curve in scaling(self) for row in curve.rows.tolist()]
        return perfsim.plot_scaling(self, dict(zip(rows, perfsim.sweep_intervals(self, rows), strict=True)), ax)

    def _repr_html_(self) -> str:
        import perfsim

        return perfsim.html(self)

    def nearest_fit(self) -> list[tuple[str, System, Plan, Estimate]]:
        """When nothing runs: single changes to the space that make something run, each with its best plan."""
        from perfsim.search.nearest import nearest_fit

        return nearest_fit(self)


def sweep(
    workload: Workload, software: Software, calibration: Calibration, systems: Sequence[System], space: Space,
    site: Site | None = None, objective: Objective = "time", progress: Callable[[int, int], None] | None = None,
    has_headroom: bool = False, runner: Runner | None = None,
) -> Sweep:  # fmt: skip
    """The plans of `space` on every system that are worth keeping, ranked by `objective`.

    Plans that leave memory to spare come before those that may not fit. progress(done, all) counts plans. Ties go to
    fewer GPUs, then to the plan that comes first. has_headroom: what no other beats in memory is kept as well.
    runner: who searches, and where finds are kept; this process and nowhere unless given.
    """
    site = site or Site()
    question = Question(
        workload, software, calibration, tuple(systems), filled(space, workload, systems), site, has_headroom
    )
    found = (runner or Runner()).run(question, progress)
    return ranked(question, with_contenders_simulated(question, found, objective), objective)


def ranked(question: Question, found: Found, objective: Objective) -> Sweep:
    """What was found, best first."""
    order, meets = _ranking(question, found, objective)
    return Sweep(
        question.workload, question.software, question.calibration, question.site, objective, question.systems,
        question.space, found.certificate, found.systems[order], take(found.plans, order),
        take(found.estimates, order), meets[order], question.has_headroom,
    )  # fmt: skip


def _ranking(question: Question, found: Found, objective: Objective) -> tuple[np.ndarray, np.ndarray]:
    """(order, whether each row meets deadline and budget): those that do first, then safe memory, objective, GPUs."""
    classes, gpus = _classes(question, found, objective), np.asarray(found.plans.gpus)
    pair = found.plans, found.estimates
    figure = np.where(classes[0], _gpu_hours(*pair), _figure(objective)(*pair))
    return np.lexsort((np.arange(len(found)), gpus, rounded(figure), *classes)), ~classes[-1]


def _classes(question: Question, found: Found, objective: Objective) -> np.ndarray:
    """Whether each plan has no price where money counts, may not fit, and misses deadline or budget [3, plans]."""
    site = question.site
    priced = _has_price(question.systems, found.systems, found.plans, site)
    hours, dollars = np.asarray(found.estimates.job_hours), np.asarray(found.estimates.job_usd)
    misses = np.zeros(len(found), dtype=bool)
    if site.deadline_hours:
        misses |= hours > site.deadline_hours
    if site.budget_usd:
        misses |= ~priced | (dollars > site.budget_usd)
    tight = ~np.broadcast_to(is_safe(found.estimates), misses.shape)
    return np.stack([~priced if objective == "money" else np.zeros_like(misses), tight, misses])


def with_contenders_simulated(question: Question, found: Found, objective: Objective) -> Found:
    """What was found, with the plans that contend for the first place at their simulated times."""
    order, _ = _ranking(question, found, objective)
    classes = _classes(question, found, objective)
    alike = order[np.all(classes[:, order] == classes[:, order[:1]], axis=0)]
    is_unpriced = len(alike) > 0 and classes[0, alike[0]]
    return separated(question, found, alike, _gpu_hours if is_unpriced else _figure(objective))


def _figure(objective: Objective) -> Figure:
    return lambda _, estimates: np.asarray(getattr(estimates, OBJECTIVES[objective]))


def _gpu_hours(plans: Plan, estimates: Estimate) -> np.ndarray:
    """What plans without a price would cost at one price for all."""
    return np.asarray(plans.gpus * estimates.job_hours)


def _has_price(systems: Sequence[System], of_row: np.ndarray, plans: Plan, site: Site) -> np.ndarray:
    """Of every row whether the price of its system is known for its number of GPUs."""
    known = np.zeros(np.shape(of_row), dtype=bool)
    gpus = np.broadcast_to(plans.gpus, known.shape)
    for i, system in enumerate(systems):
        rows = of_row == i
        known[rows] = has_price(system, gpus[rows], site)
    return known
