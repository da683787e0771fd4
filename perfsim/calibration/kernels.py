"""Measured kernels of real cards, as arrays: what the parameters of the kernel formulas are fitted to."""

from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np

T = TypeVar("T", bound="Measured")


@dataclass(frozen=True)
class Measured:
    """Rows of one kind of kernel, every field an array of shape (rows,); seconds [s] of one launch.

    gpu: the card's key in specs/gpus. source: what measured it; rows of one source share its way of timing.
    """

    gpu: np.ndarray
    source: np.ndarray
    number_format: np.ndarray
    seconds: np.ndarray

    def __len__(self) -> int:
        return len(self.seconds)

    def where(self: T, chosen: np.ndarray) -> T:
        """The rows that a mask or an index chooses."""
        return type(self)(*(getattr(self, f.name)[chosen] for f in fields(self)))

    @property
    def shapes(self) -> list[tuple[object, ...]]:
        """What was launched, row by row; the same shape on two cards is the same tuple."""
        names = [f.name for f in fields(self) if f.name not in ("gpu", "source", "seconds")]
        return list(zip(*(getattr(self, name).tolist() for name in names), strict=True))


@dataclass(frozen=True)
class Products(Measured):
    """batch products of (rows x contraction) by (contraction x columns) [elements]."""

    batch: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    contraction: np.ndarray


@dataclass(frozen=True)
class Streams(Measured):
    """Memory-bound operators over rows x columns values, `bytes` read and written in all [B].

    operation: as the benchmark names it; kind: "elementwise", "norm" or "softmax".
    """

    operation: np.ndarray
    kind: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    bytes: np.ndarray


@dataclass(frozen=True)
class Attentions(Measured):
    """Fused attention: heads of queries over shared key-value heads; is_backward: the backward pass alone."""

    batch: np.ndarray
    heads: np.ndarray
    kv_heads: np.ndarray
    head_dim: np.ndarray
    query_len: np.ndarray
    key_len: np.ndarray
    is_causal: np.ndarray
    is_backward: np.ndarray


def fold_of(measured: Measured, folds: int) -> np.ndarray:
    """Which of `folds` parts each row belongs to, shape (rows,): by its shape, so that a shape is never in two."""
    import zlib

    return np.array([zlib.crc32(repr(shape).encode()) % folds for shape in measured.shapes])
