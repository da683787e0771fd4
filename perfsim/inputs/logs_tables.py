"""Logs in CSV: Lightning's metrics.csv, and what nvidia-smi writes of the GPUs while a run goes on."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Literal

import numpy as np

from perfsim.calibration.readings import Reading, Span, spans_between, timed
from perfsim.inputs.explain import shown
from perfsim.inputs.tables import MAX_ROWS, Complaints
from perfsim.units import MEGA, MIB

Kind = Literal["lightning", "nvidia-smi"]

BUSY_PERCENT = 50.0  # a GPU works where at least this share of the time a kernel ran
BUSY_POWER = 0.5  # without that column: where it draws this share of what it draws at most
_SMI = re.compile(r"(power\.draw[a-z.]*|memory\.used|utilization\.gpu|clocks\.[a-z.]+)(\s*\[[^\]]*\])?")
_SMI_CELL = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*(W|MiB|%|MHz)?")
_ABSENT = re.compile(r"\[?(N/A|Not Supported|Unknown Error|Not Found|Insufficient Permissions)\]?", re.IGNORECASE)
_SECONDS = ("train/time", "time")  # since training began, without validation
_STEP_SECONDS = ("train_step_timing in s", "step_time", "train/step_time", "step_seconds")
_MEMORY = {"allocated_bytes.all.peak": "allocated", "reserved_bytes.all.peak": "reserved"}


@dataclass(frozen=True)
class _Log:
    header: list[str]
    rows: list[tuple[int, list[str]]]

    def column(self, *names: str) -> int | None:
        """The place of the first of these columns that there is."""
        return next((self.header.index(name) for name in names if name in self.header), None)


def table_kind(path: Path, text: str) -> Kind | None:
    """Which CSV the text is by its header, None where it is none.

    Raises: InputError for nvidia-smi's rows without their header.
    """
    first = text.lstrip().partition("\n")[0][:10_000]
    names = [name.strip() for name in first.split(",")]
    if any(_SMI.fullmatch(name) for name in names):
        return "nvidia-smi"
    units = [cell[2] for cell in map(_SMI_CELL.fullmatch, names) if cell and cell[2]]
    if len(names) > 1 and units:
        complaints = Complaints(path)
        complaints.add(1, "rows of nvidia-smi without the names of their columns", "leave noheader out, or add them")
        complaints.stop()
    return "lightning" if "step" in names and len(names) > 1 else None


def lightning_reading(path: Path, text: str) -> Reading:
    """What Lightning's CSVLogger keeps of the callbacks ThroughputMonitor and DeviceStatsMonitor.

    The seconds of a step are those of `train/time` between rows; `step` counts optimizer steps. Its rates are not read:
    batches are micro-batches, and items are counted twice in some versions.
    Source: Lightning-AI/pytorch-lightning:src/lightning/fabric/loggers/csv_logs.py,
    src/lightning/pytorch/callbacks/throughput_monitor.py, src/lightning/pytorch/callbacks/device_stats_monitor.py.
    Raises: InputError for broken rows and for a table without a column of seconds.
    """
    complaints = Complaints(path)
    log = _read(text, complaints)
    at_step, at_time, at_step_time = log.column("step"), log.column(*_SECONDS), log.column(*_STEP_SECONDS)
    memory, kind = _peak_memory(log, complaints)
    if at_step is None or (at_time is None and at_step_time is None and not memory):
        wanted = "train/time (callback ThroughputMonitor) or step_time"
        complaints.add(1, "has no column of seconds", f"log {wanted} beside step")
    complaints.stop()
    base = Reading(
        "Lightning", path.name, peak_memory_bytes=memory, memory_kind=kind, software_text="PyTorch Lightning"
    )
    points = _points(log, at_step, at_step_time if at_time is None else at_time, complaints)
    complaints.stop()
    if at_time is not None:
        return timed(base, spans_between(points))
    return timed(base, [Span(step, 1, seconds) for step, seconds in points])


def smi_reading(path: Path, text: str) -> Reading:
    """What `nvidia-smi --query-gpu=... --format=csv -l 1` writes: power and clock of busy GPUs, the most memory used.

    GPUs are told apart by index, uuid or pci.bus_id; those that are never busy take no part.
    Source: the output of nvidia-smi, of which the units stand in header and cells (`power.draw [W]`, `412.30 W`).
    Raises: InputError for cells that are no numbers.
    """
    complaints = Complaints(path)
    log = _read(text, complaints)
    names = [name.partition(" [")[0].strip() for name in log.header]
    columns = {name: i for i, name in reversed(list(enumerate(names)))}
    power = _smi_column(log, columns, ("power.draw", "power.draw.average", "power.draw.instant"), complaints)
    used = _smi_column(log, columns, ("memory.used",), complaints)
    work = _smi_column(log, columns, ("utilization.gpu",), complaints)
    clock = _smi_column(
        log, columns, ("clocks.sm", "clocks.current.sm", "clocks.gr", "clocks.current.graphics"), complaints
    )
    if not log.rows:
        complaints.add(1, "holds no rows", "let nvidia-smi run beside the training, with -l 1")
    complaints.stop()
    at = next((columns[name] for name in ("index", "uuid", "pci.bus_id") if name in columns), None)
    card = np.array([row[at] if at is not None else "" for _, row in log.rows])
    is_busy = _busy(work, power, card)
    of_use = np.isin(card, np.unique(card[is_busy])) if np.any(is_busy) else np.ones(len(card), dtype=bool)
    memory = float(np.nanmax(used[of_use], initial=0.0)) * MIB
    named = columns.get("name", columns.get("gpu_name"))
    return Reading(
        format="nvidia-smi",
        source=path.name,
        peak_memory_bytes=memory,
        memory_kind="nvidia-smi" if memory else "",
        watts_per_gpu=_mean(power[is_busy]),
        clock_hz=_mean(clock[is_busy]) * MEGA,
        busy_share=float(np.mean(is_busy[of_use])),
        gpu_text=log.rows[int(np.argmax(of_use))][1][named][:100] if named is not None else "",
    )


def _busy(work: np.ndarray, power: np.ndarray, card: np.ndarray) -> np.ndarray:
    """Which rows are of a GPU at work: by its utilization, else by its power, else all."""
    if np.any(np.isfinite(work)):
        return np.nan_to_num(work) >= BUSY_PERCENT
    if np.any(np.isfinite(power)):
        return np.nan_to_num(power) >= BUSY_POWER * np.nanmax(power)
    return np.ones(len(card), dtype=bool)


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.mean(finite)) if finite.size else 0.0


def _smi_column(log: _Log, columns: dict[str, int], names: Sequence[str], complaints: Complaints) -> np.ndarray:
    """The numbers of the first of these columns that there is; nan where a GPU does not tell."""
    at = next((columns[name] for name in names if name in columns), None)
    found = np.full(len(log.rows), np.nan)
    if at is None:
        return found
    for i, (line, row) in enumerate(log.rows):
        cell = row[at]
        if number := _SMI_CELL.fullmatch(cell):
            found[i] = float(number[1])
        elif cell and not _ABSENT.fullmatch(cell):
            complaints.add(line, f"{log.header[at]}: expected a number, got {shown(cell)}", "correct or remove the row")
    return found


def _peak_memory(log: _Log, complaints: Complaints) -> tuple[float, str]:
    """(bytes, kind) of DeviceStatsMonitor's columns: allocated where it is told, else reserved."""
    for ending, kind in _MEMORY.items():
        places = [i for i, name in enumerate(log.header) if re.split(r"[/-]", name)[-1] == ending]
        values = [_number(line, log.header[i], row[i], complaints) for line, row in log.rows for i in places if row[i]]
        if most := max(values, default=0.0):
            return most, kind
    return 0.0, ""


