"""A training job from the keys of a scenario's [workload]: from a file, from the command line or from Python."""

import math
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from perfsim.core.model import Model
from perfsim.core.optimizer import OPTIMIZERS
from perfsim.core.workload import NF4_BYTES, PRECISIONS, Head, Precision, Task, Workload
from perfsim.errors import InputError
from perfsim.formulas.parameters import count
from perfsim.inputs import explain
from perfsim.inputs.positions import Loc
from perfsim.inputs.scenario_file import HeadName, WorkloadKeys, with_aliases

Found = tuple[Loc, str, str]

DEFAULT_LORA_RANK = 16
_TASKS_OF_NETS = ("pretrain", "finetune")
_LANGUAGE_KINDS = ("encoder", "decoder", "encoder-decoder")


def make_workload(model: Model, **keys: Any) -> Workload:
    """The job of training `model`, from the keys of a scenario's [workload].

    Without a length (samples, tokens or steps) it is a job of one step, without seq_len one of 512 tokens or what the
    model's positions allow, without image_size one of the model's own, without global_batch_size one of 32 samples.

    Raises: InputError that lists every key that cannot be used.

    >>> from perfsim.inputs.catalogue import catalogue
    >>> make_workload(catalogue().model("bert-large"), seq_len=128, samples=1000, epochs=3).steps
    94.0
    """
    given = {name: _plain(value) for name, value in keys.items() if value is not None}
    if not given.keys() & {"samples", "tokens", "steps"}:
        given["steps"] = 1
    defaults: dict[str, Any] = {"model": model.key, "global_batch_size": 32}
    if not model.nets:
        defaults["seq_len"] = min(512, _most_tokens(model))
    try:
        checked = WorkloadKeys.model_validate(defaults | given)
    except ValidationError as error:
        raise _input_error(with_aliases(explain.explain(error, WorkloadKeys))) from None
    found = [*checked.problems(), *misfits(checked, model)]
    if len(checked.task) > 1:
        found.append((("task",), "names more than one task", "make one workload of each"))
    if found:
        raise _input_error(found)
    return workload_of(checked, checked.task[0], model)


def workload_of(keys: WorkloadKeys, task: str, model: Model) -> Workload:
    """The job of checked keys."""
    precision = PRECISIONS[keys.precision]
    head = _head(keys.head, task, model)
    is_adapter = task in (Task.LORA, Task.QLORA)
    return Workload(
        model=model,
        task=Task(task),
        seq_len=keys.seq_len or 1,
        image_size=keys.image_size or model.image_size,
        global_batch_size=keys.global_batch_size,
        precision=precision,
        optimizer=keys.optimizer,
        optimizer_in_backward=keys.optimizer_in_backward,
        loss_chunks=keys.loss_chunks,
        fused_linear_loss=keys.fused_linear_loss,
        steps=float(_steps(keys)),
        head=head,
        head_positions=_head_positions(keys, head, model),
        decoder_seq_len=keys.decoder_seq_len or 0,
        dropout=keys.dropout,
        expert_imbalance=keys.expert_imbalance or 1.0,
        sample_tokens=keys.sample_tokens or 0.0,
        sample_spread=keys.sample_spread or 0.0,
        is_packed=keys.packed,
        lora_rank=(keys.lora_rank or DEFAULT_LORA_RANK) if is_adapter else 0,
        base_bytes=_base_bytes(task, precision, model),
    )


def misfits(keys: WorkloadKeys, model: Model) -> Iterator[Found]:
    """What a model cannot do of what is asked of it."""
    if model.nets:
        yield from _misfits_of_nets(keys, model)
    elif keys.seq_len is None:
        yield ("seq_len",), "is missing", "add it"
    elif keys.seq_len > _most_tokens(model):
        what = f"{model.key} has learned positions for {model.max_positions:,} tokens, not for {keys.seq_len:,}"
        yield ("seq_len",), what, f"write at most {model.max_positions:,}"
    if model.kind == "encoder-decoder" and keys.decoder_seq_len is None:
        yield (), f"decoder_seq_len is missing: {model.key} reads one sequence and writes another", "add it"
    if model.kind != "encoder-decoder" and keys.decoder_seq_len is not None:
        yield ("decoder_seq_len",), f"{model.key} has no second sequence", "remove it"
    if keys.image_size is not None and not model.nets:
        yield ("image_size",), f"{model.key} is no convolutional model", "remove it"
    if keys.head in (Head.LANGUAGE_MODEL, Head.SPAN) and model.kind not in _LANGUAGE_KINDS:
        yield ("head",), f"{model.key} has no words to predict", "remove it"
    if (keys.loss_chunks > 1 or keys.fused_linear_loss) and any(
        _has_other_loss(keys, task, model) for task in keys.task
    ):
        key = "fused_linear_loss" if keys.fused_linear_loss else "loss_chunks"
        yield (key,), "is for losses over a vocabulary", "remove it, or use a language-model head"
    if keys.expert_imbalance is not None and model.moe is None:
        yield ("expert_imbalance",), f"{model.key} has no experts", "remove it"
    if keys.sample_tokens and keys.seq_len and keys.sample_tokens > keys.seq_len:
        what = f"{keys.sample_tokens:g} tokens of a sample do not fit into sequences of {keys.seq_len:,}"
        yield ("sample_tokens",), what, "write the mean after truncation, or a longer seq_len"
    if (keys.packed or keys.sample_spread) and not keys.sample_tokens:
        yield ("sample_tokens",), "is missing: how long are the samples that are packed?", "add their mean length"
    if keys.packed and model.kind not in _LANGUAGE_KINDS:
        yield ("packed",), f"{model.key} has no sequences of words to pack", "remove it"
    if keys.mlm_positions is not None and model.kind != "encoder":
        yield ("mlm_positions",), f"{model.key} is no masked language model", "remove it"


