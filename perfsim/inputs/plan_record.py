"""Plans that `perfsim estimate --json` wrote, read back and checked."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from perfsim.core.results import MEMORY_PARTS, StepTime
from perfsim.errors import InputError
from perfsim.inputs.files import read_json

FIGURES = (
    "gpus", "step_seconds", "samples_per_s", "job_hours", "memory_bytes", "memory_capacity_bytes",
    "power_limit_watts", "board_limit_watts", *(f.name for f in fields(StepTime)), *MEMORY_PARTS,
)  # fmt: skip
DEGREES = (
    "tensor_parallel", "pipeline_parallel", "data_parallel", "context_parallel", "expert_parallel", "micro_batch_size",
    "virtual_stages", "zero_stage", "hybrid_shard", "recompute_layers",
)  # fmt: skip
WORDS = ("model", "task", "gpu_name", "schedule", "recompute", "placement", "context_exchange", "offload")


def read_plan_record(path: Path) -> dict[str, Any]:
    """The record of one plan.

    Raises: InputError that lists every key that is missing or no such value.
    """
    document = read_json(path)
    data, found = document.data, []
    for keys, kinds, what in ((FIGURES, (int, float), "number"), (DEGREES, (int,), "number"), (WORDS, (str,), "text")):
        for key in keys:
            value = data.get(key)
            if not isinstance(value, kinds) or isinstance(value, bool):
                todo = "write the file with perfsim estimate --json"
                found.append(document.problem((key,), f"is no {what}" if key in data else "is missing", todo))
            elif not isinstance(value, str) and (value < 0 or (key in FIGURES[:8] and not value)):
                found.append(document.problem((key,), "is out of range", "write a number above 0"))
    if data.get("recompute") not in ("none", "selective", "full") and not found:
        found.append(document.problem(("recompute",), "is no such word", "write none, selective or full"))
    usd = data.get("job_usd")
    if usd is not None and (isinstance(usd, bool) or not isinstance(usd, int | float) or usd <= 0):
        found.append(document.problem(("job_usd",), "is no amount", "write a number above 0 or null"))
    if found:
        raise InputError("\n".join(found))
    return data
