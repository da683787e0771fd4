"""Plans to write launch files of, and what the five tools have, as tool_options.csv lists it."""

import csv
import json
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import perfsim as ps
from perfsim.core.hardware import System
from perfsim.core.plan import ContextExchange, Offload, Placement, Plan, Recompute, Schedule
from perfsim.launch.job import Job, LaunchFile
from perfsim.launch.tools import TOOLS, refusals

LIST = Path(__file__).with_name("tool_options.csv")
CHANGES: dict[str, list[dict[str, Any]]] = {  # a choice: plans that differ from a base in it
    "tensor_parallel": [{"tensor_parallel": 2}, {"tensor_parallel": 2, "sequence_parallel": True}],
    "sequence_parallel": [{"tensor_parallel": 2, "sequence_parallel": True}],
    "pipeline_parallel": [{"pipeline_parallel": 4}],
    "context_parallel": [{"context_parallel": 2}],
    "expert_parallel": [{"expert_parallel": 4}],
    "micro_batch_size": [{"micro_batch_size": 2}],
    "virtual_stages": [{"pipeline_parallel": 4, "virtual_stages": 2}],
    "schedule": [{"pipeline_parallel": 4, "schedule": schedule} for schedule in Schedule],
    "zero_stage": [{"zero_stage": stage} for stage in (1, 2, 3)],
    "hybrid_shard": [{"zero_stage": 3, "hybrid_shard": 4}],
    "recompute": [{"recompute": kind} for kind in Recompute],
    "recompute_layers": [{"recompute": Recompute.FULL, "recompute_layers": 8}],
    "offload": [{"offload": kind, "zero_stage": stage} for kind in Offload for stage in (1, 3)],
    "placement": [{"pipeline_parallel": 4, "placement": Placement.PIPELINE_INNER}],
    "context_exchange": [{"context_parallel": 2, "context_exchange": kind} for kind in ContextExchange],
}
WORDS: dict[str, list[Any]] = {  # a choice of the workload: its values
    "precision": ["fp32", "tf32", "amp-fp16", "amp-bf16", "fp16-o2", "bf16-mixed", "bf16", "fp8", "nvfp4", "mxfp4"],
    "optimizer": ["sgd", "sgd-plain", "adam", "adamw", "lamb", "adafactor", "lion", "muon", "adamw8bit", "paged-adamw"],
    "optimizer_in_backward": [False, True],
    "fused_linear_loss": [False, True],
    "loss_chunks": [1, 4],
    "seq_len": [1024, 2048],
    "global_batch_size": [64, 128],
    "steps": [1000, 2000],
    "dropout": [0.0, 0.1],
    "task": ["pretrain", "lora", "qlora", "freeze"],
}
BASE = {"task": "pretrain", "seq_len": 1024, "global_batch_size": 64, "steps": 1000, "precision": "amp-bf16"}
OF_MEGATRON = {**BASE, "precision": "bf16-mixed"}


@lru_cache
def cluster() -> System:
    return replace(ps.system("dgx-h100"), max_gpus=1024)


def job_of(
    changes: Mapping[str, Any] | None = None, model: str = "llama3-8b", software: str = "torchtitan", gpus: int = 16,
    **options: Any,
) -> Job:  # fmt: skip
    """A job whose data-parallel ranks are what the degrees of `changes` leave of the GPUs."""
    plan = Plan(**(changes or {}))
    plan = replace(plan, data_parallel=gpus // int(plan.gpus))
    return Job(ps.workload(model, **{**BASE, **options}), cluster(), plan, ps.software(software))


def jobs(tool: str) -> list[Job]:
    """One job after another that the tool can say, which between them change every choice."""
    found = []
    for model, software in (("llama3-8b", SOFTWARE[tool]), (experts_of(tool), SOFTWARE[tool])):
        base = OF_MEGATRON if tool == "megatron" else BASE
        for precision in dict.fromkeys((base["precision"], *WORDS["precision"])):
            found.append(job_of(model=model, software=software, **{**base, "precision": precision}))
        for key, values in WORDS.items():
            found += [job_of(model=model, software=software, **{**base, key: value}) for value in values]
        for changes in (one for some in CHANGES.values() for one in some):
            for more in ({}, {"zero_stage": 1}, {"zero_stage": 3}):
                found.append(job_of({**more, **changes}, model, software, **base))
    found += [job_of({"zero_stage": 2}, software=SOFTWARE[tool], gpus=n, **BASE) for n in (1, 8)]
    return [job for job in found if not refusals(tool, job)]


SOFTWARE = {
    "torchrun": "pytorch-2-eager",
    "accelerate": "pytorch-2-compiled",
    "deepspeed": "deepspeed-zero3-2021",
    "megatron": "megatron-core",
    "torchtitan": "torchtitan",
}


def experts_of(tool: str) -> str:
    """A model with experts that the tool can split in every way that it has."""
    return "llama4-scout" if tool == "torchtitan" else "qwen3-30b-a3b"


def written(tool: str, job: Job) -> LaunchFile:
    return TOOLS[tool].write(job)


@lru_cache
def known(tool: str) -> dict[str, tuple[str, str]]:
    """Options of a tool: kind and choices."""
    with LIST.open(encoding="utf-8") as file:
        return {row["option"]: (row["kind"], row["choices"]) for row in csv.DictReader(file) if row["tool"] == tool}


def shell_arguments(text: str) -> tuple[list[str], list[str]]:
    """torchrun's arguments and the script's, of a shell script; variables stand as 1."""
    command = text[text.index("\ntorchrun") :].replace("\\\n", " ")
    words = [word if not word.startswith("$") else "1" for word in shlex.split(command)]
    at = next(i for i, word in enumerate(words) if word.endswith(".py"))
    return words[1:at], words[at + 1 :]


def pairs(arguments: list[str]) -> dict[str, str]:
    """Options with their values, "" for a switch."""
    found: dict[str, str] = {}
    for word, after in zip(arguments, [*arguments[1:], "--"], strict=True):
        if word.startswith("--"):
            found[word] = "" if after.startswith("--") else after
    return found


def yaml_record(text: str) -> dict[str, Any]:
    """The YAML that accelerate's writer makes: scalars, and tables one level deep."""
    found: dict[str, Any] = {}
    inner = found
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        key, _, value = line.strip().partition(":")
        if not value:
            inner = found[key] = {}
        else:
            target = inner if line.startswith(" ") else found
            target[key] = json.loads(value.partition("  #")[0])
    return found


def toml_record(text: str) -> dict[str, Any]:
    """The keys of a TOML with their tables' names before them."""

    def flat(table: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in table.items():
            found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        return found

    return flat(tomllib.loads(text), "")
