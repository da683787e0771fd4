"""Fronts: the plans of a sweep that no other beats in all of the figures that someone cares about."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from perfsim.errors import UnknownNameError
from perfsim.search.branch import is_safe
from perfsim.search.pareto import pareto_front

if TYPE_CHECKING:
    from perfsim.search.sweep import Sweep

FIGURES: dict[str, Callable[["Sweep"], Any]] = {
    "step-time": lambda sweep: sweep.estimates.time.total_seconds,
    "time": lambda sweep: sweep.estimates.job_hours,
    "money": lambda sweep: sweep.estimates.job_usd,
    "energy": lambda sweep: sweep.estimates.job_kwh,
    "gpus": lambda sweep: sweep.plans.gpus,
    "headroom": lambda sweep: sweep.estimates.memory_capacity_bytes - sweep.estimates.memory.total_bytes,
}
LARGER_IS_BETTER = ("headroom",)


def check_figures(names: Sequence[str]) -> None:
    """Refuses what are no figures of a front.

    Raises: UnknownNameError that names the nearest figure, or all where none is near.
    """
    for name in names:
        if name not in FIGURES:
            near = get_close_matches(name, FIGURES, n=1, cutoff=0.5)
            todo = f"did you mean {near[0]}?" if near else f"there are {', '.join(FIGURES)}"
            raise UnknownNameError(f"{name!r}: no such figure; {todo}")


def figure(sweep: "Sweep", name: str) -> np.ndarray:
    """A figure of FIGURES of every row [s, h, USD, kWh, GPUs, B]."""
    return np.broadcast_to(np.asarray(FIGURES[name](sweep), dtype=float), (len(sweep),))


def contenders(sweep: "Sweep", names: Sequence[str]) -> np.ndarray:
    """Indices of the rows that a front over these figures is made of.

    Plans inside the site's limits that surely fit; where there are none, those inside the limits; where nothing is,
    those that surely fit, else all. A plan without a known price has no money to compare.
    """
    rows = np.flatnonzero(sweep.has_price) if "money" in names else np.arange(len(sweep))
    rank = 2 * sweep.meets_site[rows] + np.broadcast_to(is_safe(sweep.estimates), (len(sweep),))[rows]
    best: np.ndarray = rows[rank == np.max(rank, initial=0)]
    return best


def front(sweep: "Sweep", names: Sequence[str]) -> np.ndarray:
    """Indices of the contenders that no other beats in all of the figures, in the order of the first of them.

    Of plans that are alike in all of them the one that the sweep ranks first stands for the others.
    """
    rows = contenders(sweep, names)
    signs = [-1.0 if name in LARGER_IS_BETTER else 1.0 for name in names]
    costs = [sign * rounded(figure(sweep, name)[rows]) for sign, name in zip(signs, names, strict=True)]
    unlike, first = np.unique(np.column_stack(costs), axis=0, return_index=True)  # in the order of the first figure
    found: np.ndarray = rows[first[pareto_front(unlike)]]
    return found


def rounded(values: np.ndarray) -> np.ndarray:
    """The values with ten digits: sums in another order differ in their last bits."""
    return np.array([float(f"{value:.9e}") for value in values])
