"""Which entry of specs/software stands for the software that a measured run names."""

import re
from dataclasses import dataclass, replace

from perfsim.core.software import Software
from perfsim.inputs.catalogue import Catalogue
from perfsim.inputs.run_table import Row


@dataclass(frozen=True)
class Rule:
    """Rows whose software text matches `pattern` (and whose fusion is one of `fusion`) ran on the entry `key`.

    note: why the entry only comes near; empty where it describes the software.
    """

    pattern: str
    key: str
    note: str = ""
    fusion: tuple[str, ...] = ()


NEAR = "the nearest entry"
RULES = (  # the first that matches decides
    Rule(r"Megatron-LM \+ DeepSpeed|Megatron-DeepSpeed \(", "megatron-2021", "DeepSpeed's pipeline, Megatron's layers"),
    Rule(r"DeepSpeed ZeRO-3", "deepspeed-zero3-2021"),
    Rule(r"Megatron-LM (PTD-P )?2021|Megatron-LM PTD-P", "megatron-2021"),
    Rule(r"Megatron-LM 2022|Megatron-LM pretrain_\w+, torch 1", "megatron-2022"),
    Rule(r"Megatron-LM .*\bTE\b|Megatron-Core 20|Megatron-Core (r|CI)|Megatron-LM", "megatron-core"),
    Rule(r"MLPerf Training v[345]", "nemo", "the log names a container, not the code that ran"),
    Rule(r"MLPerf Training v[012]", "pytorch-1.11-apex", "the log names a container, not the code that ran"),
    Rule(r"NeMo", "nemo"),
    Rule(r"MaxText|Paxml|\bJAX\b", "jax"),
    Rule(r"DeepSpeed transformer kernel \(stochastic\)", "deepspeed-2020", "stochastic kernels save a little more"),
    Rule(r"DeepSpeed transformer kernel", "deepspeed-2020"),
    Rule(r"HF Trainer|Hugging Face", "huggingface-trainer"),
    Rule(r"^PyTorch 2020", "pytorch-1.4-apex"),
    Rule(r"PyTorch NGC 20\.06", "pytorch-1.4-apex"),
    Rule(r"PyTorch NGC 2[01]\.", "pytorch-1.7-apex"),
    Rule(r"PyTorch NGC 22\.", "pytorch-1.11"),
    Rule(r"^TensorFlow NGC 19", "tensorflow-1-2019"),
    Rule(r"^TensorFlow NGC 2", "tensorflow-1"),
    Rule(r"TensorFlow2|TensorFlow 2", "tensorflow-2"),
    Rule(r"Paddle", "paddle-2022"),
    Rule(r"llm-foundry", "llm-foundry"),
    Rule(r"torchtitan", "torchtitan"),
    Rule(r"torchtune", "torchtune-compiled", fusion=("compiled",)),
    Rule(r"torchtune", "torchtune"),
    Rule(r"llm\.c", "llm-c"),
    Rule(r"lit-?gpt", "pytorch-2-compiled", f"litgpt has no entry; {NEAR}", ("compiled",)),
    Rule(r"lit-?gpt", "pytorch-2-eager", f"litgpt has no entry; {NEAR}"),
    Rule(r"^PyTorch 2\.0", "pytorch-2.0-compiled", fusion=("compiled",)),
    Rule(r"nanoGPT|nanochat|nanogpt", "pytorch-2-compiled", fusion=("compiled",)),
    Rule(r"nanoGPT|nanochat|nanogpt", "pytorch-2-eager"),
    Rule(r"DeepLearningExamples.*container$", "pytorch-1.4-apex", f"the version is not stated; {NEAR}", ("fused",)),
    Rule(r"DeepLearningExamples.*container$", "pytorch-1.4", f"the version is not stated; {NEAR}"),
)
TORCH_PERIODS = ((1, 7, "pytorch-1.4"), (1, 11, "pytorch-1.7"), (2, 0, "pytorch-1.11"))  # versions below: entry
HAS_SEQUENCE_PARALLEL = ("megatron-2022", "megatron-core", "nemo")


def software_of(row: Row, catalogue: Catalogue) -> tuple[Software | None, str]:
    """The entry that stands for a row's software and a note; None and why, where no entry does.

    A text that is itself a key of specs/software means that entry.
    """
    key, note = _key(row, catalogue)
    if not key:
        return None, note
    entry = catalogue.software(key)
    if key.startswith("pytorch-1.4") and "NGC 20.06" in row.software and row.precision in ("fp32", "tf32"):
        entry = catalogue.software("pytorch-1.4")
    is_flash = row.attention in ("flash", "cudnn", "sdpa")
    if row.attention == "naive" and entry.attention != "naive":
        entry, note = replace(entry, attention="naive"), _and(note, "the row says attention was written out")
    elif is_flash and entry.attention == "naive":
        kernel = "sdpa" if row.attention == "sdpa" else "flash-2"
        entry, note = replace(entry, attention=kernel), _and(note, f"the row says {row.attention} attention")  # type: ignore[arg-type]
    return entry, f"{key}: {note}" if note else ""


def _key(row: Row, catalogue: Catalogue) -> tuple[str, str]:
    text = row.software
    if text in catalogue.names("software"):
        return text, ""
    for rule in RULES:
        if re.search(rule.pattern, text) and (not rule.fusion or row.fusion in rule.fusion):
            return rule.key, rule.note
    if version := re.search(r"torch[ -]?v?(\d+)\.(\d+)", text, re.IGNORECASE):
        return _torch_key(row, (int(version[1]), int(version[2]))), ""
    if text:
        return "", "no entry of specs/software describes this software"
    if row.tp > 1 or row.pp > 1:
        return "megatron-core", "software is not stated; tensor and pipeline parallelism are Megatron's"
    if row.sharding in ("zero3", "hsdp"):
        return "torchtitan", "software is not stated; current FSDP is assumed"
    if row.fusion == "compiled":
        return "pytorch-2-compiled", "software is not stated; current PyTorch is assumed"
    return "pytorch-2-eager", "software is not stated; current PyTorch is assumed"


def _torch_key(row: Row, version: tuple[int, int]) -> str:
    """PyTorch by version; fused rows ran apex, eager rows of DeepLearningExamples its own tensor-by-tensor optimizers."""
    period = next((key for major, minor, key in TORCH_PERIODS if version < (major, minor)), "")
    has_apex = row.fusion == "fused"
    if period:
        return f"{period}-apex" if has_apex else period
    if row.fusion == "compiled":
        return "pytorch-2.0-compiled" if version == (2, 0) else "pytorch-2-compiled"
    if has_apex:
        return "pytorch-2-apex"
    return "pytorch-2-bertadam" if "DeepLearningExamples" in row.software else "pytorch-2-eager"


def _and(first: str, second: str) -> str:
    return f"{first}; {second}" if first else second
