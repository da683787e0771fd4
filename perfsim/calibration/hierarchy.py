"""Effects of cards, links, software and sources on many runs at once, each as large as the runs can tell.

A run's ln(measured/predicted) is the sum of what it owes to the levels it has (its card, its software ...), each by an
influence, and of a rest: r = Z·u + e with u_j ~ N(0, τ_kind(j)²) and e of Student's t with few degrees of freedom, so
that single odd runs do not decide. The spreads τ and the scale of e are found by expectation maximisation, for the t as
a mixture of normals. Source: Laird and Ware 1982 (random effects); Lange, Little and Taylor 1989 (t errors).
"""

from dataclasses import dataclass

import numpy as np

DEGREES = 4.0  # of freedom of the rest
PRIOR_COUNT = 6.0  # levels that a kind's prior spread counts for
LEAST_NOISE = 0.02  # the same run on another day or host: pairs of one published collection differ by 2 % in the mean
ROUNDS = 40
AGAIN = 2  # rounds to fit without a part, from the whole


@dataclass(frozen=True)
class Effects:
    """spreads: of each kind, shape (kinds,); noise: scale of the rest; mean, error: of each level, shape (levels,)."""

    spreads: np.ndarray
    noise: float
    mean: np.ndarray
    error: np.ndarray


def effects(
    design: np.ndarray, kinds: np.ndarray, residuals: np.ndarray, weights: np.ndarray, priors: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray] | None = None, start: Effects | None = None, has_fixed_spreads: bool = False,
) -> Effects:  # fmt: skip
    """The most likely effects.

    design: influences, shape (runs, levels); kinds: of each level; residuals, weights: of each run; priors: spread of
    each kind; bounds: what an effect may be at least and at most, of each level. start: effects of nearly the same
    runs, from where few rounds suffice. Without runs every effect is 0 and as uncertain as its kind.
    """
    if not len(residuals):
        spreads, noise = (priors, 0.0) if start is None else (start.spreads, start.noise)
        return Effects(spreads, noise, np.zeros(len(kinds)), spreads[kinds])
    count = np.bincount(kinds, minlength=len(priors))
    spreads, noise = (priors.copy(), 0.1) if start is None else (start.spreads.copy(), start.noise)
    heaviness = np.ones(len(residuals))
    total = weights.sum()
    for _ in range(ROUNDS if start is None else AGAIN):
        scale = weights * heaviness / noise**2
        precision = (design * scale[:, None]).T @ design + np.diag(1.0 / spreads[kinds] ** 2)
        covariance = np.linalg.inv(precision)
        mean = _bounded(precision, design.T @ (scale * residuals), bounds)
        squares = (residuals - design @ mean) ** 2 + ((design @ covariance) * design).sum(axis=1)
        heaviness = (DEGREES + 1.0) / (DEGREES + squares / noise**2)
        noise = max(float(np.sqrt((weights * heaviness * squares).sum() / total)), LEAST_NOISE)
        if not has_fixed_spreads:
            sums = np.bincount(kinds, mean**2 + np.diag(covariance), minlength=len(priors))
            spreads = np.sqrt((sums + PRIOR_COUNT * priors**2) / (count + PRIOR_COUNT))
    return Effects(spreads, noise, mean, np.sqrt(np.diag(covariance)))


def _bounded(precision: np.ndarray, pull: np.ndarray, bounds: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
    """The x of precision·x = pull; what would pass a bound is held there, and the others are solved again."""
    mean: np.ndarray = np.linalg.solve(precision, pull)
    if bounds is None:
        return mean
    held = np.zeros(len(mean), dtype=bool)
    while np.any(beyond := ~held & ((mean < bounds[0]) | (mean > bounds[1]))):
        mean, held = np.clip(mean, *bounds), held | beyond
        free = ~held
        rest = pull[free] - precision[np.ix_(free, held)] @ mean[held]
        mean[free] = np.linalg.solve(precision[np.ix_(free, free)], rest)
    return mean
