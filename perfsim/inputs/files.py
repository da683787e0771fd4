"""Read a TOML or JSON file into a checked, frozen record, or say everything that is wrong with it, line by line.

Files are hostile until checked: what a parser would choke on is refused before parsing, no number passes that is
not finite, no key passes that the record does not have, and nothing of a file reaches the terminal unescaped.
"""

import json
import math
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perfsim.errors import InputError
from perfsim.inputs import explain
from perfsim.inputs.positions import Loc, Positions, excess
from perfsim.units import KIB, MIB, printable

MAX_TOML_BYTES, MAX_JSON_BYTES = int(256 * KIB), int(MIB)
MAX_WHOLE_NUMBER = 2**63 - 1
NAME = r"^[a-z0-9][a-z0-9.+_-]{0,63}$"

Texts = Annotated[tuple[str, ...], Field(strict=False)]
Name = Annotated[str, Field(pattern=NAME)]
Line = Annotated[str, Field(min_length=1, max_length=1000)]
Sources = dict[str, Line]


class Spec(BaseModel):
    """Base of every schema: strict (no text taken for a number), frozen, no unknown keys, no nan or inf."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def problems(self) -> Iterator[tuple[Loc, str, str]]:
        """What is wrong between keys that are each right: where, what, and what to do."""
        yield from ()


class Sourced(Spec):
    """A spec in which every number has a source: `[sources]` names the key, its table, or "*" for all.

    `[basis]` says of a key what its number rests on where that is less than the source: assumed, fitted. `[spread]`
    says how well it is known where more is known than the basis: the standard deviation of its log.
    """

    sources: Sources = {}
    basis: Sources = {}
    spread: dict[str, Annotated[float, Field(ge=0, le=3)]] = {}
    notes: Annotated[str, Field(max_length=4000)] = ""


S = TypeVar("S", bound=Spec)


@dataclass(frozen=True)
class Document:
    """A parsed file that still knows its lines."""

    path: Path
    text: str
    data: dict[str, Any]
    is_json: bool = False

    @cached_property
    def positions(self) -> Positions:
        """The lines of all keys."""
        return Positions(self.text, self.is_json)

    @cached_property
    def unusable(self) -> list[tuple[Loc, str, str]]:
        """Numbers that no key may hold, whatever its schema: not finite, or beyond 64 bits."""
        found: list[tuple[Loc, str, str]] = []
        for loc, value in walk(self.data):
            if isinstance(value, float) and not math.isfinite(value):
                found.append((loc, f"{value} is not a finite number", "write a plain number"))
            elif isinstance(value, int) and abs(value) > MAX_WHOLE_NUMBER:
                found.append((loc, "the number is beyond 64 bits", "write a smaller number"))
        return found

    def line(self, loc: Loc) -> int:
        """The line [1..] of the key at `loc`, e.g. ("search", "gpus", 2), or of the nearest table that holds it."""
        return self.positions.line(loc)

    def problem(self, loc: Loc, what: str, todo: str) -> str:
        """One problem of the value at `loc`, as a line of an InputError."""
        name = explain.dotted(loc)
        return problem(self.path, self.line(loc), f"{name}: {what}" if name else what, todo)


def problem(path: Path | str, line: int | None, what: str, todo: str) -> str:
    """The one form of a problem: `file:line: what; what to do`, safe for a terminal."""
    where = f"{path}:{line}" if line else f"{path}"
    return printable(f"{where}: {what}; {todo}" if todo else f"{where}: {what}")


def read_text(path: Path, limit: int = MAX_TOML_BYTES) -> str:
    """The UTF-8 text of a regular file of at most `limit` bytes, without BOM or carriage returns.

    Raises: InputError.
    """
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
        raw = _head(path, limit + 1) if is_file else b""
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(problem(path, None, f"cannot be read ({reason})", "check the path and its rights")) from None
    if not is_file:
        raise InputError(problem(path, None, "is a folder" if is_folder else "no such file", "check the path"))
    if len(raw) > limit:
        raise InputError(problem(path, None, f"is larger than {limit // 1024:,} KiB", "no file of this kind is"))
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(problem(path, line, "is not UTF-8 text", "save it as UTF-8")) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(problem(path, line, "holds a NUL character", "save it as plain text"))
    return text


def read_toml(path: Path) -> Document:
    """Parse a TOML file of numbers, texts, lists and tables.

    Raises: InputError.
    """
    text = _checked_text(path, MAX_TOML_BYTES)
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        line, what = _toml_complaint(str(error))
        raise InputError(problem(path, line, f"not valid TOML: {what}", "correct that line")) from None
    return Document(path, text, data)


def read_json(path: Path) -> Document:
    """Parse a JSON file that holds one table.

    Raises: InputError, also for keys that stand twice and for NaN and Infinity.
    """
    text = _checked_text(path, MAX_JSON_BYTES)
    try:
        data = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        what = f"not valid JSON: {error.msg} (column {error.colno})"
        raise InputError(problem(path, error.lineno, what, "correct that line")) from None
    except _RepeatedKeyError:
        document = Document(path, text, {}, is_json=True)
        repeated = document.positions.repeated or [()]
        lines = [document.problem(loc, "stands twice", "remove one of the two") for loc in repeated]
        raise InputError("\n".join(lines)) from None
    except (ValueError, RecursionError) as error:
        raise InputError(problem(path, 1, f"not valid JSON: {error}", "correct it")) from None
    if not isinstance(data, dict):
        what = f"expected a table {{...}}, got {explain.shown(data)}"
        raise InputError(problem(path, 1, what, "put the keys in one pair of braces"))
    document = Document(path, text, data, is_json=True)
    raise_problems(document, [])
    return document


def load(path: Path, kind: type[S]) -> S:
    """The `kind` in the TOML file at `path`.

    Raises: InputError that lists every problem of the file.
    """
    return check(read_toml(path), kind)


def check(document: Document, kind: type[S]) -> S:
    """The `kind` in a document.

    Raises: InputError that lists every problem of the file.
    """
    found: list[tuple[Loc, str, str]] = []
    spec: S | None = None
    try:
        spec = kind.model_validate(document.data)
    except ValidationError as error:
        found += explain.explain(error, kind)
    if issubclass(kind, Sourced):
        wrong = {loc for loc, _, _ in found}
        found += [item for item in _unsourced(document.data) if not any(item[0][: len(loc)] == loc for loc in wrong)]
    if spec is not None:
        found += spec.problems()
    raise_problems(document, found)
    assert spec is not None  # noqa: S101 (no problems were found, so the validation has passed)
    return spec


def raise_problems(document: Document, found: list[tuple[Loc, str, str]]) -> None:
    """Raise InputError with the problems `found` and the file's unusable numbers, by line; return without any."""
    places = {loc for loc, _, _ in document.unusable}
    found = [*document.unusable, *(item for item in found if item[0] not in places)]
    if found:
        ordered = sorted(found, key=lambda item: document.line(item[0]))
        raise InputError("\n".join(dict.fromkeys(document.problem(*item) for item in ordered)))


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


