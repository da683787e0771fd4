"""Every test runs with floating-point errors raised, and Hypothesis always draws the same examples."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

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


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """golden(name, text) holds a text to the file of tests/golden; RENEW_GOLDEN=1 writes the file instead."""

    def held(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if os.environ.get("RENEW_GOLDEN"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return held
