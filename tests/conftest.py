"""Every test runs with floating-point errors raised, and Hypothesis always draws the same examples."""

import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("perfsim", derandomize=True, deadline=None, database=None)
settings.load_profile("perfsim")
os.environ.pop("COLUMNS", None)  # the tests' runner knows a terminal's width, what they run must not


@pytest.fixture(autouse=True)
def floating_point_errors_raise() -> Iterator[None]:
    with np.errstate(all="raise"):
        yield
