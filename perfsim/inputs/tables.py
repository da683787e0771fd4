"""Read a CSV table that people made: limits are checked first, every complaint names its line, all come at once."""

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from perfsim.errors import InputError
from perfsim.inputs.explain import nearest
from perfsim.inputs.files import problem, read_text
from perfsim.units import MIB

MAX_BYTES = int(64 * MIB)
MAX_ROWS = 1_000_000
MAX_CELL = 4096
MAX_COMPLAINTS = 50

Cells = dict[str, str]


class Complaints:
    """What is wrong with one file, in the order it was found."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, line: int, what: str, todo: str) -> None:
        """Note a problem; the same one twice counts once."""
        self._lines[problem(self.path, line, what, todo)] = None

    def stop(self) -> None:
        """Raise InputError with the first of them and how many more there are; return when there are none."""
        if self._lines:
            lines = list(self._lines)
            more = len(lines) - MAX_COMPLAINTS
            shown = lines[:MAX_COMPLAINTS] + ([f"{self.path}: and {more:,} more"] if more > 0 else [])
            raise InputError("\n".join(shown))


def read_table(path: Path, known: Collection[str] | None, required: Collection[str]) -> list[tuple[int, Cells]]:
    """The rows of a CSV file with a header, each with its line and its cells by column, without outer blanks.

    Raises: InputError for a file beyond the limits, broken quoting, rows of another length, columns that stand twice,
    that are not `known` (None: any may be there) or that are `required` and missing.
    """
    complaints = Complaints(path)
    records = _records(path, read_text(path, MAX_BYTES), complaints)
    line, header = next(records, (1, []))
    header = [name.strip() for name in header]
    if not any(header):
        complaints.add(1, "is empty", "write a header of column names and a row for each run")
    else:
        _check_header(line, header, known, required, complaints)
    complaints.stop()
    rows: list[tuple[int, Cells]] = []
    for line, cells in records:
        if len(rows) >= MAX_ROWS:
            complaints.add(line, f"more than {MAX_ROWS:,} rows", "split the table")
            break
        if len(cells) != len(header):
            complaints.add(line, f"{len(cells)} fields under {len(header)} columns", "quote texts that hold a comma")
        elif any(len(cell) > MAX_CELL for cell in cells):
            complaints.add(line, f"a cell of more than {MAX_CELL:,} characters", "shorten it")
        else:
            rows.append((line, dict(zip(header, map(str.strip, cells), strict=True))))
    complaints.stop()
    return rows


def tables_in(paths: Sequence[Path], names: Sequence[str]) -> list[Path]:
    """The paths, each folder replaced by those of its files that have one of these names: what `perfsim measure` wrote.

    Raises: InputError for a folder without any.
    """
    found: list[Path] = []
    for path in paths:
        inside = [path / name for name in names if (path / name).is_file()] if path.is_dir() else [path]
        if not inside:
            raise InputError(problem(path, None, f"holds no {' or '.join(names)}", "name a table"))
        found += inside
    return found


def _records(path: Path, text: str, complaints: Complaints) -> Iterator[tuple[int, list[str]]]:
    """The non-empty records with the line each begins on; broken quoting ends them with a complaint."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begin = 1
    while True:
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            is_open = "unexpected end" in str(error) or "field larger" in str(error)
            what = "a quote is opened and never closed" if is_open else f"not valid CSV: {error}"
            complaints.add(begin, what, "put texts that hold a comma or a quote in double quotes")
            return
        if record:
            yield begin, record
        begin = reader.line_num + 1


def _check_header(
    line: int, header: list[str], known: Collection[str] | None, required: Collection[str], complaints: Complaints
) -> None:
    missing = [name for name in required if name not in header]
    misspelt = set()
    for name in header:
        if header.count(name) > 1:
            complaints.add(line, f"{name or 'a column without a name'}: stands twice", "remove one of the two")
        elif known is not None and name not in known:
            close = nearest(name, [k for k in known if k not in header])
            misspelt |= set(close)
            todo = f"did you mean {close[0]}?" if close else "remove it; `notes` is the column for remarks"
            complaints.add(line, f"{name[:60] or 'a column without a name'}: no such column", todo)
    for name in missing:
        if name not in misspelt:
            complaints.add(line, f"{name}: the column is missing", "add it")