def _misfits_of_nets(keys: WorkloadKeys, model: Model) -> Iterator[Found]:
    if keys.seq_len is not None:
        yield ("seq_len",), f"{model.key} reads images, no sequences", "write image_size instead"
    if keys.tokens is not None:
        yield ("tokens",), f"{model.key} reads images, no tokens", "write samples or steps"
    size = keys.image_size or model.image_size
    if size != model.image_size and any(net.fixed_size for net in model.nets):
        yield ("image_size",), f"{model.key} makes images of {model.image_size} pixels a side alone", "remove it"
    multiple = max(net.multiple for net in model.nets)
    if size % multiple:
        yield ("image_size",), f"{size} pixels a side cannot be halved evenly", f"write a multiple of {multiple}"
    for i, task in enumerate(keys.task):
        if task not in _TASKS_OF_NETS:
            yield ("task", i), f"{model.key} is trained whole", f"write {' or '.join(_TASKS_OF_NETS)}"
    if keys.head is not None:
        yield ("head",), f"{model.key} has its own", "remove it"
    if OPTIMIZERS[keys.optimizer].is_factored or OPTIMIZERS[keys.optimizer].orthogonalises:
        yield ("optimizer",), f"{keys.optimizer} works on matrices, and {model.key} has kernels", "write sgd or adamw"


def _has_other_loss(keys: WorkloadKeys, task: str, model: Model) -> bool:
    return _head(keys.head, task, model) is not Head.LANGUAGE_MODEL or bool(model.adaptive_softmax_cutoffs)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Task | Head) else value


def _most_tokens(model: Model) -> int:
    is_limited = model.positions == "learned" and model.max_positions > 0 and model.kind != "encoder-decoder"
    return model.max_positions if is_limited else 10**7


def _head(asked: HeadName | None, task: str, model: Model) -> Head:
    if asked:
        return Head(asked)
    if model.kind == "diffusion" or model.nets:
        return Head.NONE
    classifies = model.kind == "vit" or (model.kind == "encoder" and task != Task.PRETRAIN)
    return Head.CLASSIFICATION if classifies else Head.LANGUAGE_MODEL


def _head_positions(keys: WorkloadKeys, head: Head, model: Model) -> int:
    tokens = (keys.decoder_seq_len or 0) if model.kind == "encoder-decoder" else keys.seq_len or 1
    if head is Head.LANGUAGE_MODEL:
        return keys.mlm_positions or tokens
    return {Head.SPAN: tokens, Head.CLASSIFICATION: 1, Head.NONE: 0}[head]


def _steps(keys: WorkloadKeys) -> int:
    if keys.steps is not None:
        return keys.steps
    if keys.tokens is not None:
        return math.ceil(keys.tokens / (keys.global_batch_size * (keys.seq_len or 1)))
    packed = (keys.seq_len or 1) / keys.sample_tokens if keys.packed and keys.sample_tokens else 1.0
    return math.ceil((keys.samples or 0) * (keys.epochs or 1.0) / (keys.global_batch_size * packed))


def _base_bytes(task: str, precision: Precision, model: Model) -> float:
    """Mean bytes of a frozen weight: the compute format, but 4 bits for QLoRA's products inside the layers."""
    if task == Task.LORA:
        return precision.activation_bytes
    if task != Task.QLORA:
        return 0.0
    counted = count(model)
    quantised = counted.linear_parameters / counted.total
    return NF4_BYTES * quantised + precision.activation_bytes * (1.0 - quantised)


def _input_error(found: list[Found]) -> InputError:
    lines = []
    for loc, what, todo in found:
        name = explain.dotted(loc)
        lines.append(f"{name}: {what}; {todo}" if name else f"{what}; {todo}")
    return InputError("\n".join(lines))
