"""Whether a plan fits: the prediction is short of what a run needs as often as it is over."""

from math import erfc, sqrt
from statistics import NormalDist

import numpy as np

from perfsim.core.numbers import Floats

SURE_CHANCE, HARDLY_CHANCE = 0.95, 0.01  # from which a plan "fits", and up to which it "cannot run"
_SURE, _HARDLY = (NormalDist().inv_cdf(chance) for chance in (SURE_CHANCE, 1.0 - HARDLY_CHANCE))
_FARTHEST = 37.0  # standard deviations, beyond which a double has no name for the chance

_upper_tail = np.vectorize(lambda z: 0.5 * erfc(z / sqrt(2.0)), otypes=[float])


def fit_probability(total_bytes: Floats, capacity_bytes: Floats, spread: float) -> Floats:
    """The chance that a run of `total_bytes` predicted fits into `capacity_bytes` [-].

    spread: standard deviation of log(needed / predicted), normal.

    >>> [round(float(fit_probability(total, 80.0, 0.05)), 2) for total in (70.0, 80.0, 84.0)]
    [1.0, 0.5, 0.16]
    """
    deviations = np.log(total_bytes / np.asarray(capacity_bytes)) / spread
    found: Floats = _upper_tail(np.minimum(deviations, _FARTHEST))
    return found


def safe_bytes(capacity_bytes: Floats, spread: float) -> Floats:
    """The most that a plan may be predicted to need and still surely fit [B]."""
    most: Floats = capacity_bytes * np.exp(-_SURE * spread)
    return most


def surely_fits(total_bytes: Floats, capacity_bytes: Floats, spread: float) -> np.ndarray:
    """The chance is SURE_CHANCE or more."""
    return np.asarray(total_bytes <= safe_bytes(capacity_bytes, spread))


def hardly_fits(total_bytes: Floats, capacity_bytes: Floats, spread: float) -> np.ndarray:
    """The chance is less than HARDLY_CHANCE."""
    return np.asarray(total_bytes > capacity_bytes * np.exp(_HARDLY * spread))
