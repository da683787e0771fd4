import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perfsim.core.arrays import Lookup, concatenate, ravel, rows, shape_of, stack, take
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


def lookup(entries: list[Plan], index: list[list[int]]) -> Lookup[Plan]:
    return Lookup.of(np.array(index), entries)


def test_lookups_stack_under_new_row_numbers() -> None:
    """Tables of different sizes become one; every row still finds its own entries, and the last column goes on."""
    small = lookup([Plan(tensor_parallel=5)], [[0], [0]])
    large = lookup([Plan(tensor_parallel=t) for t in (7, 8, 9)], [[0, 0], [1, 1], [1, 2]])
    both = stack([small, large], (2, 1))
    i = np.array([0, 1])
    assert both.at(i, 1).tensor_parallel.tolist() == [[5, 5], [7, 8]]
    assert take(both, (1, 0)).at(2, 9).tensor_parallel == large.at(2, 9).tensor_parallel == 9
    again = stack([take(both, (1, 0)), small])
    assert again.at(np.array([2, 1]), 1).tensor_parallel.tolist() == [9, 5]
