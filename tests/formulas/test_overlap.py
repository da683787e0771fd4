"""Communication beside computation: bounds, and the closed form of the bucket queue against the queue."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim.formulas.overlap import beside_seconds, queue_exposed_seconds

seconds = st.just(0.0) | st.floats(1e-9, 10.0)


def test_overlap_never_beats_either_side_and_never_exceeds_their_sum_much() -> None:
    compute, wire = np.meshgrid(np.linspace(0, 5, 30), np.linspace(0, 5, 30))
    both = beside_seconds(compute, wire, 0.16)
    assert np.all(both >= np.maximum(compute, wire) - 1e-12)
    assert np.all(both <= compute + wire + 1e-12)


@given(seconds, seconds, st.integers(2, 200), st.floats(0.0, 1.0))
def test_the_closed_form_is_the_queue(wire: float, beside: float, buckets: int, last_share: float) -> None:
    last = max(last_share, 1.0 / buckets)
    sizes = [(1.0 - last) * wire / (buckets - 1)] * (buckets - 1) + [last * wire]
    finished = 0.0
    for j, size in enumerate(sizes, start=1):
        finished = max(finished, j * beside / buckets) + size
    exposed = float(queue_exposed_seconds(wire, beside, buckets, last_share, 0.0))
    assert exposed == pytest.approx(finished - beside, abs=1e-9)


@given(seconds, seconds, st.integers(1, 200), st.floats(0.0, 1.0), st.sampled_from([0.0, 0.16, 0.5]))
def test_what_is_exposed_lies_between_the_last_bucket_and_everything(wire, beside, buckets, last_share, share) -> None:
    exposed = float(queue_exposed_seconds(wire, beside, buckets, last_share, share))
    assert max(last_share, 1.0 / buckets) * wire - 1e-9 <= exposed <= wire + 1e-9
