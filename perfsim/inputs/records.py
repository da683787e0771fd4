"""Schemas of files whose keys are the fields of a core record, with bounds that follow from a number's name."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_type_hints

from pydantic import Field, create_model

from perfsim.core.numbers import Floats
from perfsim.inputs.files import Line, Sourced, Spec

_BOUNDS = {  # by the end of a name: least, most
    "_seconds": (0, 1000),
    "_seconds_per_row": (0, 1),
    "_share": (0, 1),
    "_efficiency": (0.01, 10),
    "_traffic": (0.1, 10),
    "reserve": (0.1, 10),
    "_bytes": (0, 1e12),
    "_bytes_per_s": (1, 1e15),
}
_OTHER = (0, 1e6)


def schema_of(record: type, changed: Mapping[str, Any], without: tuple[str, ...] = ("key",)) -> type[Sourced]:
    """A schema with the fields of a dataclass; `changed` gives another type to some of them."""
    keys = _keys(record, changed, without)
    schema: type[Sourced] = create_model(f"{record.__name__}Spec", __base__=Sourced, __doc__=record.__doc__, **keys)
    return schema


def _keys(record: type, changed: Mapping[str, Any], without: tuple[str, ...]) -> dict[str, Any]:
    hints = get_type_hints(record)
    named = {f.name: hints[f.name] for f in fields(record) if f.name not in without}
    return {name: (changed.get(name, _bounded(name, kind)), ...) for name, kind in named.items()}


def values_of(spec: Sourced) -> dict[str, Any]:
    """The values of such a schema, without what only the file has."""
    return spec.model_dump(exclude={"sources", "basis", "spread", "notes"})


def _bounded(name: str, kind: Any) -> Any:
    if isinstance(kind, type) and is_dataclass(kind):
        return create_model(f"{kind.__name__}Spec", __base__=Spec, **_keys(kind, {}, ()))
    if kind == Floats:  # a file gives one number
        kind = float
    if kind is str:
        return Line
    if kind not in (int, float):
        return kind
    least, most = next((bounds for end, bounds in _BOUNDS.items() if name.endswith(end)), _OTHER)
    return Annotated[kind, Field(ge=least, le=most)]
