"""What a schema's complaints mean to the person who wrote the file: what is wrong, what to do, did you mean."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from perfsim.errors import InputError
from perfsim.inputs.positions import Loc

Problem = tuple[Loc, str, str]

MAX_OFFERED = 6  # keys in one message

_BOUNDS = {
    "greater_than": ("gt", "a number greater than"),
    "greater_than_equal": ("ge", "a number of at least"),
    "less_than": ("lt", "a number less than"),
    "less_than_equal": ("le", "a number of at most"),
}
_TYPES = {
    "float_type": ("a number", "write a plain number, in the unit that the key names"),
    "int_type": ("a whole number", "write a plain whole number, in the unit that the key names"),
    "int_from_float": ("a whole number", "write it without decimals"),
    "string_type": ("a text", 'write it in quotes: "..."'),
    "bool_type": ("true or false", "write true or false, without quotes"),
    "date_type": ("a date", "write it as 2025-01-31, without quotes"),
    "list_type": ("a list", "write it in brackets: [...]"),
    "tuple_type": ("a list", "write it in brackets: [...]"),
    "dict_type": ("a table", "write it as a [table] of keys"),
    "model_type": ("a table", "write it as a [table] of keys"),
}


def explain(error: ValidationError, kind: type[BaseModel]) -> list[Problem]:
    """Each complaint of pydantic about a `kind`: its place, what is wrong, what to do.

    A key that is missing while a misspelt one stands in its place is reported once.
    """
    details = error.errors(include_url=False)
    missing = [_place(e) for e in details if e["type"] == "missing"]
    unknown = {_place(e) for e in details if e["type"] == "extra_forbidden"}
    misspelt = {(*loc[:-1], _meant(loc, kind, missing)) for loc in unknown}
    return [
        (_place(e), *_words(e, kind, missing))
        for e in details
        if not (e["type"] == "missing" and _place(e) in misspelt)
    ]


def nearest(name: str, known: Sequence[str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """The `count` names of `known` that look most like `name`."""
    return difflib.get_close_matches(name[:200], known, n=count, cutoff=cutoff)


def input_error(found: Iterable[tuple[Loc, str, str]], names: Mapping[str, str] | None = None) -> InputError:
    """Problems of keys as one error, a line each; names: what a key is called where it was told, such as an option."""
    told = []
    for loc, what, todo in found:
        name = dotted(loc)
        name = (names or {}).get(name, name)
        told.append(f"{name}: {what}; {todo}" if name else f"{what}; {todo}")
    return InputError("\n".join(told))


def dotted(loc: Loc) -> str:
    """A place as people write it.

    >>> dotted(("rule", 2, "match"))
    'rule[2].match'
    """
    return re.sub(r"\.\[", "[", ".".join(f"[{part}]" if isinstance(part, int) else part for part in loc))


def shown(value: Any) -> str:
    """A value in an error message: short, and never nested."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _place(detail: ErrorDetails) -> Loc:
    return tuple(part for part in detail["loc"] if part != "[key]")


def _meant(loc: Loc, kind: type[BaseModel], missing: list[Loc]) -> str | None:
    """The key that an unknown key at `loc` probably is: a missing one of its table first, then any other."""
    siblings = [str(other[-1]) for other in missing if other[:-1] == loc[:-1]]
    name = str(loc[-1])
    close = nearest(name, siblings) or nearest(name, _keys(kind, loc[:-1]), cutoff=0.75)
    return close[0] if close else None


def _keys(kind: type[BaseModel] | None, table: Loc) -> list[str]:
    """The keys that a `kind` has in its `table`."""
    for part in table:
        if kind is None or isinstance(part, int):
            continue
        fields = {field.alias or name: field for name, field in kind.model_fields.items()}
        kind = _model_in(fields[part].annotation) if part in fields else None
    return [field.alias or name for name, field in kind.model_fields.items()] if kind else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The schema inside an annotation such as `tuple[Rule, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _words(detail: ErrorDetails, kind: type[BaseModel], missing: list[Loc]) -> tuple[str, str]:
    """What is wrong and what to do."""
    loc, got, context = _place(detail), detail["input"], detail.get("ctx", {})
    error_type = detail["type"]
    if error_type == "missing":
        return "is missing", "add it"
    if error_type == "extra_forbidden":
        meant = _meant(loc, kind, missing)
        return "no such key", f"did you mean {meant}?" if meant else _offer(str(loc[-1]), _keys(kind, loc[:-1]))
    if error_type in ("literal_error", "enum"):
        return _choice(got, context["expected"])
    if error_type in _BOUNDS:
        key, words = _BOUNDS[error_type]
        return f"{shown(got)} is not allowed", f"write {words} {context[key]:,.12g}"
    if error_type in _TYPES:
        expected, todo = _TYPES[error_type]
        return f"expected {expected}, got {shown(got)}", todo
    if error_type == "string_pattern_mismatch":
        return f"{shown(got)} is not a name", "use small letters, digits and . + _ -, at most 64"
    what = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    what, _, todo = what.partition("; ")
    return f"{what}, got {shown(got)}", todo or "correct it"


def _offer(name: str, keys: list[str]) -> str:
    """What to do about an unknown key: the keys of its table, or the nearest of them where they are many."""
    if not keys:
        return "remove it"
    if len(keys) <= MAX_OFFERED:
        return f"remove it, or write one of {', '.join(keys)}"
    return f"remove it, or write a known key, such as {', '.join(nearest(name, keys, MAX_OFFERED, cutoff=0.0))}"


def _choice(got: Any, expected: str) -> tuple[str, str]:
    """Words for a value that is none of a fixed set."""
    allowed = re.findall(r"'([^']*)'", expected) or [expected]
    close = nearest(str(got).lower(), allowed) if isinstance(got, str) else []
    listed = ", ".join(allowed)
    return f"{shown(got)} is none of {listed}", f"did you mean {close[0]}?" if close else "write one of these"