def _points(log: _Log, at_step: int | None, at: int | None, complaints: Complaints) -> list[tuple[int, float]]:
    """(step, value) of the rows that have both."""
    points: list[tuple[int, float]] = []
    if at_step is None or at is None:
        return points
    for line, row in log.rows:
        if row[at_step] and row[at]:
            step = _number(line, "step", row[at_step], complaints)
            points.append((int(step), _number(line, log.header[at], row[at], complaints)))
    return points


def _number(line: int, name: str, cell: str, complaints: Complaints) -> float:
    """The number in a cell; 0 after a complaint."""
    if re.fullmatch(r"\d{1,20}(\.\d{1,30})?([eE][+-]?\d{1,3})?", cell) and isfinite(number := float(cell)):
        return number
    complaints.add(line, f"{name[:60]}: expected a number, got {shown(cell)}", "correct or remove the row")
    return 0.0


def _read(text: str, complaints: Complaints) -> _Log:
    """Header and rows without outer blanks; repeated headers and a last line that was cut off are left out."""
    whole = text if text.endswith("\n") else text.rpartition("\n")[0] or text
    reader = csv.reader(io.StringIO(whole, newline=""), skipinitialspace=True, strict=True)
    rows: list[tuple[int, list[str]]] = []
    header: list[str] = []
    try:
        for cells in reader:
            if not header:
                header = [cell.strip() for cell in cells]
            elif cells and len(cells) != len(header):
                complaints.add(
                    reader.line_num, f"{len(cells)} fields under {len(header)} columns", "correct or remove it"
                )
            elif len(rows) == MAX_ROWS:
                complaints.add(reader.line_num, f"more than {MAX_ROWS:,} rows", "give a part of them")
                break
            elif cells and (row := [cell.strip() for cell in cells]) != header:
                rows.append((reader.line_num, row))
    except csv.Error as error:
        complaints.add(reader.line_num, f"not valid CSV: {error}", "correct that line")
    return _Log(header, rows)
