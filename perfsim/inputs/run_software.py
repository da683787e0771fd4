"""Which entry of specs/software ran a measured run: its own words first, then the table's columns."""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from perfsim.core.software import AttentionKernel, Software
from perfsim.inputs.run_row import RunRow


@dataclass(frozen=True)
class Rule:
    """Software texts that `pattern` finds belong to `framework`.

    entry: the key that is meant where a framework has several of the same period. optimizer: the optimizer kernels of
    eager code. assumed: what the text itself does not say. stack, task, precision, fusion, model: patterns that the
    row's own columns must have besides, where a project's scripts run their tasks in different ways.
    decides_attention: the entry's attention kernel ran, whatever the table says.
    """

    pattern: str
    framework: str
    entry: str = ""
    optimizer: str = ""
    assumed: str = ""
    stack: str = ""
    task: str = ""
    precision: str = ""
    fusion: str = ""
    model: str = ""
    decides_attention: bool = False

    def fits(self, row: RunRow) -> bool:
        """Whether the row ran on what this rule describes."""
        pairs = (
            (self.pattern, row.software or row.stack),
            (self.stack, row.stack),
            (self.task, row.task),
            (self.precision, row.precision),
            (self.fusion, row.fusion),
            (self.model, row.model),
        )
        return all(re.search(pattern, text, re.IGNORECASE) for pattern, text in pairs)


NEMO_ASSUMED = "MLPerf names containers only, NeMo assumed"
RULES = (  # the first that fits decides
    # Transformer-XL/pytorch/train.py: one optimizer loop in every precision
    Rule(r"PyTorch NGC|DeepLearningExamples", "pytorch-transformer-xl", model="transformer-xl"),
    Rule(r"PyTorch", "pytorch", "pytorch-1.4-apex", stack=r"deepspeed-bert", assumed="a PyTorch of early 2020"),
    # NVIDIA/DeepLearningExamples: BERT/run_pretraining.py scripts the model for NVFuser, run_squad.py does not, and
    # updates by BertAdam where it does not run apex;
    # BART/pretrain.py holds the whole model in bf16 and steps apex's FusedLAMB; ELECTRA/scripts/run_squad.sh turns
    # XLA on with mixed precision only
    Rule(r"PyTorch", "pytorch", "pytorch-nvfuser", stack=r"dle-bert-pt-2[1-9]", task="pretrain"),
    Rule(r"PyTorch", "pytorch", "pytorch-1.7", stack=r"dle-bert-pt", task="finetune", precision="32$"),
    Rule(r"PyTorch", "pytorch", "pytorch-1.11-apex", stack=r"dle-bart"),
    # PaddlePaddle/BERT/program.py fuses attention and epilogues of mixed-precision pre-training (figures of 2023-08)
    Rule(
        r"Paddle", "paddle", "paddle-2023", stack=r"dle-bert", task="pretrain", precision="amp", decides_attention=True
    ),
    Rule(r"TensorFlow", "tensorflow", "tensorflow-2-no-xla", stack=r"dle-electra", task="finetune", precision="32$"),
    # BERT fine-tunes in fp32 at the pace of TensorFlow 2 without XLA on V100 and A100, as its README tells to run it;
    # figures of TensorFlow 1 on V100 are those of 19.08, whose run_squad.py leaves XLA off. Pre-training figures under
    # the heading of 19.08 came with those of 20.06 on 2020-07-04, and one row is the same
    Rule(r"TensorFlow", "tensorflow", "tensorflow-2-no-xla", stack=r"dle-bert-tf2", task="finetune", precision="32$"),
    Rule(r"TensorFlow", "tensorflow", "tensorflow-1-2019", stack=r"dle-bert-tf1", task="finetune", precision="^fp32"),
    Rule(r"TensorFlow", "tensorflow", "tensorflow-1", stack=r"dle-bert-tf1-19", task="pretrain"),
    # containers up to 24.12, with which NVIDIA/dgxc-benchmarking ran its recipes until v25.03 (CHANGELOG)
    Rule(r"nemo.*\b(v?2[34]\.\d\d|v25\.0[123])|MLPerf Training v[34].*nemo", "megatron-core", "nemo-1"),
    Rule(r"nemo", "megatron-core", "nemo"),
    Rule(r"MLPerf Training v[1234]", "megatron-core", "nemo-1", assumed=NEMO_ASSUMED),
    Rule(r"MLPerf", "megatron-core", "nemo", assumed=NEMO_ASSUMED),
    Rule(r"HF Trainer|Hugging ?Face|transformers\b|unsloth|LLaMA-Factory", "huggingface"),
    Rule(r"DeepSpeed|ZeRO-3", "deepspeed"),
    # tests/functional_tests/test_cases/gpt: --no-gradient-accumulation-fusion, no fused loss
    Rule(r"Megatron-Core CI", "megatron-core", "megatron-core-plain"),
    # NVIDIA/Megatron-LM examples/llama/README.md: its figures are of NeMo's performance scripts
    Rule(r"Megatron-Core 2025", "megatron-core", "nemo"),
    Rule(r"Megatron-Core|Transformer Engine|\bTE \d|Megatron-LM [0-9a-f]{7,}", "megatron-core", "megatron-core"),
    Rule(r"Megatron|PTD-P", "megatron"),
    Rule(r"Paxml", "jax", "paxml"),
    Rule(r"MaxText|\bJAX\b", "jax", "jax"),
    Rule(r"llm-foundry|Composer", "fsdp", "llm-foundry"),
    Rule(r"torchtitan|FSDP", "fsdp", "torchtitan-eager", fusion="eager"),
    Rule(r"torchtitan|FSDP", "fsdp", "torchtitan"),
    Rule(r"torchtune", "torchtune"),
    Rule(r"llm\.c", "llm.c"),
    Rule(r"TensorFlow ?2", "tensorflow", "tensorflow-2"),
    Rule(r"TensorFlow NGC 19", "tensorflow", "tensorflow-1-2019"),
    Rule(r"TensorFlow", "tensorflow"),
    Rule(r"Paddle", "paddle"),
    Rule(r"DeepLearningExamples", "pytorch", optimizer="loop"),
    Rule(r"torch|nanoGPT|nanochat|litgpt|Lightning|Thunder|languini", "pytorch"),
)

