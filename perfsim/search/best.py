"""Which plans are worth keeping, and which need not be looked at because what was found already beats them."""

from dataclasses import dataclass, field

import numpy as np

from perfsim.search.pareto import on_front

KEPT_PER_COUNT = 50  # of each system and count, the fastest


def kept(figures: np.ndarray, groups: np.ndarray, is_safe: np.ndarray) -> np.ndarray:
    """Indices of plans worth keeping, ascending: of each group those that `best` keeps, of all and of the safe ones.

    figures [plans, figures]: seconds first, all better when smaller; is_safe: leaves memory to spare. What is kept of
    two lists together is what is kept of what is kept of each, so it does not matter how plans come.
    """
    keep = np.zeros(len(groups), dtype=bool)
    for chosen in (np.arange(len(groups)), np.flatnonzero(is_safe)):
        keep[chosen[_best(figures[chosen], groups[chosen])]] = True
    return np.flatnonzero(keep)


def _best(figures: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The fastest KEPT_PER_COUNT of each group, and all that no other plan of the group beats in every figure."""
    order = np.lexsort((*figures.T[::-1], groups))
    in_order = groups[order]
    place = np.arange(len(order)) - np.searchsorted(in_order, in_order)
    best: np.ndarray = order[(place < KEPT_PER_COUNT) | on_front(figures, groups)[order]]
    return best


@dataclass
class Incumbents:
    """The best plans found so far of each group: what a bound has to stay below to be worth a look.

    Two classes, all plans and those that surely fit. figures [plans, figures] are those of `kept` plans.
    """

    slowest: tuple[dict[int, float], dict[int, float]] = field(default_factory=lambda: ({}, {}))
    front: tuple[dict[int, np.ndarray], dict[int, np.ndarray]] = field(default_factory=lambda: ({}, {}))

    def learn(self, figures: np.ndarray, groups: np.ndarray, is_safe: np.ndarray) -> None:
        """Take these plans for the best so far."""
        for which, chosen in enumerate((np.arange(len(groups)), np.flatnonzero(is_safe))):
            order = chosen[np.lexsort((figures[chosen, 0], groups[chosen]))]
            is_best = on_front(figures[order], groups[order])
            for rows in np.split(np.arange(len(order)), np.flatnonzero(np.diff(groups[order])) + 1):
                if len(rows) >= KEPT_PER_COUNT:  # only then plans are held against them
                    group = int(groups[order[rows[0]]])
                    self.front[which][group] = figures[order[rows[is_best[rows]]]]
                    self.slowest[which][group] = float(figures[order[rows[KEPT_PER_COUNT - 1]], 0])

    def may_win(self, figures: np.ndarray, groups: np.ndarray, may_be_safe: np.ndarray) -> np.ndarray:
        """Whether plans with these lower bounds could be kept: among the fastest, or not beaten in every figure.

        A plan with bounds b is not kept when KEPT_PER_COUNT plans take less than b's seconds and one has every figure
        at most b's and its seconds below them: that one then beats it in every figure too. Plans that may be safe are
        held against safe ones alone, which are among all.
        """
        wins = np.ones(len(groups), dtype=bool)
        order = np.lexsort((may_be_safe, groups))
        changes = np.flatnonzero(np.diff(groups[order]) | np.diff(may_be_safe[order].astype(int))) + 1
        for rows in np.split(order, changes) if len(order) else []:
            group, which = int(groups[rows[0]]), int(may_be_safe[rows[0]])
            slowest = self.slowest[which].get(group)
            if slowest is not None:
                wins[rows] = ~((figures[rows, 0] > slowest) & _is_beaten(figures[rows], self.front[which][group]))
        return wins


def _is_beaten(bounds: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Whether a plan of the front is no worse than the bounds in every figure and takes less time."""
    if bounds.shape[1] == 2:  # the front is in order of time: of the quicker ones the last takes least energy
        place = np.searchsorted(front[:, 0], bounds[:, 0], side="left")
        least = np.minimum.accumulate(front[:, 1])
        beaten: np.ndarray = (place > 0) & (least[np.maximum(place - 1, 0)] <= bounds[:, 1])
        return beaten
    beaten = np.zeros(len(bounds), dtype=bool)
    for plan in front:
        beaten |= np.all(plan <= bounds, axis=1) & (plan[0] < bounds[:, 0])
    return beaten
