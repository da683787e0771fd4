"""The schema of a row in a table of measured runs: columns, choices, bounds and what an absent value means."""

import re
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

from perfsim.core.optimizer import OPTIMIZERS
from perfsim.core.workload import PRECISIONS
from perfsim.inputs.explain import nearest, shown
from perfsim.inputs.tables import Cells, Complaints

REQUIRED = ("gpu", "n_gpus", "model", "seq_len", "micro_batch", "precision")  # and one of MEASURED, or outcome=oom
MEASURED = ("step_time_s", "tokens_per_s_per_gpu", "peak_memory_gb")
_RUN_PRECISIONS = tuple(name for name in PRECISIONS if name != "amp-bf16")

CHOICES = {
    "fabric": ("single", "pcie", "pcie-nop2p", "nvlink-bridge", "nvlink-mesh", "nvswitch", "unknown"),
    "internode": ("none", "ib-edr", "ib-hdr", "ib-ndr", "efa-400", "efa-3200", "roce", "nvl72", "unknown"),
    "task": ("pretrain", "finetune", "lora", "qlora", "freeze"),
    "sharding": ("none", "zero1", "zero2", "zero3", "hsdp"),
    "sequence_parallel": ("y", "n", "unknown"),
    "recompute": ("none", "selective", "full", "unknown"),
    "offload": ("none", "optimizer", "params", "unknown"),
    "precision": _RUN_PRECISIONS,
    "base_quant": ("none", "int8", "nf4", "int4"),
    "attention": ("naive", "flash", "sdpa", "cudnn", "unknown"),
    "fusion": ("eager", "fused", "compiled", "unknown"),
    "optimizer": (
        *OPTIMIZERS, "badam", "unknown",
    ),
    "memory_kind": ("allocated", "reserved", "nvidia-smi", "unknown"),
    "outcome": ("ok", "oom"),
    "quality": ("a", "b", "c", "x"),
    "role": ("dev", "anchor"),
}  # fmt: skip
WHOLE_BOUNDS = {
    "n_gpus": 1_000_000, "gpus_per_node": 1024, "seq_len": 10**8, "micro_batch": 10**7, "grad_accum": 10**7,
    "global_batch": 10**9, "dp": 1_000_000, "tp": 1_000_000, "pp": 10_000, "vpp": 10_000, "cp": 1_000_000,
    "ep": 1_000_000, "lora_rank": 100_000,
}  # fmt: skip
NUMBER_BOUNDS = {"step_time_s": 1e8, "tokens_per_s_per_gpu": 1e12, "peak_memory_gb": 1e5}
EXTRAS = frozenset(
    """activation_offload async_tp ce_fusion chunked_ce composed cp_comm cpu cuda_graphs dataparallel ddp_bucket
    decoder_seq double_quant dp_overlap dropout fits_micro_batch fp8_allgather fp8_attention fp8_recipe
    generator gpus_per_pcie_switch grad_sync images lora_targets lora_trains_embeddings mem_len micro_iter_s
    mlm_positions optimizer_in_backward optimizer_timed packed_tokens params pipeline power_limit_w power_limited
    proxy_layers pure_reduce recompute_detail recompute_kept shard_gpus sockets stochastic tied tp_overlap
    trainable_params uneven var_batch var_len""".split()
)
_WORDS_OF_EXTRAS = {
    "tp_overlap": ("none", "backward", "all"),
    "lora_targets": ("linear_qkv", "attention"),
    "recompute_kept": ("qkv", "qkv-output", "products"),
}
_WHOLE_EXTRAS = (
    "mlm_positions", "mem_len", "decoder_seq", "packed_tokens", "power_limit_w", "shard_gpus", "sockets",
    "gpus_per_pcie_switch",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunRow:
    """A checked row. A text is "" and a number 0 where neither the source nor a default gives one."""

    line: int
    gpu: str
    n_gpus: int
    model: str
    seq_len: int
    micro_batch: int
    precision: str
    run_id: str = ""
    source: str = ""
    system: str = ""
    gpus_per_node: int = 0  # all of up to 8 GPUs, else 8
    fabric: str = ""  # single for one GPU, else unknown
    internode: str = ""  # none within a node, else unknown
    task: str = "pretrain"
    grad_accum: int = 0  # what global_batch says, else 1
    global_batch: int = 0  # micro_batch x grad_accum x dp
    dp: int = 0  # what the other degrees leave
    tp: int = 1
    pp: int = 1
    vpp: int = 1
    cp: int = 1
    ep: int = 1
    sharding: str = ""
    sequence_parallel: str = "unknown"
    recompute: str = "unknown"
    offload: str = "none"
    base_quant: str = ""  # nf4 for qlora, else none
    lora_rank: int = 0
    attention: str = "unknown"
    fusion: str = "unknown"
    optimizer: str = "unknown"
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
    holdout_reason: str = ""

    @property
    def options(self) -> dict[str, str]:
        """The column `extras` by key."""
        return dict(item.split("=", 1) for item in self.extras.split(";") if "=" in item)

    def whole(self, option: str) -> int:
        """A count in the column `extras`, 0 where it is not there."""
        return int(self.options.get(option, 0))


COLUMNS = tuple(f.name for f in fields(RunRow) if f.name != "line")


def run_row(line: int, cells: Cells, complaints: Complaints, must_measure: bool = True) -> RunRow | None:
    """The row of these cells with what follows from them filled in; None after complaining about a cell.

    must_measure: whether a row without time, rate and memory is a fault.
    """
    values: dict[str, Any] = {}
    wrong = 0
    for name, cell in cells.items():
        if not cell:
            if name in ("gpu", "n_gpus", "model", "precision"):
                complaints.add(line, f"{name}: is missing", "fill it in")
                wrong += 1
            elif name in REQUIRED:
                values[name] = 0
            continue
        fault = _fault(name, cell)
        if fault:
            complaints.add(line, f"{name}: {fault[0]}", fault[1])
            wrong += 1
        elif name in WHOLE_BOUNDS:
            values[name] = int(cell)
        else:
            values[name] = float(cell) if name in NUMBER_BOUNDS else cell
    if wrong:
        return None
    row = _completed(RunRow(line=line, **values), complaints.path.stem)
    faults = _contradictions(row, must_measure)
    for what, todo in faults:
        complaints.add(line, what, todo)
    return None if faults else row


def _fault(name: str, cell: str) -> tuple[str, str] | None:
    """What is wrong with a cell, and what to do."""
    if name in CHOICES and cell not in CHOICES[name]:
        close = nearest(cell, CHOICES[name], 1, 0.5)
        todo = f"did you mean {close[0]}?" if close else "write one of these"
        return f"{shown(cell)} is none of {', '.join(CHOICES[name])}", todo
    if name in WHOLE_BOUNDS:
        if not re.fullmatch(r"[0-9]{1,12}", cell):
            return f"expected a whole number, got {shown(cell)}", "write digits only, or leave it empty"
        if not 1 <= int(cell) <= WHOLE_BOUNDS[name]:
            return f"{cell} is not between 1 and {WHOLE_BOUNDS[name]:,}", "correct it, or leave it empty"
    if name in NUMBER_BOUNDS:
        number = _number(cell)
        if number is None:
            return f"expected a number, got {shown(cell)}", "write a plain decimal number, or leave it empty"
        if not 0 < number <= NUMBER_BOUNDS[name]:
            return f"{shown(cell)} is not between 0 and {NUMBER_BOUNDS[name]:,.0f}", "check its unit, or leave it empty"
    return _extras_fault(cell) if name == "extras" else None


def _number(cell: str) -> float | None:
    if not re.fullmatch(r"[+-]?[0-9.]{1,40}([eE][+-]?[0-9]{1,4})?", cell):
        return None
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _extras_fault(cell: str) -> tuple[str, str] | None:
    items = [item.partition("=") for item in cell.split(";")]
    for key, equals, value in items:
        if not equals:
            return f"{shown(key)} is no key=value", "separate several with ;"
        if key not in EXTRAS:
            close = nearest(key, sorted(EXTRAS))
            return f"{key[:60]}: no such key", f"did you mean {close[0]}?" if close else "put remarks into notes"
        if key in _WHOLE_EXTRAS and not re.fullmatch(r"[1-9][0-9]{0,8}", value):
            return f"{key}: expected a whole number, got {shown(value)}", "write digits only"
        if key in _WORDS_OF_EXTRAS and value not in _WORDS_OF_EXTRAS[key]:
            return f"{key}: no such choice as {shown(value)}", f"choices: {', '.join(_WORDS_OF_EXTRAS[key])}"
        if key == "dropout" and not 0 <= (_number(value) or 0) < 1:
            return f"dropout: {shown(value)} is not between 0 and 1", "write a probability"
    return None


def _completed(row: RunRow, stem: str) -> RunRow:
    """The row with the numbers that its other numbers determine, and the defaults that depend on them."""
    v: dict[str, Any] = {f.name: getattr(row, f.name) for f in fields(row)}
    v["run_id"] = v["run_id"] or f"{stem}:{row.line}"
    v["gpus_per_node"] = v["gpus_per_node"] or (row.n_gpus if row.n_gpus <= 8 else 8)
    v["fabric"] = v["fabric"] or ("single" if row.n_gpus == 1 else "unknown")
    v["internode"] = v["internode"] or ("none" if row.n_gpus <= v["gpus_per_node"] else "unknown")
    v["dp"] = v["dp"] or max(1, row.n_gpus // (row.tp * row.pp * row.cp))
    v["base_quant"] = v["base_quant"] or ("nf4" if row.task == "qlora" else "none")
    ranks = row.micro_batch * v["dp"]
    v["grad_accum"] = v["grad_accum"] or (max(1, row.global_batch // ranks) if ranks else 0)
    v["global_batch"] = v["global_batch"] or ranks * v["grad_accum"]
    if not v["step_time_s"] and row.tokens_per_s_per_gpu and row.seq_len and "var_len" not in row.options:
        v["step_time_s"] = v["global_batch"] * row.seq_len / (row.tokens_per_s_per_gpu * row.n_gpus)
    return RunRow(**v)


def _contradictions(row: RunRow, must_measure: bool) -> list[tuple[str, str]]:
    """What is wrong between cells that are each right."""
    found = []
    product = row.dp * row.tp * row.pp * row.cp
    if product != row.n_gpus:
        found.append((f"dp x tp x pp x cp is {product}, not n_gpus = {row.n_gpus}", "correct one of them"))
    sequences = row.micro_batch * row.grad_accum * row.dp
    if sequences and sequences != row.global_batch and row.options.get("uneven") != "y":
        what = f"micro_batch x grad_accum x dp is {sequences}, not global_batch = {row.global_batch}"
        found.append((what, "correct one of them"))
    if (row.fabric == "single") != (row.n_gpus == 1):
        found.append((f"fabric: {row.fabric} with n_gpus = {row.n_gpus}", "single is for one GPU, and only for it"))
    if row.n_gpus > row.gpus_per_node and row.internode == "none":
        found.append(("internode: none between several nodes", "name their network, or write unknown"))
    is_measured = any(getattr(row, name) for name in MEASURED)
    if row.outcome == "ok" and must_measure and not is_measured:
        found.append((f"nothing is measured: {', '.join(MEASURED)} are empty", "fill one in, or write outcome = oom"))
    if row.outcome == "oom" and is_measured:
        found.append(("outcome: oom beside a measurement", "remove one of the two"))
    if row.task == "qlora" and row.base_quant == "none":
        found.append(("base_quant: none in a qlora run", "write nf4, int4 or int8"))
    return found + _rate_contradiction(row)


def _rate_contradiction(row: RunRow) -> list[tuple[str, str]]:
    has_both = row.step_time_s and row.tokens_per_s_per_gpu and row.seq_len and row.global_batch
    if not has_both or "var_len" in row.options:
        return []
    implied = row.global_batch * row.seq_len / (row.tokens_per_s_per_gpu * row.n_gpus)
    if abs(implied / row.step_time_s - 1) <= 0.03:
        return []
    return [(f"step_time_s: {row.step_time_s:g}, but the token rate means {implied:.4g} s", "correct one of them")]
