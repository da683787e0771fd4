"""The text of a measured-run table: CSV with a header, checked cell by cell before anything else sees it."""

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from pathlib import Path

from perfsim.errors import InputError
from perfsim.inputs.explain import nearest, shown
from perfsim.inputs.files import problem, read_text
from perfsim.units import MIB

MAX_BYTES, MAX_ROWS, MAX_CELL, MAX_PROBLEMS = int(64 * MIB), 1_000_000, 4000, 50
MOST = {"n_gpus": 10**6, "gpus_per_node": 10**4, "seq_len": 10**8, "lora_rank": 10**6}  # others: a million
REQUIRED = ("gpu", "n_gpus", "model", "seq_len", "micro_batch", "precision")
MEASURED = ("step_time_s", "tokens_per_s_per_gpu", "peak_memory_gb", "outcome")
ENUMS = {
    name: tuple(values.split())
    for name, values in {
        "fabric": "single pcie pcie-nop2p nvlink-bridge nvlink-mesh nvswitch unknown",
        "internode": "none ib-edr ib-hdr ib-ndr efa-400 efa-3200 roce nvl72 unknown",
        "task": "pretrain finetune lora qlora freeze",
        "sharding": "none zero1 zero2 zero3 hsdp",
        "sequence_parallel": "y n unknown",
        "recompute": "none selective full unknown",
        "offload": "none optimizer params unknown",
        "precision": "fp32 tf32 amp-fp16 fp16-o2 bf16 bf16-mixed fp8 nvfp4 mxfp4",
        "base_quant": "none int8 nf4 int4",
        "attention": "naive flash sdpa cudnn unknown",
        "fusion": "eager fused compiled unknown",
        "optimizer": "adam adamw lamb sgd adafactor adam8bit adam4bit paged-adamw badam muon none unknown",
        "memory_kind": "allocated reserved nvidia-smi unknown",
        "outcome": "ok oom",
        "quality": "a b c x",
    }.items()
}


@dataclass(frozen=True)
class Row:
    """One row; the defaults stand for columns that a table does not have, 0 and "" for cells that are empty."""

    line: int
    columns: frozenset[str]
    gpu: str
    n_gpus: int
    model: str
    seq_len: int
    micro_batch: int
    precision: str
    run_id: str = ""
    source: str = ""
    gpus_per_node: int = 0
    fabric: str = "unknown"
    internode: str = "unknown"
    task: str = "pretrain"
    grad_accum: int = 0
    global_batch: int = 0
    dp: int = 0
    tp: int = 1
    pp: int = 1
    vpp: int = 1
    cp: int = 1
    ep: int = 1
    sharding: str = "none"
    sequence_parallel: str = "unknown"
    recompute: str = "none"
    offload: str = "none"
    base_quant: str = "none"
    lora_rank: int = 0
    attention: str = "unknown"
    fusion: str = "unknown"
    optimizer: str = "adamw"
    extras: str = ""
    stack: str = ""
    software: str = ""
    step_time_s: float = 0.0
    tokens_per_s_per_gpu: float = 0.0
    peak_memory_gb: float = 0.0
    memory_kind: str = ""
    outcome: str = "ok"
    quality: str = "a"
    notes: str = ""
    role: str = "dev"

    @cached_property
    def extra(self) -> dict[str, str]:
        """The items of `extras`."""
        items = (item.partition("=") for item in self.extras.split(";") if item.strip())
        return {key.strip(): value.strip() for key, _, value in items}

    def extra_number(self, name: str) -> float:
        """A number of `extras`; 0 where it is absent or no number (the table's check has refused that)."""
        try:
            return float(self.extra.get(name, "0"))
        except ValueError:
            return 0.0


_KINDS = {f.name: f.type for f in fields(Row) if f.name not in ("line", "columns")}
_DEFAULTS = {f.name: f.default for f in fields(Row) if f.default is not MISSING}
_EXTRA_NUMBERS = {"mlm_positions": 10**8, "mem_len": 10**8, "decoder_seq": 10**8, "dropout": 1}


def read_table(path: Path) -> list[Row]:
    """The rows of a measured-run table.

    Raises: InputError that lists every problem, the first MAX_PROBLEMS of them in full.
    """
    problems: list[str] = []
    rows: list[Row] = []
    lines: dict[str, int] = {}
    header: list[str] = []
    for line, cells in _records(path):
        if not header:
            header = [cell.strip() for cell in cells]
            problems += _header_problems(path, line, header)
            if problems:
                break
            columns = frozenset(header)
            continue
        row, found = _row(path, line, header, columns, cells)
        problems += found
        if row is None:
            continue
        if row.run_id and lines.setdefault(row.run_id, line) != line:
            what = f"run_id: {shown(row.run_id)} stands on line {lines[row.run_id]} too"
            problems.append(problem(path, line, what, "give each row its own"))
        rows.append(row)
    if problems:
        more = len(problems) - MAX_PROBLEMS
        raise InputError("\n".join([*problems[:MAX_PROBLEMS], *([f"{path}: and {more} more problems"] if more > 0 else [])]))
    return rows


