"""Which of many candidates no other candidate beats in every figure."""

import numpy as np


def pareto_front(costs: np.ndarray) -> np.ndarray:
    """Indices of the rows of `costs` [candidates, figures] that no other row dominates, in ascending order.

    A row dominates another when it is no worse in every figure and better in one; equal rows all stay.
    Sorted by the first figure, a candidate can only be dominated by one before it: of two figures the least second one
    before it says so, of more each survivor prunes the rest.

    >>> pareto_front(np.array([[1.0, 3.0], [2.0, 2.0], [2.0, 4.0]]))
    array([0, 1])
    """
    order = np.lexsort(costs.T[::-1])
    if costs.shape[1] == 2 and len(order):
        first, second = costs[order].T
        is_new = np.append(True, (np.diff(first) != 0.0) | (np.diff(second) != 0.0))  # not equal to the one before
        least = np.append(np.inf, np.minimum.accumulate(second)[:-1])
        stays = (second < least)[np.flatnonzero(is_new)[np.cumsum(is_new) - 1]]
        return np.sort(order[stays])
    remaining = order
    front: list[int] = []
    while len(remaining):
        first = costs[remaining[0]]
        front.append(int(remaining[0]))
        rest = remaining[1:]
        beaten = np.all(costs[rest] >= first, axis=1) & np.any(costs[rest] > first, axis=1)
        remaining = rest[~beaten]
    return np.array(sorted(front), dtype=np.int64)