# Release dates of PyTorch (github.com/pytorch/pytorch/releases)
TORCH_RELEASES = {
    "1.3": "2019-10-10", "1.4": "2020-01-15", "1.5": "2020-04-21", "1.6": "2020-07-28", "1.7": "2020-10-27",
    "1.8": "2021-03-04", "1.9": "2021-06-15", "1.10": "2021-10-21", "1.11": "2022-03-10", "1.12": "2022-06-28",
    "1.13": "2022-10-28", "2.0": "2023-03-15", "2.1": "2023-10-04", "2.2": "2024-01-30", "2.3": "2024-04-24",
    "2.4": "2024-07-24", "2.5": "2024-10-17", "2.6": "2025-01-29", "2.7": "2025-04-23", "2.8": "2025-08-06",
    "2.9": "2025-10-15", "2.10": "2026-01-21",
}  # fmt: skip
FOREACH_SINCE = "2023-03-15"  # PyTorch 2.0: torch.optim takes many tensors at a time by default
FLASH_2_SINCE = "2023-07-17"  # arXiv 2307.08691
# of a logit, moved and kept: kernels of NVIDIA/Megatron-LM megatron/core/tensor_parallel/cross_entropy.py
UNFUSED_LOSS_BYTES, UNFUSED_LOGIT_BYTES = 46.0, 6.0
PYTORCH_LIKE = ("pytorch", "huggingface")


def release_date(text: str) -> str:
    """The ISO date that a software text tells: of its PyTorch version, its container, its tag or itself; "" for none.

    >>> release_date("torch 1.13.0a0+d0d6b1f, 2022-10-15"), release_date("PyTorch NGC 21.11"), release_date("PyTorch")
    ('2022-10-28', '2021-11-01', '')
    """
    if (found := re.search(r"(?i)torch (\d\.\d+)", text)) and found[1] in TORCH_RELEASES:
        return TORCH_RELEASES[found[1]]
    if found := re.search(r"\b(20\d\d)-(0[1-9]|1[0-2])(?:-(0[1-9]|1\d|2[0-8]))?", text):
        return f"{found[1]}-{found[2]}-{found[3] or '01'}"
    if found := re.search(r"(?:NGC|Release|tags?|NeMo|Nemo)\D{0,20}?v?(1[7-9]|2\d)\.(0[1-9]|1[0-2])\b", text):
        return f"20{found[1]}-{found[2]}-01"
    found = re.search(r"\b(20\d\d)\b", text)
    return f"{found[1]}-07-01" if found else ""


