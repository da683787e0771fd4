"""The slowest of n ranks: the table against the integral, and what any number of ranks must obey."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim.formulas.stragglers import EXPECTED_LARGEST, straggling


def test_the_table_is_the_integral_of_the_order_statistic() -> None:
    """E[largest of n] = integral of x n phi(x) Phi(x)^(n-1)."""
    from scipy.stats import norm

    x = np.linspace(-12.0, 12.0, 200_001)
    with np.errstate(under="ignore"):
        for power, expected in enumerate(EXPECTED_LARGEST):
            n = 2.0**power
            density = n * norm.pdf(x) * np.exp((n - 1.0) * norm.logcdf(x))
            assert float(np.trapezoid(x * density, x)) == pytest.approx(expected, abs=2e-4)


@given(st.integers(1, 2**20), st.integers(1, 2**20))
def test_more_ranks_never_wait_less(few: int, more: int) -> None:
    few, more = sorted((few, more))
    assert 0.0 <= straggling(few, 0.01) <= straggling(more, 0.01) <= 0.05


def test_one_rank_waits_for_none() -> None:
    assert straggling(np.array([1, 2]), 0.01).tolist() == [0.0, pytest.approx(0.005642)]
