"""Fit named, bounded parameters to measured seconds: robust least squares on the logarithm, with standard errors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Values = Mapping[str, float]
ROBUST_SCALE = 0.1  # residuals of ln(predicted/measured) beyond this count linearly, not squared
AT_BOUND = 0.01  # nearer to a bound than this share of the range
MOST_EVALUATIONS = 60
STEP = 1e-3  # of a parameter's start, for its slope
SEPARATOR = "@"  # "name@where": the same parameter for a part of the rows


@dataclass(frozen=True)
class Parameter:
    """A number to fit: where the fit starts and what is physically possible."""

    name: str
    start: float
    least: float
    most: float


@dataclass(frozen=True)
class Fitted:
    """What a fit found.

    values, errors: by parameter; an error is one standard error, infinite where the data do not identify the
    parameter. at_bound: parameters that ended at a limit. correlations: pairs above 0.9. residuals: ln of predicted
    over measured, row by row.
    """

    values: dict[str, float]
    errors: dict[str, float]
    at_bound: tuple[str, ...]
    correlations: dict[tuple[str, str], float]
    residuals: np.ndarray

    @property
    def count(self) -> int:
        """Rows that were fitted."""
        return len(self.residuals)


def fit(
    parameters: Sequence[Parameter],
    predict: Callable[[Values], np.ndarray],
    measured: np.ndarray,
    weights: np.ndarray | None = None,
    acts_on: Mapping[str, np.ndarray] | None = None,
) -> Fitted:
    """Parameters that bring `predict`'s seconds nearest to the measured ones, shape (rows,) both.

    Minimises the soft absolute value of ln(predicted/measured), times `weights` where given. acts_on: masks of the
    rows that a parameter "name@where" acts on; those of one name must not overlap, so that one evaluation gives the
    slopes of all of them.
    Raises: ValueError when there are fewer rows than parameters.
    """
    from scipy.optimize import least_squares

    if len(measured) < len(parameters):
        raise ValueError(f"{len(measured)} rows cannot identify {len(parameters)} parameters")
    start = np.array([p.start for p in parameters])
    least, most = np.array([p.least for p in parameters]), np.array([p.most for p in parameters])
    scale = np.where(start != 0.0, np.abs(start), most - least)
    logged, by_row = np.log(measured), 1.0 if weights is None else weights
    everywhere = np.ones(len(measured), dtype=bool)
    masks = [(acts_on or {}).get(p.name, everywhere) for p in parameters]
    groups: dict[str, list[int]] = {}
    for i, p in enumerate(parameters):
        groups.setdefault(p.name.split(SEPARATOR)[0], []).append(i)

    def named(scaled: np.ndarray) -> dict[str, float]:
        return {p.name: float(v) for p, v in zip(parameters, np.clip(scaled * scale, least, most), strict=True)}

    def residuals(scaled: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.log(predict(named(scaled))) - logged
        return found * by_row

    def slopes(scaled: np.ndarray) -> np.ndarray:
        here, jacobian = residuals(scaled), np.zeros((len(measured), len(parameters)))
        for members in groups.values():
            step = np.zeros(len(parameters))
            inward = (scaled[members] + STEP) * scale[members] > most[members]
            step[members] = np.where(inward, -STEP, STEP)
            change = residuals(scaled + step) - here
            for i in members:
                jacobian[masks[i], i] = change[masks[i]] / step[i]
        return jacobian

    found = least_squares(
        residuals, np.clip(start / scale, least / scale, most / scale), jac=slopes,
        bounds=(least / scale, most / scale), loss="soft_l1", f_scale=ROBUST_SCALE, max_nfev=MOST_EVALUATIONS,
    )  # fmt: skip
    values = named(found.x)
    error, correlation = _uncertainty(slopes(found.x), residuals(found.x))
    names = [p.name for p in parameters]
    bound = tuple(
        p.name
        for p in parameters
        if min(values[p.name] - p.least, p.most - values[p.name]) < AT_BOUND * (p.most - p.least)
    )
    pairs = {
        (names[i], names[j]): float(correlation[i, j])
        for i in range(len(names))
        for j in range(i)
        if abs(correlation[i, j]) > 0.9
    }
    errors = {name: float(e * s) for name, e, s in zip(names, error, scale, strict=True)}
    return Fitted(values, errors, bound, pairs, residuals(found.x) / by_row)


def _uncertainty(jacobian: np.ndarray, residuals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(standard errors, correlations) in scaled parameters, from the curvature and the spread of the residuals."""
    spread = (1.4826 * np.median(np.abs(residuals))) ** 2
    curvature = jacobian.T @ jacobian
    identified = np.diag(curvature) > 1e-12
    covariance = np.zeros_like(curvature)
    covariance[np.ix_(identified, identified)] = spread * np.linalg.pinv(curvature[np.ix_(identified, identified)])
    error = np.where(identified, np.sqrt(np.maximum(np.diag(covariance), 0.0)), np.inf)
    safe = np.where(identified & (error > 0.0), error, 1.0)
    return error, np.where(np.outer(identified, identified), covariance / np.outer(safe, safe), 0.0)
