"""specs/software/*.toml: how a framework of a period runs a step. Keys are the fields of core.Software."""

import datetime
from typing import Annotated, Any

from pydantic import Field

from perfsim.core.software import OffloadKind, ScheduleKind, Software
from perfsim.errors import InputError
from perfsim.inputs.files import Document, Sourced, check
from perfsim.inputs.records import schema_of, values_of

_SCHEDULES = Annotated[tuple[ScheduleKind, ...], Field(strict=False, max_length=16)]
_OFFLOADS = Annotated[tuple[OffloadKind, ...], Field(strict=False, max_length=16)]
SoftwareSpec = schema_of(
    Software,
    {"first_release": datetime.date, "last_release": datetime.date, "schedules": _SCHEDULES, "offloads": _OFFLOADS},
)


def to_software(key: str, document: Document) -> Software:
    """The record in a software file.

    Raises: InputError that lists every problem of the file.
    """
    spec: Sourced = check(document, SoftwareSpec)
    values: dict[str, Any] = values_of(spec)
    first, last = values.pop("first_release"), values.pop("last_release")
    if last < first:
        what, todo = f"{last} lies before first_release", "exchange the two dates"
        raise InputError(document.problem(("last_release",), what, todo))
    return Software(key=key, first_release=first.isoformat(), last_release=last.isoformat(), **values)
