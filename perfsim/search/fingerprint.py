"""A short name for all numbers of a record: equal for equal records, in every process and on every machine."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import perfsim

COMPUTING = ("core", "formulas", "graphs", "search", "estimate.py")  # what of perfsim decides a search's numbers


def fingerprint(value: Any) -> str:
    """SHA-256 of a record, its records, texts and numbers.

    >>> from perfsim.core.plan import Plan
    >>> fingerprint(Plan()) == fingerprint(Plan(zero_stage=0)) != fingerprint(Plan(zero_stage=1))
    True
    """
    digest = hashlib.sha256()
    for part in _told(value):
        digest.update(f"{len(part)}:".encode())
        digest.update(part)
    return digest.hexdigest()


@cache
def program() -> str:
    """perfsim's version, and a digest of the modules that compute: another copy of it may find other numbers."""
    package = Path(perfsim.__file__).parent
    files = sorted(file for name in COMPUTING for file in [package / name, *package.glob(f"{name}/**/*.py")])
    texts = {str(file.relative_to(package)): file.read_bytes() for file in files if file.is_file()}
    return f"{perfsim.__version__}+{fingerprint(texts)[:12]}"


def _told(value: Any) -> Iterator[bytes]:
    if is_dataclass(value):
        yield type(value).__name__.encode()
        for f in fields(value):
            yield f.name.encode()
            yield from _told(getattr(value, f.name))
    elif isinstance(value, Mapping):
        yield from _told(sorted(value.items(), key=lambda pair: str(pair[0])))
    elif isinstance(value, frozenset | set):
        yield from _told(sorted(value, key=str))
    elif isinstance(value, tuple | list):
        yield f"{len(value)} of".encode()
        for one in value:
            yield from _told(one)
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype.str}{value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, bytes):
        yield value
    elif isinstance(value, str) or value is None:
        yield f"{value!s}".encode()
    elif isinstance(value, bool | int | np.integer | np.bool_):
        yield f"{int(value)}".encode()
    elif isinstance(value, float | np.floating):
        yield float(value).hex().encode()
    else:
        raise TypeError(f"{type(value).__name__} has no fingerprint")