def software_of(row: RunRow, entries: Sequence[Software]) -> tuple[Software, str]:
    """The entry nearest to what the row says, and why it was chosen; "" when it describes the row's stack.

    A row may name the entry by its key. Else, where the row's own attention kernel differs from the entry's, the row's
    counts.
    """
    text = row.software or row.stack
    named = next((entry for entry in entries if entry.key == row.software), None)
    if named:
        return named, ""
    rule = next((rule for rule in RULES if rule.fits(row)), None)
    framework = rule.framework if rule else "pytorch"
    date = release_date(text)
    fusion, optimizer = _kernels(row, rule, framework, date)
    candidates = [entry for entry in entries if entry.framework == framework] or list(entries)

    def distance(entry: Software) -> tuple[object, ...]:
        return (
            bool(rule and rule.entry) and entry.key != (rule.entry if rule else ""),
            bool(fusion) and entry.fusion != fusion,
            _days_outside(entry, date),
            bool(optimizer) and entry.optimizer != optimizer,
            not _agrees(row.attention, entry.attention),
            entry.key,
        )

    chosen = min(candidates, key=distance)
    reasons = _reasons(rule, text, date, fusion, optimizer, chosen, framework)
    if not (rule and rule.decides_attention) and not _agrees(row.attention, chosen.attention):
        reasons.append(f"attention {row.attention} as in the table, not {chosen.attention}")
        chosen = replace(chosen, attention=_kernel(row.attention, date))
    chosen = _as_run(chosen, row)
    return chosen, f"mapped to {chosen.key}: {'; '.join(reasons)}" if reasons else ""


def _as_run(entry: Software, row: RunRow) -> Software:
    """The entry with what the row's own settings changed of it."""
    options: dict[str, Any] = dict(row.options)
    if overlap := options.get("tp_overlap"):
        entry = replace(entry, tensor_parallel_overlap=overlap)
    if options.get("dp_overlap") == "n":
        entry = replace(entry, gradient_bucket_bytes=0.0, gradient_bucket_rank_bytes=0.0)
    if options.get("ce_fusion") == "n" and entry.framework == "megatron-core":
        entry = replace(entry, loss_bytes_per_logit=UNFUSED_LOSS_BYTES, logit_bytes=UNFUSED_LOGIT_BYTES)
    if kept := options.get("recompute_kept"):
        entry = replace(entry, selective_recompute=kept)
    if options.get("cuda_graphs") == "y":
        entry = replace(entry, host_seconds=0.0)
    return entry


def _kernels(row: RunRow, rule: Rule | None, framework: str, date: str) -> tuple[str, str]:
    """The fusion and optimizer kernels to look for, "" for any. In eager PyTorch "fused" means apex's optimizers."""
    fusion = "" if row.fusion == "unknown" else row.fusion
    if framework == "pytorch-transformer-xl":
        return "eager", "loop"
    if framework not in PYTORCH_LIKE:
        return fusion, ""
    if fusion == "fused" or (fusion == "eager" and row.precision == "fp16-o2" and row.optimizer != "lamb"):
        return "eager", "fused"
    if fusion == "compiled":
        return fusion, ""
    return fusion, (rule.optimizer if rule else "") or ("foreach" if not date or date >= FOREACH_SINCE else "loop")


def _days_outside(entry: Software, date: str) -> int:
    """How far the date lies from the entry's period; without a date the latest entry is nearest."""
    first, last = map(datetime.date.fromisoformat, (entry.first_release, entry.last_release))
    if not date:
        return (datetime.date.max - first).days
    day = datetime.date.fromisoformat(date)
    return max((first - day).days, (day - last).days, 0)


def _agrees(asked: str, kernel: str) -> bool:
    """Whether an entry's kernel is one that the column `attention` means."""
    if asked in ("naive", "sdpa"):
        return kernel == asked
    return asked == "unknown" or kernel != "naive"


def _kernel(asked: str, date: str) -> AttentionKernel:
    if asked in ("naive", "sdpa"):
        return "naive" if asked == "naive" else "sdpa"
    return "flash-1" if asked == "flash" and date and date < FLASH_2_SINCE else "flash-2"


def _reasons(
    rule: Rule | None, text: str, date: str, fusion: str, optimizer: str, chosen: Software, framework: str
) -> list[str]:
    reasons = []
    if not rule or chosen.framework != framework:
        reasons.append(f"{text or 'the stack'} is not among specs/software" if text else "no software stated")
    elif rule.assumed:
        reasons.append(rule.assumed)
    if not date:
        reasons.append("no version or date stated, the latest taken")
    elif _days_outside(chosen, date):
        reasons.append(f"{date} lies outside {chosen.first_release} to {chosen.last_release}")
    if fusion and chosen.fusion != fusion:
        reasons.append(f"{chosen.fusion}, not {fusion}")
    if optimizer and chosen.optimizer != optimizer:
        reasons.append(f"optimizer {chosen.optimizer}, not {optimizer}")
    return reasons
