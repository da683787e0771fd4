"""Whether a plan fits: the prediction is short of what a run needs as often as it is over."""

from math import erfc, sqrt

import numpy as np

from perfsim.core.numbers import Bools, Floats

SURE = 1.645  # standard deviations that leave 5 % beyond
HARDLY = 2.326  # and 1 %

_upper_tail = np.vectorize(lambda z: 0.5 * erfc(z / sqrt(2.0)), otypes=[float])


def fit_probability(total_bytes: Floats, capacity_bytes: Floats, spread: float) -> Floats:
    """The chance that a run of `total_bytes` predicted fits into `capacity_bytes` [-].

    spread: standard deviation of log(needed / predicted), normal.

    >>> [round(float(fit_probability(total, 80.0, 0.05)), 2) for total in (70.0, 80.0, 84.0)]
    [1.0, 0.5, 0.16]
    """
    found: Floats = _upper_tail(np.log(total_bytes / np.asarray(capacity_bytes)) / spread)
    return found


def surely_fits(total_bytes: Floats, capacity_bytes: Floats, spread: float) -> Bools:
    """At least 95 of 100 such runs fit."""
    return np.asarray(total_bytes * np.exp(SURE * spread) <= capacity_bytes)


def hardly_fits(total_bytes: Floats, capacity_bytes: Floats, spread: float) -> Bools:
    """At most 1 of 100 such runs fits."""
    return np.asarray(total_bytes > capacity_bytes * np.exp(HARDLY * spread))
