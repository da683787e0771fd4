"""Which of many candidates no other candidate beats in every figure."""

import numpy as np


def pareto_front(costs: np.ndarray) -> np.ndarray:
    """Indices of the rows of `costs` [candidates, figures] that no other row dominates, in ascending order.

    A row dominates another when it is no worse in every figure and better in one; equal rows all stay.

    >>> pareto_front(np.array([[1.0, 3.0], [2.0, 2.0], [2.0, 4.0]]))
    array([0, 1])
    """
    return np.flatnonzero(on_front(costs, np.zeros(len(costs), dtype=np.int64)))


def on_front(costs: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Whether no other row of the same group dominates each row of `costs` [candidates, figures].

    Sorted by the first figure, a candidate can only be dominated by one before it. Of two figures the least second one
    before it in its group says so; of more each survivor prunes the rest.

    >>> on_front(np.array([[1.0, 3.0], [2.0, 2.0], [2.0, 4.0]]), np.array([0, 0, 1]))
    array([ True,  True,  True])
    """
    order = np.lexsort((*costs.T[::-1], groups))
    stays = np.zeros(len(costs), dtype=bool)
    if not len(costs):
        return stays
    group = groups[order]
    if costs.shape[1] != 2:
        for rows in np.split(order, np.flatnonzero(np.diff(group)) + 1):
            stays[_survivors(costs, rows)] = True
        return stays
    first, second = costs[order].T
    is_new = np.append(True, (np.diff(group) != 0) | (np.diff(first) != 0.0) | (np.diff(second) != 0.0))
    starts = np.append(True, np.diff(group) != 0)
    # ranks that are below those of all groups before, so that the least so far is the group's own
    rank = np.unique(second, return_inverse=True)[1].ravel() - len(costs) * np.cumsum(starts)
    least = np.append(0, np.minimum.accumulate(rank)[:-1])
    wins = starts | (rank < least)
    stays[order] = wins[np.flatnonzero(is_new)[np.cumsum(is_new) - 1]]  # equal rows share what the first of them gets
    return stays


def _survivors(costs: np.ndarray, remaining: np.ndarray) -> list[int]:
    """Those of the rows `remaining`, in order of their figures, that none of them dominates."""
    front: list[int] = []
    while len(remaining):
        first = costs[remaining[0]]
        front.append(int(remaining[0]))
        rest = remaining[1:]
        beaten = np.all(costs[rest] >= first, axis=1) & np.any(costs[rest] > first, axis=1)
        remaining = rest[~beaten]
    return front
