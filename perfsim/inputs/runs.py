"""Measured-run tables: each row as the workload, system, plan and software that an estimate takes, or why not."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from perfsim.calibration.runs import MeasuredRun
from perfsim.core.hardware import Gpu
from perfsim.core.model import Model
from perfsim.core.plan import Plan, Recompute
from perfsim.core.software import Software
from perfsim.core.workload import PRECISIONS, Head, Precision, Task, Workload
from perfsim.errors import InputError, UnknownNameError
from perfsim.formulas.parameters import count
from perfsim.inputs.calibration import card_calibration
from perfsim.inputs.catalogue import Catalogue
from perfsim.inputs.files import problem
from perfsim.inputs.gpu import GpuSpec, to_gpu
from perfsim.inputs.run_models import RunModel, read_gpus, read_models
from perfsim.inputs.run_software import HAS_SEQUENCE_PARALLEL, software_of
from perfsim.inputs.run_system import system_of
from perfsim.inputs.run_table import MAX_PROBLEMS, Row, read_table
from perfsim.inputs.workload import DEFAULT_LORA_RANK, NF4_BYTES
from perfsim.units import GIGA

_RECOMPUTE = {"none": Recompute.NONE, "selective": Recompute.SELECTIVE, "full": Recompute.FULL}
_ZERO_STAGE = {"none": 0, "zero1": 1, "zero2": 2, "zero3": 3, "hsdp": 3}
_QUANT_BYTES = {"int8": 1.0, "nf4": 4.5 / 8, "int4": 4.5 / 8}  # scales of 32 bits for every 64 weights
_OPTIMIZERS = {"unknown": "adamw", "paged-adamw": "adamw", "": "adamw"}

# What a row can say that perfsim does not model; by the name of the item in `extras` and by column.
UNMODELLED_EXTRAS = {
    "var_len": "samples are shorter than seq_len",
    "var_batch": "a batch is a number of tokens, not of sequences",
    "uneven": "the last micro-batch is smaller",
    "generator": "a second network is trained beside the model",
    "dataparallel": "one process drives all GPUs (torch DataParallel)",
    "activation_offload": "activations are kept in host memory",
    "optimizer_in_backward": "the optimizer runs inside the backward pass",
    "chunked_ce": "the loss is computed in pieces",
    "power_limited": "the cards ran below their power limit",
    "power_limit_w": "the cards ran below their power limit",
    "recompute_detail": "recomputation of another kind than full or selective",
}
UNMODELLED = {
    ("offload", "optimizer"): "optimizer states are kept in host memory",
    ("offload", "params"): "weights and optimizer states are kept in host memory",
    ("optimizer", "badam"): "BAdam trains one block of layers at a time",
    ("optimizer", "adam4bit"): "Adam with 4-bit states",
    ("optimizer", "paged-adamw"): "optimizer states are paged to host memory",
}
_DROPOUT_BY_DEFAULT = ("megatron-2021", "megatron-2022", "deepspeed", "tensorflow", "paddle", "pytorch-1", "huggingface")
DEFAULT_DROPOUT = 0.1


def read_runs(paths: Sequence[Path], catalogue: Catalogue) -> list[MeasuredRun]:
    """The runs of some tables, in order; models and cards that the specs lack come from the files beside each table.

    Raises: InputError that lists every problem of a table.
    """
    return [run for path in paths for run in _Table(Path(path), catalogue).runs()]


class _Table:
    """One table with what lies beside it."""

    def __init__(self, path: Path, catalogue: Catalogue) -> None:
        self._path, self._catalogue = path, catalogue
        self._rows = read_table(path)
        self._models = read_models(path.parent)
        self._gpus = read_gpus(path.parent)
        self._cards: dict[str, tuple[Gpu, GpuSpec]] = {}

    def runs(self) -> list[MeasuredRun]:
        """Every row as a run."""
        self._check_names()
        return [self._run(row) for row in self._rows]

    def _check_names(self) -> None:
        """Refuse rows whose card or model nothing describes."""
        problems: dict[tuple[str, str], str] = {}
        for row in self._rows:
            for what, name, find in (("gpu", row.gpu, self._card), ("model", row.model, self._model)):
                if (what, name) in problems:
                    continue
                try:
                    find(name)
                except UnknownNameError as error:
                    problems[what, name] = problem(self._path, row.line, f"{what}: {error}", "")
        if problems:
            raise InputError("\n".join(list(problems.values())[:MAX_PROBLEMS]))

    def _card(self, name: str) -> tuple[Gpu, GpuSpec]:
        if name not in self._cards:
            if name in self._gpus and name not in self._catalogue.names("gpus"):
                spec = self._gpus[name]
                self._cards[name] = to_gpu(name, spec, card_calibration(name, spec, self._catalogue.rules)), spec
            else:
                key = self._catalogue.find("gpus", name)
                self._cards[name] = self._catalogue.gpu(key), self._catalogue.gpu_spec(key)
        return self._cards[name]

    def _model(self, name: str) -> tuple[Model, RunModel | None]:
        own = self._models.get(name)
        return (own.model, own) if own else (self._catalogue.model(name), None)

    def _run(self, row: Row) -> MeasuredRun:
        gpu, card = self._card(row.gpu)
        model, own = self._model(row.model)
        run = MeasuredRun(
            run_id=row.run_id or f"{self._path.stem}:{row.line}",
            source=row.source, role=row.role, quality=row.quality or "a", gpu_key=gpu.key, model_key=model.key,
            software_text=row.software, stack=row.stack,
            measured_step_seconds=_step_seconds(row), measured_peak_memory_bytes=row.peak_memory_gb * GIGA,
            memory_kind=row.memory_kind or ("unknown" if row.peak_memory_gb else ""), outcome=row.outcome or "ok",
        )  # fmt: skip
        software, note = software_of(row, self._catalogue)
        reason = _problem(row, model, own) or ("" if software else note)
        if reason or software is None:
            return replace(run, problem=reason)
        system, assumed = system_of(row, gpu, card, self._catalogue.links)
        if own and own.assumption:
            assumed.append(own.assumption)
        plan = _plan(row, software, assumed)
        workload = _workload(row, _adapted(row, model, own), own, software, plan, assumed)
        return replace(
            run, workload=workload, system=system, plan=plan, software=software, software_note=note,
            assumptions=tuple(assumed),
        )  # fmt: skip


def _step_seconds(row: Row) -> float:
    if row.step_time_s or not (row.tokens_per_s_per_gpu and row.seq_len):
        return row.step_time_s
    batch = row.global_batch or row.micro_batch * (row.grad_accum or 1) * (row.dp or row.n_gpus)
    return batch * row.seq_len / (row.tokens_per_s_per_gpu * row.n_gpus)


def _problem(row: Row, model: Model, own: RunModel | None) -> str:
    """Why a row cannot be replayed; empty when it can."""
    for item, reason in UNMODELLED_EXTRAS.items():
        if row.extra.get(item, "n") not in ("n", ""):
            return reason
    for (column, value), reason in UNMODELLED.items():
        if getattr(row, column) == value:
            return reason
    if row.extra.get("cp_comm") == "a2a":
        return "context parallelism by all-to-all; a ring is modelled"
    if not row.seq_len:
        return "seq_len is not stated"
    if not (row.tp and row.pp and row.cp) and row.n_gpus > 1:
        return "the degrees of parallelism are not stated"
    if not row.micro_batch and not (row.global_batch and row.dp):
        return "the batch is not stated"
    if model.kind == "encoder-decoder" and not row.extra_number("decoder_seq"):
        return "decoder_seq is not stated"
    return own.problem if own else ""


def _plan(row: Row, software: Software, assumed: list[str]) -> Plan:
    """Who computes what."""
    if row.extra.get("grad_sync") == "n":
        assumed.append("ranks never exchange gradients: one of them is replayed")
        return Plan(micro_batch_size=row.micro_batch, recompute=_recompute(row, assumed))
    tp, pp, cp = row.tp or 1, row.pp or 1, row.cp or 1
    dp = row.dp or max(1, row.n_gpus // (tp * pp * cp))
    if not row.vpp and pp > 1:
        assumed.append("no virtual stages")
    if not row.sharding:
        assumed.append("no sharding of optimizer states")
    if row.offload == "unknown":
        assumed.append("no offloading")
    is_sequence_parallel = row.sequence_parallel == "y"
    if row.sequence_parallel in ("unknown", "") and tp > 1:
        is_sequence_parallel = software.key in HAS_SEQUENCE_PARALLEL
        assumed.append(f"{'' if is_sequence_parallel else 'no '}sequence parallelism")
    return Plan(
        tensor_parallel=tp,
        pipeline_parallel=pp,
        data_parallel=dp,
        context_parallel=cp,
        expert_parallel=row.ep or 1,
        micro_batch_size=_micro_batch(row, dp, pp, assumed),
        virtual_stages=row.vpp or 1,
        sequence_parallel=is_sequence_parallel,
        zero_stage=_ZERO_STAGE[row.sharding or "none"],
        hybrid_shard=(row.gpus_per_node or 8) if row.sharding == "hsdp" else 0,
        recompute=_recompute(row, assumed),
    )


def _recompute(row: Row, assumed: list[str]) -> Recompute:
    if row.recompute in ("unknown", ""):
        assumed.append("no recomputation")
    return _RECOMPUTE.get(row.recompute, Recompute.NONE)


def _micro_batch(row: Row, dp: int, pp: int, assumed: list[str]) -> int:
    """As stated; else one sequence through a pipeline, up to four without."""
    if row.micro_batch:
        return row.micro_batch
    size = math.gcd(row.global_batch // dp, 1 if pp > 1 else 4)
    assumed.append(f"a micro-batch of {size}")
    return size


def _adapted(row: Row, model: Model, own: RunModel | None) -> Model:
    """The model with what only the run decides: the length of its position table, whether its head is tied."""
    if own and own.extra("max_positions") == "follows seq_len of the run":
        model = replace(model, max_positions=row.seq_len, position_parameters=row.seq_len * model.hidden_size)
    if "tied" in row.extra:
        model = replace(model, has_tied_embeddings=row.extra["tied"] == "y")
    return model


def _workload(
    row: Row, model: Model, own: RunModel | None, software: Software, plan: Plan, assumed: list[str]
) -> Workload:
    """What is trained."""
    task = Task(row.task or "pretrain")
    precision = _precision(row, software, task)
    head = _head(row, model, own, task, assumed)
    is_adapter = task in (Task.LORA, Task.QLORA)
    rank = row.lora_rank if is_adapter else 0
    if is_adapter and not rank:
        rank = DEFAULT_LORA_RANK
        assumed.append(f"adapters of rank {rank}")
    if row.optimizer in ("unknown", ""):
        assumed.append("AdamW")
    decoder = int(row.extra_number("decoder_seq")) if model.kind == "encoder-decoder" else 0
    own_batch = int(plan.micro_batch_size) * (row.grad_accum or 1) * int(plan.data_parallel)
    is_lone = row.extra.get("grad_sync") == "n"
    return Workload(
        model=model,
        task=task,
        seq_len=row.seq_len,
        global_batch_size=own_batch if is_lone or not row.global_batch else row.global_batch,
        precision=precision,
        optimizer=_OPTIMIZERS.get(row.optimizer, row.optimizer),
        steps=1.0,
        head=head,
        head_positions=_head_positions(row, head, decoder),
        decoder_seq_len=decoder,
        memory_len=int(row.extra_number("mem_len")),
        dropout=_dropout(row, own, software, assumed),
        lora_rank=rank,
        base_bytes=_base_bytes(row, task, precision, model),
    )


def _precision(row: Row, software: Software, task: Task) -> Precision:
    """bf16 and fp8 recipes keep fp32 weights under autocast and FSDP, bf16 weights with fp32 masters in Megatron."""
    has_fp32_weights = row.extra.get("params") == "fp32" and task not in (Task.LORA, Task.QLORA)
    if row.extra.get("params", "") == "" and software.framework in ("jax", "fsdp", "huggingface", "pytorch"):
        has_fp32_weights = task in (Task.PRETRAIN, Task.FINETUNE)
    if row.precision == "bf16-mixed":
        return PRECISIONS["amp-bf16" if has_fp32_weights else "bf16-mixed"]
    precision = PRECISIONS[row.precision]
    if precision.matmul in ("fp8", "fp4") and has_fp32_weights:
        return replace(precision, weight_bytes=4, master_bytes=0, weight_copy_bytes=precision.weight_copy_bytes + 2)
    return precision


def _head(row: Row, model: Model, own: RunModel | None, task: Task, assumed: list[str]) -> Head:
    if model.kind in ("vit", "diffusion"):
        return Head.CLASSIFICATION if model.kind == "vit" else Head.NONE
    named = own.extra("head") if own else ""
    if named == "span_qa" or (model.kind == "encoder" and task is not Task.PRETRAIN and "squad" in row.source.lower()):
        return Head.SPAN
    if model.kind != "encoder" or named.startswith("mlm"):
        return Head.LANGUAGE_MODEL
    if task is Task.PRETRAIN:
        if not row.extra_number("mlm_positions"):
            assumed.append("every position goes through the vocabulary projection")
        return Head.LANGUAGE_MODEL
    assumed.append("a head for question answering")
    return Head.SPAN


def _head_positions(row: Row, head: Head, decoder: int) -> int:
    if head is Head.LANGUAGE_MODEL:
        return min(int(row.extra_number("mlm_positions")), row.seq_len) or decoder or row.seq_len
    return {Head.SPAN: row.seq_len, Head.CLASSIFICATION: 1, Head.NONE: 0}[head]


def _dropout(row: Row, own: RunModel | None, software: Software, assumed: list[str]) -> float:
    if "dropout" in row.extra:
        return row.extra_number("dropout")
    if own and own.extra("dropout"):
        return float(own.extra("dropout"))
    if not software.key.startswith(_DROPOUT_BY_DEFAULT):
        return 0.0
    assumed.append(f"dropout of {DEFAULT_DROPOUT}")
    return DEFAULT_DROPOUT


def _base_bytes(row: Row, task: Task, precision: Precision, model: Model) -> float:
    """Mean bytes of a frozen weight; quantised where the row says so, inside the layers only."""
    if task not in (Task.LORA, Task.QLORA):
        return 0.0
    if row.base_quant in ("none", "") and task is Task.LORA:
        return precision.activation_bytes
    has_double = row.base_quant in ("nf4", "none", "") and row.extra.get("double_quant", "y") == "y"
    stored = NF4_BYTES if has_double else _QUANT_BYTES[row.base_quant]
    counted = count(model)
    share = counted.linear_parameters / counted.total
    return stored * share + precision.activation_bytes * (1.0 - share)
