import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perfsim.core.arrays import concatenate, ravel, rows, shape_of, stack, take
from perfsim.core.plan import Plan

degrees = st.integers(1, 64)
plan = st.builds(Plan, tensor_parallel=degrees, data_parallel=degrees, micro_batch_size=degrees)
plans = st.lists(plan, min_size=1, max_size=9)


@given(plans)
def test_stack_then_take_gives_each_record_back(many: list[Plan]) -> None:
    stacked = stack(many)
    for i, plan in enumerate(many):
        assert take(stacked, i) == plan


@given(plans, plans)
def test_concatenate_puts_arrays_end_to_end(first: list[Plan], second: list[Plan]) -> None:
    joined = concatenate([stack(first), stack(second)])
    assert list(joined.tensor_parallel) == [p.tensor_parallel for p in first + second]


def test_open_grid_ravels_in_row_order() -> None:
    tensor, micro = np.ix_([1, 2], [1, 4, 8])
    grid = Plan(tensor_parallel=tensor, micro_batch_size=micro)
    assert shape_of(grid) == (2, 3)
    flat = ravel(grid, (2, 3))
    assert list(flat.tensor_parallel) == [1, 1, 1, 2, 2, 2]
    assert list(flat.micro_batch_size) == [1, 4, 8, 1, 4, 8]
    assert flat.data_parallel == 1


def test_rows_fills_scalars_too() -> None:
    index = (np.array([0, 1]), np.array([2, 0]))
    picked = rows(Plan(tensor_parallel=np.array([[1], [2]])), index, (2, 3))
    assert list(picked.tensor_parallel) == [1, 2]
    assert list(picked.data_parallel) == [1, 1]
