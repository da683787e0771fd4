"""Answers as files: JSON, CSV and Markdown, written whole or not at all."""

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perfsim.errors import InputError
from perfsim.files import replace_file, why
from perfsim.units import printable

Cells = Mapping[str, Sequence[Any]]
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\0")


def json_text(value: Any) -> str:
    r"""The value as indented JSON that keeps the order of its keys.

    Raises: ValueError for NaN and infinities, which JSON cannot say.

    >>> json_text({"job_hours": 1.5})
    '{\n  "job_hours": 1.5\n}\n'
    """
    return json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def csv_text(columns: Cells) -> str:
    r"""The columns as CSV with a header; a text that a spreadsheet would run as a formula gets a leading quote.

    >>> csv_text({"name": ["=1+1"], "gpus": [2]})
    "name,gpus\n'=1+1,2\n"
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_inert(name) for name in columns])
    for row in zip(*columns.values(), strict=True):
        writer.writerow(["" if cell is None else _inert(cell) for cell in row])
    return buffer.getvalue()


def markdown_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, texts with their pipes and tags made harmless.

    >>> print(markdown_text(["GPUs", "hours"], [["1x T4", "2.0"]]), end="")
    | GPUs | hours |
    | :--- | ---: |
    | 1x T4 | 2.0 |
    """
    lines = [header, [":---", *["---:"] * (len(header) - 1)], *rows]
    return "".join("| " + " | ".join(_markdown_cell(cell) for cell in line) + " |\n" for line in lines)


def markdown_inline(text: str) -> str:
    r"""The text on one line of Markdown, its pipes, tags, links and code marks made harmless.

    >>> markdown_inline("a|b <i> [x](y)")
    'a\\|b &lt;i> \\[x](y)'
    """
    text = printable(text)
    for mark in "\\|`[":
        text = text.replace(mark, "\\" + mark)
    return text.replace("<", "&lt;")


def write(target: str, text: str) -> None:
    """Writes the text to the file `target`, whole or not at all, or to standard output where it is `-`.

    Raises: InputError when the file cannot be written.
    """
    if target == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    write_bytes(target, text.encode("utf-8"))


def write_bytes(target: str, data: bytes) -> None:
    """Writes the file `target`, whole or not at all.

    Raises: InputError when the file cannot be written.
    """
    try:
        replace_file(Path(target), data)
    except (OSError, ValueError) as error:
        what = f"cannot be written: {why(error)}; name a file in a folder you may write to, or - for the terminal"
        raise InputError(f"{printable(target)}: {what}") from None


def _inert(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    text = printable(cell)
    return "'" + text if cell.startswith(_FORMULA_STARTS) else text


def _markdown_cell(cell: str) -> str:
    return cell if set(cell) <= set(":-") and cell else markdown_inline(cell)