def read_plain(path: Path) -> list[dict[str, str]]:
    """The rows of another table (models, cards) as texts, with their line under "line".

    Raises: InputError.
    """
    header: list[str] = []
    found = []
    for line, cells in _records(path):
        if not header:
            header = [cell.strip() for cell in cells]
        elif len(cells) != len(header):
            raise InputError(_width_problem(path, line, cells, header))
        else:
            found.append({**dict(zip(header, (cell.strip() for cell in cells), strict=True)), "line": str(line)})
    return found


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line on which it starts, cells) of each record that is not blank."""
    reader = csv.reader(io.StringIO(read_text(path, MAX_BYTES)), strict=True)
    line, count = 1, 0
    try:
        for cells in reader:
            if any(cells):
                count += 1
                if count > MAX_ROWS + 1:
                    raise InputError(problem(path, line, f"has more than {MAX_ROWS:,} rows", "split the table"))
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(problem(path, line, f"not valid CSV: {error}", "close the quotes of this row")) from None
    if count == 0:
        raise InputError(problem(path, 1, "is empty", "write a header and rows"))


def _header_problems(path: Path, line: int, header: list[str]) -> list[str]:
    found = []
    for name in header:
        if name not in _KINDS:
            close = nearest(name.lower(), list(_KINDS))
            todo = f"did you mean {close[0]}?" if close else "remove it, or write what it says under notes"
            found.append(problem(path, line, f"{shown(name)} is no column of a run table", todo))
        elif header.count(name) > 1:
            found.append(problem(path, line, f"{name} stands twice", "remove one of the columns"))
    found += [problem(path, line, f"{name}: the column is missing", "add it") for name in REQUIRED if name not in header]
    if not set(header) & set(MEASURED):
        found.append(problem(path, line, "nothing is measured", f"add one of {', '.join(MEASURED)}"))
    return list(dict.fromkeys(found))


def _width_problem(path: Path, line: int, cells: list[str], header: list[str]) -> str:
    what = f"{len(cells)} cells in a table of {len(header)} columns"
    return problem(path, line, what, "write one cell for each column, in quotes where it holds a comma")


def _row(
    path: Path, line: int, header: list[str], columns: frozenset[str], cells: list[str]
) -> tuple[Row | None, list[str]]:
    """The row, and what is wrong with it."""
    if len(cells) != len(header):
        return None, [_width_problem(path, line, cells, header)]
    found: list[str] = []
    values: dict[str, str | int | float] = {}
    for name, cell in zip(header, cells, strict=True):
        value, complaint = _value(name, cell.strip())
        values[name] = value
        if complaint:
            found.append(problem(path, line, f"{name}: {complaint[0]}", complaint[1]))
    if found:
        return None, found
    row = Row(line=line, columns=columns, **values)  # type: ignore[arg-type]
    return row, [problem(path, line, what, todo) for what, todo in _inconsistencies(row)]


def _value(name: str, cell: str) -> tuple[str | int | float, tuple[str, str] | None]:
    """A cell's value and what is wrong with it."""
    if len(cell) > MAX_CELL:
        return "", (f"longer than {MAX_CELL:,} characters", "shorten it")
    if name in ENUMS:
        if cell and cell not in ENUMS[name]:
            close = nearest(cell.lower(), ENUMS[name])
            listed = ", ".join(ENUMS[name])
            return cell, (f"{shown(cell)} is none of {listed}", f"did you mean {close[0]}?" if close else "write one")
        if not cell and name == "precision":
            return cell, ("is empty", f"write one of {', '.join(ENUMS[name])}")
        return cell, None
    if _KINDS[name] is int:
        most = MOST.get(name, 10**6)
        is_whole = re.fullmatch(r"\d{1,9}", cell) is not None and 1 <= int(cell) <= most
        if not cell and name != "n_gpus":
            return 0, None
        return (int(cell), None) if is_whole else (0, (f"{shown(cell)} is no whole number of 1 to {most:,}", "correct it"))
    if _KINDS[name] is float:
        is_number = re.fullmatch(r"\d*\.?\d+([eE][-+]?\d{1,2})?|\d+\.", cell) is not None
        value = float(cell) if is_number else 0.0
        if cell and not (is_number and math.isfinite(value) and 0 < value < 1e15):
            return 0.0, (f"{shown(cell)} is no positive number", "write a plain decimal, or nothing")
        return value, None
    if not cell and name in ("gpu", "model"):
        return cell, ("is empty", "name it")
    return cell, None


def _inconsistencies(row: Row) -> Iterator[tuple[str, str]]:
    """What is wrong between cells that are each right, and what to do."""
    is_measured = row.step_time_s or row.tokens_per_s_per_gpu or row.peak_memory_gb
    if not is_measured and row.outcome != "oom":
        yield "nothing is measured", "write a time, a rate or a memory, or oom under outcome"
    if is_measured and row.outcome == "oom":
        yield "outcome: out of memory, but something is measured", "empty the one or the other"
    if row.tp and row.pp and row.cp and row.dp and row.tp * row.pp * row.cp * row.dp != row.n_gpus:
        yield f"dp x tp x pp x cp is {row.tp * row.pp * row.cp * row.dp}, not n_gpus {row.n_gpus}", "correct one of them"
    for item in row.extras.split(";"):
        key, sign, value = (part.strip() for part in item.partition("="))
        if item.strip() and not (key and sign):
            yield f"extras: {shown(item)} is not key=value", "write items like mem_len=192, with ; between them"
        most = _EXTRA_NUMBERS.get(key)
        if most and not (re.fullmatch(r"\d{1,9}(\.\d+)?", value) and float(value) <= most):
            yield f"extras: {key}: {shown(value)} is no number up to {most:,}", "correct it"