class _RepeatedKeyError(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise _RepeatedKeyError
    return table


def _checked_text(path: Path, limit: int) -> str:
    text = read_text(path, limit)
    if not text.strip():
        raise InputError(problem(path, 1, "is empty", "write the keys or remove the file"))
    if beyond := excess(text):
        line, what = beyond
        raise InputError(problem(path, line, *what.split("; ")))
    return text


def _toml_complaint(message: str) -> tuple[int, str]:
    """The line and the words of a tomllib error."""
    found = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    if not found:
        return 1, message.removesuffix(" (at end of document)")
    return int(found[1]), f"{message[: found.start()]} (column {found[2]})"


def walk(data: dict[str, Any]) -> Iterator[tuple[Loc, Any]]:
    """Every value of nested tables and lists that is neither, with its place."""
    pending: list[tuple[Loc, Any]] = [((), data)]
    while pending:
        loc, value = pending.pop()
        if isinstance(value, dict):
            pending += [((*loc, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            pending += [((*loc, index), item) for index, item in enumerate(value)]
        else:
            yield loc, value


def _unsourced(data: dict[str, Any]) -> list[tuple[Loc, str, str]]:
    """The numbers that neither a key of [sources] nor a `source` in a table around them covers."""
    sources = data.get("sources", {})
    if not isinstance(sources, dict) or "*" in sources:
        return []
    return [
        (loc, "has no source", f'add a line to [sources], for this key ("{explain.dotted(loc)}") or for all ("*")')
        for loc, value in walk(data)
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and loc[0] not in sources
        and explain.dotted(loc) not in sources
        and not _has_source(data, loc)
    ]


def _has_source(data: Any, loc: Loc) -> bool:
    for part in loc[:-1]:
        data = data[part]
        if isinstance(data, dict) and isinstance(data.get("source"), str):
            return True
    return False
