"""Logs of lines: what Megatron-LM, NeMo and torchtitan print while they train."""

import datetime
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from perfsim.calibration.readings import Reading, Span, spans_between, steady, timed
from perfsim.errors import InputError
from perfsim.inputs.files import problem
from perfsim.units import GIB, MIB, MILLI

MAX_LINE = 20_000  # characters; a longer line is no line of a step
_COLOUR = re.compile(r"\x1b\[[0-9;]{0,16}m")
_NUMBER = r"(\d{1,15}(?:\.\d{1,15})?)"
_WHOLE = r"([\d,]{1,18})"

_MEGATRON = re.compile(r"\biteration\s{1,20}(\d{1,12})/\s{0,20}\d{1,12}\s?\|")
_MEGATRON_TIME = re.compile(rf"elapsed time per iteration \(ms\):\s{{0,9}}{_NUMBER}")
_MEGATRON_BATCH = re.compile(r"global batch size:\s{0,9}(\d{1,12})\b")
_MEGATRON_POWER = re.compile(rf"power per GPU \(W/GPU\):\s{{0,9}}{_NUMBER}")
_MEGATRON_MEMORY = re.compile(rf"memory \(MB\).{{0,80}}?\bmax allocated:\s{{0,9}}{_NUMBER}")
_MEGATRON_ARGUMENT = re.compile(r"^(?:.{0,40}\s)?([a-z_]{1,60}) \.{3,60} (\d{1,12})$")
_ARGUMENTS = {
    "world_size": "gpus",
    "seq_length": "seq_len",
    "micro_batch_size": "micro_batch_size",
    "tensor_model_parallel_size": "tensor_parallel",
    "pipeline_model_parallel_size": "pipeline_parallel",
    "context_parallel_size": "context_parallel",
    "expert_model_parallel_size": "expert_parallel",
}

_NEMO_TIME = re.compile(rf"train_step_timing in s[:=]\s{{0,9}}{_NUMBER}")
_NEMO_STEP = re.compile(r"global_step[:=]\s{0,9}(\d{1,12})")
_NEMO_BATCH = re.compile(r"global_batch_size[:=]\s{0,9}(\d{1,12})")

_TITAN = re.compile(rf"\bstep:\s{{0,9}}(\d{{1,12}})\s.{{0,200}}?\b(?:tps|wps):\s{{0,9}}{_WHOLE}")
_TITAN_MEMORY = re.compile(rf"\bmemory:\s{{0,9}}{_NUMBER}GiB")
_TITAN_STAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3,6})\b")
_TITAN_RANK = re.compile(r"^\[rank(\d{1,7})\]")
_TITAN_BATCH = re.compile(r"global batch size (\d{1,12}),.{0,80}?sequence length (\d{1,12})\b")
_TITAN_MESH = re.compile(r"device mesh with parallelism: (.{1,200})$")
_TITAN_CARD = re.compile(r"CUDA capacity: (.{1,80}?) with ")
_MESH = {"pp": "pipeline_parallel", "cp": "context_parallel", "tp": "tensor_parallel", "ep": "expert_parallel"}


@dataclass(frozen=True)
class LineFormat:
    """A format: what a line of a step surely holds, and what reads the whole."""

    mark: re.Pattern[str]
    reading: Callable[[Path, str], Reading]


def line_formats(text: str) -> list[str]:
    """The names of the formats of which the text has lines."""
    plain = _COLOUR.sub("", text)
    return [name for name, one in LINE_FORMATS.items() if one.mark.search(plain)]


def megatron_reading(path: Path, text: str) -> Reading:
    """What Megatron-LM prints every --log-interval iterations, and its memory after the first ones.

    A line's time is the mean over the interval. Only lines with the last batch size count, for it may ramp up.
    Source: NVIDIA/Megatron-LM:megatron/training/training.py (training_log), megatron/training/utils.py
    (report_memory: "MB" of 2^20 bytes), megatron/training/arguments.py (the list of arguments).
    Raises: InputError for lines of iterations without a time.
    """
    rows: list[tuple[int, float, int]] = []
    watts: list[float] = []
    memory, stated = 0.0, {}
    for number, line in _lines(text):
        if found := _MEGATRON.search(line):
            seconds, batch = _MEGATRON_TIME.search(line), _MEGATRON_BATCH.search(line)
            if not seconds:
                raise _torn(path, number, "an iteration without its elapsed time")
            rows.append((int(found[1]), float(seconds[1]) * MILLI, int(batch[1]) if batch else 0))
            watts += [float(power[1]) for power in [_MEGATRON_POWER.search(line)] if power]
        elif found := _MEGATRON_MEMORY.search(line):
            memory = max(memory, float(found[1]) * MIB)
        elif (found := _MEGATRON_ARGUMENT.search(line)) and found[1] in _ARGUMENTS:
            stated[_ARGUMENTS[found[1]]] = int(found[2])
    if not rows:
        raise _torn(path, None, "has no whole line of an iteration")
    batch_size = rows[-1][2]
    base = Reading(
        format="Megatron-LM",
        source=path.name,
        global_batch_size=float(batch_size),
        peak_memory_bytes=memory,
        memory_kind="allocated" if memory else "",
        watts_per_gpu=float(np.median(watts)) if watts else 0.0,
        software_text="Megatron-LM",
        stated=stated,
    )
    same = [(step, seconds) for step, seconds, size in rows if size == batch_size]
    if len(same) < len(rows):
        base = replace(base, remarks=(f"steps of another batch than {batch_size} are left out",))
    return timed(base, _intervals(same))


