"""Logs of training runs that people have anyway: which format a file has, and what it tells of its run.

Hugging Face trainer_state.json and all_results.json, Megatron-LM, NeMo, torchtitan, Lightning's metrics.csv, traces of
PyTorch's profiler, and the CSV of `nvidia-smi --query-gpu`.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from perfsim.calibration.readings import Reading, combined
from perfsim.errors import InputError, PerfsimError
from perfsim.inputs.files import problem, read_text
from perfsim.inputs.logs_json import is_json, read_json_log
from perfsim.inputs.logs_lines import LINE_FORMATS, line_formats
from perfsim.inputs.logs_tables import lightning_reading, smi_reading, table_kind
from perfsim.units import MIB

KNOWN = (
    "trainer_state.json or all_results.json of Hugging Face, output of Megatron-LM, NeMo or torchtitan, Lightning's"
    " metrics.csv, a trace of PyTorch's profiler, CSV of nvidia-smi --query-gpu"
)
MAX_TRACE_BYTES, MAX_LOG_BYTES = int(256 * MIB), int(64 * MIB)
_NCCL_TESTS = re.compile(r"^#(?:\s{0,4}nThread \d{1,9} nGpus|.{0,200}?\bbusbw\b)", re.MULTILINE)


def read_log(path: Path) -> Reading:
    """What the log at `path` tells; its format is known by its content.

    Raises: InputError with the file, the line, what is wrong and what to do.
    """
    if _is_packed(path):
        raise InputError(problem(path, None, "is compressed", "unpack it with gunzip"))
    text = read_text(path, MAX_TRACE_BYTES)
    if not text.strip():
        raise InputError(problem(path, None, "is empty", f"give a log; known are {KNOWN}"))
    if is_json(text):
        return read_json_log(path, text)
    if len(text) > MAX_LOG_BYTES:
        raise InputError(
            problem(path, None, f"is larger than {MAX_LOG_BYTES // MIB:.0f} MiB", "give a part of its lines")
        )
    kind = table_kind(path, text)
    if kind:
        return {"lightning": lightning_reading, "nvidia-smi": smi_reading}[kind](path, text)
    formats = line_formats(text)
    if len(formats) > 1:
        names = " and of ".join(formats)
        raise InputError(problem(path, None, f"holds lines of {names}", "give each run a log of its own"))
    if formats:
        return LINE_FORMATS[formats[0]].reading(path, text)
    if _NCCL_TESTS.search(text):
        todo = f"fit it with `perfsim calibrate collectives {path}`"
        raise InputError(problem(path, None, "is a log of nccl-tests, not of a training run", todo))
    raise InputError(problem(path, None, "has no known format", f"known are {KNOWN}"))


def read_logs(paths: Sequence[Path]) -> Reading:
    """What the logs of one run tell together.

    Raises: InputError with the problems of every log, or with what two of them contradict each other in.
    """
    readings: list[Reading] = []
    complaints: list[str] = []
    for path in paths:
        try:
            readings.append(read_log(path))
        except PerfsimError as error:
            complaints.append(str(error))
    if complaints or not readings:
        raise InputError("\n".join(complaints) or "no logs; name one or more logs of a run")
    try:
        return combined(readings) if len(readings) > 1 else readings[0]
    except ValueError as error:
        raise InputError(problem(paths[0], None, str(error), "give the logs of one run")) from None


def _is_packed(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) == b"\x1f\x8b"
    except (OSError, ValueError):
        return False  # read_text says it better
