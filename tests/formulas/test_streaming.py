import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim.formulas.streaming import (
    eager_norm,
    eager_softmax,
    l2_hit,
    row_seconds,
    stream_seconds,
)
from perfsim.inputs.catalogue import catalogue

PARAMETERS = catalogue().calibration().streaming
A100 = {"multiprocessors": 108.0, "clock_hz": 1.41e9, "l2_bytes": 40.0 * 2**20, "parameters": PARAMETERS}
BANDWIDTH = 0.88 * 2.039e12
sizes = st.floats(1e3, 1e11)


@pytest.fixture(autouse=True)
def strict_arithmetic():
    with np.errstate(all="raise", under="ignore"):
        yield


@given(sizes, st.floats(1.0, 4.0))
def test_more_bytes_take_longer(size, factor):
    few, many = stream_seconds(np.array([size, size * factor]), BANDWIDTH, **A100)
    assert few <= many * (1.0 + 1e-12)


@given(sizes, st.floats(1.0, 4.0))
def test_more_bandwidth_never_hurts(size, factor):
    slow, fast = stream_seconds(size, np.array([BANDWIDTH, BANDWIDTH * factor]), **A100)
    assert fast <= slow


@given(sizes)
def test_never_faster_than_the_multiprocessors_ask(size):
    assert stream_seconds(size, BANDWIDTH, **A100) >= size / (17.0 * 108.0 * 1.41e9)


def test_large_tensors_stream_at_the_given_bandwidth():
    assert stream_seconds(1e10, BANDWIDTH, **A100) == pytest.approx(1e10 / BANDWIDTH)


def test_a_hit_is_a_share():
    hits = l2_hit(np.array([0.0, 1.0, 4e7, 1e9, 1e300]), 4e7, 1.0, 10.0)
    assert hits[0] == hits[1] == 1.0 and hits[2] == 0.5 and np.all(np.diff(hits) <= 0.0) and np.all(hits >= 0.0)


def _rows(rows, columns, walk, **changes):
    size = 8.0 * np.asarray(rows) * columns
    return row_seconds(rows, 4.0 * np.asarray(columns), size, walk, BANDWIDTH, **{**A100, **changes})


def test_wide_rows_are_read_again_from_memory():
    rows, columns = 1e5, 65536.0
    once = 8.0 * rows * columns / BANDWIDTH
    assert _rows(rows, columns, eager_norm(columns)) == pytest.approx(1.5 * once, rel=1e-3)
    assert _rows(rows, columns, eager_softmax(columns)) == pytest.approx(2.0 * once, rel=1e-2)


def test_rows_that_fit_registers_are_read_once():
    assert _rows(1e6, 1024.0, eager_softmax(1024.0)) == pytest.approx(8.0 * 1e6 * 1024.0 / BANDWIDTH)


def test_narrow_rows_cost_their_start():
    start = 1e6 * PARAMETERS.row_clocks / (108.0 * 1.41e9)
    assert _rows(1e6, 64.0, eager_norm(64.0)) == pytest.approx(start)


def test_a_larger_l2_never_hurts():
    norms = [_rows(1e5, 4096.0, eager_norm(4096.0), l2_bytes=size) for size in (4e6, 4e7, 4e8)]
    assert norms[0] > norms[1] > norms[2]


@given(st.floats(1e3, 1e6), st.floats(32.0, 65536.0), st.sampled_from([eager_norm, eager_softmax]))
def test_a_row_walk_is_never_faster_than_one_pass(rows, columns, walk):
    one_pass = stream_seconds(8.0 * rows * columns, BANDWIDTH, **A100)
    assert _rows(rows, columns, walk(columns)) >= one_pass


@given(st.lists(st.tuples(st.floats(1e2, 1e6), st.floats(16.0, 65536.0)), min_size=1, max_size=20))
def test_alone_equals_in_an_array(shapes):
    rows, columns = (np.array(values) for values in zip(*shapes, strict=True))
    for walk in (eager_norm, eager_softmax):
        together = _rows(rows, columns, walk(columns))
        alone = [float(_rows(r, c, walk(c))) for r, c in shapes]
        assert together.tolist() == alone


def test_an_open_grid_equals_the_flat_list():
    rows, columns = np.array([1e3, 1e5]), np.array([256.0, 2048.0, 16384.0])
    grid = _rows(rows[:, None], columns[None, :], eager_norm(columns[None, :]))
    flat = _rows(np.repeat(rows, 3), np.tile(columns, 2), eager_norm(np.tile(columns, 2)))
    assert grid.ravel().tolist() == flat.tolist()


@pytest.mark.parametrize(
    ("walk", "rows", "columns", "seconds"),
    [
        (eager_norm, 655360.0, 1024.0, 4037.2e-6),
        (eager_norm, 65536.0, 16384.0, 9406.1e-6),  # read twice from memory
        (eager_softmax, 655360.0, 1024.0, 3932.0e-6),  # one pass in registers
    ],
)
def test_measured_rows(walk, rows, columns, seconds):
    """sitar-lab/NeuSight, A100 PCIe 40 GB, fp32: within 5 %."""
    size = 8.0 * rows * columns
    predicted = row_seconds(rows, 4.0 * columns, size, walk(columns), 0.881 * 1.555e12, **A100)
    assert predicted == pytest.approx(seconds, rel=0.05)


def test_measured_wide_softmax():
    """sitar-lab/NeuSight, V100 PCIe 32 GB, fp32: three reads, all from memory; within 10 %."""
    v100 = {"multiprocessors": 80.0, "clock_hz": 1.38e9, "l2_bytes": 6.0 * 2**20, "parameters": PARAMETERS}
    size = 8.0 * 65536.0 * 16384.0
    predicted = row_seconds(65536.0, 65536.0, size, eager_softmax(16384.0), 0.915 * 0.9e12, **v100)
    assert predicted == pytest.approx(22044e-6, rel=0.1)


def test_measured_elementwise():
    """sitar-lab/NeuSight, A100 PCIe 40 GB, fp32 sum of two tensors: within 5 %, 15 us of it launch."""
    predicted = stream_seconds(16384.0 * 4096.0 * 12.0, 0.881 * 1.555e12, **A100)
    assert predicted + 15e-6 == pytest.approx(606.8e-6, rel=0.05)
