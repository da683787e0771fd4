import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim.formulas.pipeline import in_flight, pipeline

some = st.floats(1e-3, 10.0)


@given(some, st.integers(1, 64), st.integers(1, 64), st.integers(1, 8))
def test_equal_stages_without_sends_are_narayanans(work: float, stages: int, microbatches: int, virtual: int) -> None:
    """Narayanan et al. 2021 (arXiv 2104.04473): m·w + (p - 1)·w/v."""
    found = pipeline(work, 0.0, 0.0, 0.0, stages, microbatches, virtual)
    total = found.work_seconds + found.bubble_seconds + found.send_seconds
    assert total == pytest.approx(microbatches * work + (stages - 1) * work / virtual)


@given(some, some, some, st.integers(2, 16), st.integers(1, 32))
def test_never_less_than_the_busiest_stage(
    work: float, head: float, embedding: float, stages: int, microbatches: int
) -> None:
    found = pipeline(work, head + embedding, head, 0.0, stages, microbatches, 1)
    assert found.work_seconds >= microbatches * (work + head) * (1 - 1e-12)


@pytest.mark.parametrize(
    "stages,stage,microbatches,virtual,expected",
    [(4, 0, 8, 1, 4), (4, 3, 8, 1, 1), (4, 0, 2, 1, 2), (4, 0, 8, 2, (2 * 3 + 4 + 1) / 2), (1, 0, 8, 1, 1)],
)
def test_in_flight_follows_megatrons_warm_up(
    stages: int, stage: int, microbatches: int, virtual: int, expected: float
) -> None:
    assert in_flight(stages, stage, microbatches, virtual, False) == expected
    assert in_flight(stages, stage, microbatches, virtual, True) == microbatches