def nemo_reading(path: Path, text: str) -> Reading:
    """What NeMo's progress printer or progress bar shows; the first is a mean over its log interval.

    Source: NVIDIA/NeMo:nemo/lightning/pytorch/callbacks/progress_printer.py.
    """
    steps: dict[int, float] = {}
    batch = 0
    for _, line in _lines(text):
        found, at = _NEMO_TIME.search(line), _NEMO_STEP.search(line)
        if found:
            steps[int(at[1]) if at else len(steps)] = float(found[1])
            batch = int(size[1]) if (size := _NEMO_BATCH.search(line)) else batch
    base = Reading("NeMo", path.name, global_batch_size=float(batch), software_text="NeMo")
    return timed(base, _intervals(list(steps.items())))


def torchtitan_reading(path: Path, text: str) -> Reading:
    """What torchtitan logs: tokens/s of a GPU since the last line, its peak of reserved memory; the lines' own stamps.

    Where several ranks log, the first counts for the step. Of tokens a second the text gives whole numbers.
    Source: pytorch/torchtitan:torchtitan/components/metrics.py (MetricsProcessor.log), torchtitan/tools/logging.py,
    torchtitan/train.py (batch and sequence), torchtitan/distributed/parallel_dims.py (mesh).
    """
    stamps: list[tuple[int, float]] = []
    rates: list[tuple[int, float]] = []
    base = Reading("torchtitan", path.name, software_text="torchtitan")
    memory, stated, rank = 0.0, {}, None
    for _, line in _lines(text):
        if (found := _TITAN.search(line)) and "validate step" not in line:
            if used := _TITAN_MEMORY.search(line):
                memory = max(memory, float(used[1]) * GIB)
            own = _TITAN_RANK.match(line)
            rank = rank if stamps or rates else (own[1] if own else None)
            if (own[1] if own else None) != rank:
                continue
            step, rate = int(found[1]), float(found[2].replace(",", "") or 0)
            rates += [(step, rate)] if rate else []
            if (second := _second(line)) is not None:
                stamps.append((step, second))
        elif found := _TITAN_BATCH.search(line):
            base = replace(base, global_batch_size=float(found[1]))
            stated["seq_len"] = int(found[2])
        elif found := _TITAN_MESH.search(line):
            stated |= _mesh(found[1])
        elif found := _TITAN_CARD.search(line):
            base = replace(base, gpu_text=found[1])
    if not rates:
        raise _torn(path, None, "has no whole line of a step")
    kept, _ = steady(_intervals(rates))
    base = replace(
        base,
        tokens_per_s_per_gpu=float(np.median([span.seconds for span in kept])),
        peak_memory_bytes=memory,
        memory_kind="reserved" if memory else "",
        stated=stated,
    )
    return timed(base, spans_between(stamps))


LINE_FORMATS = {
    "Megatron-LM": LineFormat(re.compile(r"elapsed time per iteration \(ms\):"), megatron_reading),
    "NeMo": LineFormat(_NEMO_TIME, nemo_reading),
    "torchtitan": LineFormat(_TITAN, torchtitan_reading),
}


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines with their numbers, without colours; progress bars begin lines anew by a carriage return."""
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) <= MAX_LINE or "\r" in line:
            for part in line.split("\r"):
                if len(part) <= MAX_LINE:
                    yield number, _COLOUR.sub("", part).rstrip()


def _intervals(rows: list[tuple[int, float]]) -> list[Span]:
    """Spans of (step, mean) where each line covers the steps since the one before it."""
    found = []
    usual = min((b - a for (a, _), (b, _) in pairwise(rows) if b > a), default=1)
    before = None
    for step, mean in rows:
        count = step - before if before is not None and step > before else max(1, min(usual, step))
        found += [Span(step, count, mean)] if mean > 0 else []
        before = step
    return found


def _mesh(words: str) -> dict[str, Any]:
    """Degrees and GPUs of torchtitan's `pp=1, dp_replicate=1, dp_shard=8, cp=1, tp=1, ep=1`."""
    sizes = {name: int(size) for name, size in re.findall(r"\b([a-z_]{1,20})=(\d{1,7})\b", words)}
    stated = {ours: sizes[theirs] for theirs, ours in _MESH.items() if theirs in sizes}
    ranks = [sizes.get(name, 0) for name in ("pp", "dp_replicate", "dp_shard", "cp", "tp")]
    return stated | ({"gpus": int(np.prod(ranks, dtype=np.int64))} if all(ranks) else {})


def _second(line: str) -> float | None:
    """The instant of a line [s], None where it has none that exists."""
    found = _TITAN_STAMP.search(line)
    try:
        day = datetime.datetime.fromisoformat(found[1]) if found else None
    except ValueError:
        return None
    if not found or not day:
        return None
    return day.replace(tzinfo=datetime.UTC).timestamp() + float(f"0.{found[2]}")


def _torn(path: Path, line: int | None, what: str) -> InputError:
    return InputError(problem(path, line, what, "give the program's whole output; was the line cut off?"))
