"""Many records as one record of arrays, and back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Generic, TypeVar, cast

import numpy as np

from perfsim.core.numbers import Ints

R = TypeVar("R")
FEW_ROWS = 64  # below, looking for equal rows costs more than it saves


@dataclass(frozen=True)
class Lookup(Generic[R]):
    """Records by two small whole numbers: `entries[index[row, i, j]]`.

    `row` is a number like any other of the record that holds the lookup, and broadcasts; `entries` is one record of
    flat arrays (or one number where all entries agree), `index` [rows, i, j] says which of them. Beyond the last j, the
    last counts.
    """

    row: Ints
    index: np.ndarray
    entries: R

    @classmethod
    def of(cls, index: np.ndarray, records: Sequence[R]) -> "Lookup[R]":
        """A lookup of one row from `index` [i, j] and the records that it counts."""
        return cls(0, index[None], _compact(stack(records)))

    def at(self, i: Ints, j: Ints) -> R:
        """The entries at i and j, shaped as row, i and j broadcast."""
        return take(self.entries, self.index[self.row, i, np.minimum(j, self.index.shape[2] - 1)])


def stack(records: Sequence[R], shape: tuple[int, ...] = (-1,)) -> R:
    """One record whose numbers are arrays over `records`, reshaped to `shape`; texts become tuples.

    >>> from perfsim.core.plan import Plan
    >>> stack([Plan(tensor_parallel=1), Plan(tensor_parallel=2)]).tensor_parallel
    array([1, 2])
    """
    return cast(R, _stack(list(records), shape))


def take(record: R, index: Any, shape: tuple[int, ...] | None = None) -> R:
    """The record at `index` of its arrays, each first broadcast to `shape` where one is given; scalars stay."""
    return cast(R, _map(record, lambda a: np.broadcast_to(a, shape)[index] if shape is not None else a[index]))


def rows(record: R, index: Any, shape: tuple[int, ...]) -> R:
    """Like `take`, but scalars too become one number a row."""
    return cast(R, _map(record, lambda a: np.broadcast_to(a, shape)[index], takes_scalars=True))


def concatenate(records: Sequence[R]) -> R:
    """One record of flat arrays, end to end; texts must agree and stay."""
    return cast(R, _join(list(records), lambda arrays: np.concatenate([np.atleast_1d(a) for a in arrays])))


def ravel(record: R, shape: tuple[int, ...]) -> R:
    """The record's arrays broadcast to `shape` and flattened: an open grid as a flat list; scalars stay."""
    return cast(R, _map(record, lambda a: np.ascontiguousarray(np.broadcast_to(a, shape)).ravel()))


def shape_of(*records: Any) -> tuple[int, ...]:
    """The shape that all numbers of `records` broadcast to."""
    shapes: list[tuple[int, ...]] = []

    def note(array: Any) -> Any:
        shapes.append(array.shape)
        return array

    for record in records:
        _map(record, note)
    return np.broadcast_shapes(*shapes)


def once_each(columns: Sequence[Any], compute: Callable[..., R], *records: Any) -> R:
    """`compute(*records)`, done once for each distinct row of `columns` where those are long flat lists.

    columns: whole numbers that the records' rows depend on. A long list of plans repeats few combinations of them; the
    results are handed out by index, the same bits as computing every row.
    """
    numbers = [np.asarray(column) for column in columns]
    if max(n.ndim for n in numbers) != 1 or max(n.size for n in numbers) <= FEW_ROWS:
        return compute(*records)
    key = np.zeros(1, dtype=np.int64)
    for column in numbers:
        key = key * (int(column.max()) + 1) + column
    first, index = _distinct(key)
    shape = np.broadcast_shapes(key.shape, shape_of(*records))
    return take(compute(*(take(record, first, shape) for record in records)), index, first.shape)


def _distinct(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(first place of every distinct key, which of them each row has)."""
    largest = int(key.max())
    if largest > 50 * len(key) + 100_000:
        _, first, index = np.unique(key, return_index=True, return_inverse=True)
        return first, index
    place = np.full(largest + 1, -1, dtype=np.int64)
    place[key[::-1]] = np.arange(len(key) - 1, -1, -1)
    first = place[place >= 0]
    place[place >= 0] = np.arange(len(first))
    return first, place[key]


def _stack(values: list[Any], shape: tuple[int, ...]) -> Any:
    return _join(values, lambda numbers: np.array(numbers).reshape(shape))


def _join(values: list[Any], join: Callable[[list[Any]], Any]) -> Any:
    """Records of the same kind as one: numbers joined, texts as a tuple unless they agree."""
    first = values[0]
    if isinstance(first, Lookup):
        return _join_lookups(values, join)
    if is_dataclass(first) and not isinstance(first, type):
        parts = {f.name: _join([getattr(v, f.name) for v in values], join) for f in fields(first)}
        return replace(first, **parts)
    if isinstance(first, Mapping):
        return {key: _join([v[key] for v in values], join) for key in first}
    if isinstance(first, bool | int | float | np.generic | np.ndarray):
        return join(values)
    return first if all(v is first or v == first for v in values) else tuple(values)


def _join_lookups(lookups: list[Any], join: Callable[[list[Any]], Any]) -> Any:
    """One lookup with the rows of all, under new row numbers; no row asks for what only padding holds."""
    i, j = (max(lookup.index.shape[axis] for lookup in lookups) for axis in (1, 2))
    tables, places, entries, row_offset, entry_offset = [], [], [], 0, 0
    for lookup in lookups:
        _, has_i, has_j = lookup.index.shape
        tables.append(np.pad(lookup.index + entry_offset, ((0, 0), (0, i - has_i), (0, j - has_j)), mode="edge"))
        places.append(lookup.row + row_offset)
        count = int(lookup.index.max()) + 1
        entries.append(rows(lookup.entries, slice(count), (count,)))
        row_offset += len(lookup.index)
        entry_offset += count
    return Lookup(join(places), np.concatenate(tables), _compact(concatenate(entries)))


def _compact(record: R) -> R:
    """Arrays that hold one value throughout as that value."""
    return cast(R, _map(record, lambda a: a.flat[0] if np.all(a == a.flat[0]) else a))


def _map(value: Any, change: Callable[[Any], Any], takes_scalars: bool = False) -> Any:
    if isinstance(value, Lookup):
        return replace(value, row=_map(value.row, change, takes_scalars))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _map(getattr(value, f.name), change, takes_scalars) for f in fields(value)})
    if isinstance(value, Mapping):
        return {key: _map(v, change, takes_scalars) for key, v in value.items()}
    if isinstance(value, tuple) and value and all(_is_numeric(v) for v in value):
        return tuple(_map(v, change, takes_scalars) for v in value)
    if isinstance(value, np.ndarray) and value.ndim:
        return change(value)
    is_number = isinstance(value, bool | int | float | np.generic | np.ndarray)
    return change(value) if takes_scalars and is_number else value


def _is_numeric(value: Any) -> bool:
    """Arrays and floats, and records of them; whole numbers in a tuple are labels."""
    return isinstance(value, np.ndarray | np.generic | float) or (is_dataclass(value) and not isinstance(value, type))
