"""Schemas of files whose keys are the fields of a core record, with bounds that follow from a number's name."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, get_type_hints

from pydantic import Field, create_model

from perfsim.inputs.files import Line, Sourced

_BOUNDS = {  # by the end of a name: least, most
    "_seconds": (0, 1000),
    "_seconds_per_row": (0, 1),
    "_share": (0, 1),
    "_hit": (0, 1),
    "_efficiency": (0.01, 10),
    "_traffic": (0.1, 10),
    "reserve": (0.1, 10),
    "_bytes": (0, 1e12),
    "_bytes_per_s": (1, 1e15),
}
_OTHER = (0, 1e6)


def schema_of(record: type, changed: Mapping[str, Any], without: tuple[str, ...] = ("key",)) -> type[Sourced]:
    """A schema with the fields of a dataclass; `changed` gives another type to some of them."""
    hints = get_type_hints(record)
    keys: dict[str, Any] = {
        f.name: (changed.get(f.name, _bounded(f.name, hints[f.name])), ...)
        for f in fields(record)
        if f.name not in without
    }
    schema: type[Sourced] = create_model(f"{record.__name__}Spec", __base__=Sourced, __doc__=record.__doc__, **keys)
    return schema


def values_of(spec: Sourced) -> dict[str, Any]:
    """The values of such a schema, without what only the file has."""
    return spec.model_dump(exclude={"sources", "basis", "notes"})


def _bounded(name: str, kind: Any) -> Any:
    if kind is str:
        return Line
    if kind not in (int, float):
        return kind
    least, most = next((bounds for end, bounds in _BOUNDS.items() if name.endswith(end)), _OTHER)
    return Annotated[kind, Field(ge=least, le=most)]
