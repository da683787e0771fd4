"""A folder that holds what the pieces of one question found, so that a search that was stopped can go on."""

import io
import json
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Self, TypeVar, get_origin

import numpy as np

from perfsim.core.plan import Plan, Problem
from perfsim.core.results import Estimate
from perfsim.errors import InputError
from perfsim.files import replace_file, why
from perfsim.search.branch import Found
from perfsim.search.certificate import COUNTS, OBJECTIVES, Certificate
from perfsim.search.fingerprint import fingerprint, program
from perfsim.search.question import Question
from perfsim.units import printable

R = TypeVar("R")


@dataclass(frozen=True)
class Folder:
    """Files `piece-000012.npz` beside `question.json`, which says whose they are; each is written whole or not at all.

    question: the fingerprint that every piece carries, so that no other question's is taken for one of this.
    """

    path: Path
    question: str

    @classmethod
    def of(cls, path: Path, question: Question, plans_a_piece: int) -> Self:
        """The folder for the pieces of a question, made where there is none.

        Raises: InputError when it cannot be used, or holds something else.
        """
        parts: dict[str, str | int] = {"perfsim": program(), "plans_a_piece": plans_a_piece}
        parts |= {f.name: fingerprint(getattr(question, f.name)) for f in fields(Question)}
        file = path / "question.json"
        try:
            path.mkdir(parents=True, exist_ok=True)
            if file.exists():
                _refuse_another(path, file.read_bytes(), parts)
            elif any(not one.name.startswith(".perfsim-") for one in path.iterdir()):
                raise InputError(f"{printable(str(path))}: holds other files; name a new or an empty folder")
            else:
                replace_file(file, (json.dumps(parts, indent=2) + "\n").encode())
        except FileExistsError:
            raise InputError(f"{printable(str(path))}: is a file; name a new or an empty folder") from None
        except OSError as error:
            raise _unusable(path, error) from None
        return cls(path, fingerprint(parts))

    def read(self, number: int) -> Found | None:
        """What the piece `number` found, or None where that has to be found (again)."""
        try:
            with np.load(io.BytesIO(self._file(number).read_bytes()), allow_pickle=False) as file:
                return self._unpacked(dict(file), number)
        except Exception:  # no file, half a file, another's file: whatever it is, the piece is searched
            return None

    def write(self, number: int, found: Found) -> None:
        """Keeps what the piece `number` found.

        Raises: InputError when the folder cannot be written to.
        """
        buffer = io.BytesIO()
        np.savez(buffer, **self._packed(found, number))
        try:
            replace_file(self._file(number), buffer.getvalue())
        except OSError as error:
            raise _unusable(self.path, error) from None

    def _file(self, number: int) -> Path:
        return self.path / f"piece-{number:06}.npz"

    def _packed(self, found: Found, number: int) -> dict[str, Any]:
        told = found.certificate
        return {
            "piece": np.array(f"{self.question} {number}"),
            "counts": np.array([getattr(told, name) for name in COUNTS], dtype=np.int64),
            "problems": np.array([*told.problems.items()], dtype=np.int64).reshape(-1, 2),
            "least_left": np.array([told.least_left[name] for name in OBJECTIVES], dtype=np.float64),
            "systems": found.systems,
            "positions": found.positions,
        } | _arrays(found.plans, "plans") | _arrays(found.estimates, "estimates")  # fmt: skip

    def _unpacked(self, arrays: dict[str, np.ndarray], number: int) -> Found:
        if str(arrays["piece"]) != f"{self.question} {number}":
            raise ValueError("another piece")
        certificate = Certificate(
            **dict(zip(COUNTS, arrays["counts"].tolist(), strict=True)),
            problems={Problem(p): n for p, n in arrays["problems"].tolist()},
            least_left=dict(zip(OBJECTIVES, arrays["least_left"].tolist(), strict=True)),
        )
        plans, estimates = _record(Plan, arrays, "plans"), _record(Estimate, arrays, "estimates")
        return Found(certificate, arrays["systems"], arrays["positions"], plans, estimates)


def _arrays(record: Any, name: str) -> dict[str, Any]:
    """The record's arrays under the names of where they are; what an estimate knows of single operations is left."""
    if is_dataclass(record):
        parts = (_arrays(getattr(record, f.name), f"{name}.{f.name}") for f in fields(record))
        return {key: value for part in parts for key, value in part.items()}
    return {} if isinstance(record, dict) else {name: record}


def _record(kind: type[R], arrays: dict[str, np.ndarray], name: str) -> R:
    """The record that `_arrays` took apart."""
    values: dict[str, Any] = {}
    for f in fields(kind):  # type: ignore[arg-type]
        place, of = f"{name}.{f.name}", f.type
        if isinstance(of, type) and is_dataclass(of):
            values[f.name] = _record(of, arrays, place)
        else:
            values[f.name] = {} if get_origin(of) is dict else arrays[place]
    return kind(**values)


def _refuse_another(path: Path, text: bytes, parts: dict[str, str | int]) -> None:
    todo = "name a new or an empty folder, or delete this one"
    try:
        told = json.loads(text)
        differing = [name.replace("_", " ") for name, part in parts.items() if told.get(name) != part]
    except (ValueError, AttributeError, RecursionError):
        raise InputError(f"{printable(str(path / 'question.json'))}: is no question of perfsim's; {todo}") from None
    if differing:
        what = f"holds what another question found, with other {', '.join(differing)}"
        raise InputError(f"{printable(str(path))}: {what}; {todo}")


def _unusable(path: Path, error: OSError) -> InputError:
    return InputError(f"{printable(str(path))}: cannot be used: {why(error)}; name a folder that you may write to")
