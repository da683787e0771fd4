"""A training job from the keys of a scenario's [workload]: from a file, from the command line or from Python."""

import math
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from perfsim.core.model import Model
from perfsim.core.workload import NF4_BYTES, PRECISIONS, Head, Precision, Task, Workload, model_of
from perfsim.errors import InputError
from perfsim.formulas.parameters import count
from perfsim.inputs import explain
from perfsim.inputs.positions import Loc
from perfsim.inputs.scenario_file import HeadName, WorkloadKeys, with_aliases

Found = tuple[Loc, str, str]

DEFAULT_LORA_RANK = 16
_LANGUAGE_KINDS = ("encoder", "decoder", "encoder-decoder")


def make_workload(model: Model, **keys: Any) -> Workload:
    """The job of training `model`, from the keys of a scenario's [workload].

    Without a length (samples, tokens or steps) it is a job of one step, without seq_len one of 512 tokens or what the
    model's positions allow, without global_batch_size one of 32 sequences.

    Raises: InputError that lists every key that cannot be used.

    >>> from perfsim.inputs.catalogue import catalogue
    >>> make_workload(catalogue().model("bert-large"), seq_len=128, samples=1000, epochs=3).steps
    94.0
    """
    given = {name: _plain(value) for name, value in keys.items() if value is not None}
    if not given.keys() & {"samples", "tokens", "steps"}:
        given["steps"] = 1
    defaults = {"model": model.key, "seq_len": _usual_tokens(model), "global_batch_size": 32}
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
    model = model_of(_thawed(keys.trained_towers, model), Task(task), head)
    return Workload(
        model=model,
        task=Task(task),
        seq_len=keys.seq_len,
        global_batch_size=keys.global_batch_size,
        precision=precision,
        optimizer=keys.optimizer,
        steps=float(_steps(keys)),
        head=head,
        head_positions=_head_positions(keys, head, model),
        decoder_seq_len=keys.decoder_seq_len or 0,
        dropout=keys.dropout,
        expert_imbalance=keys.expert_imbalance or 1.0,
        lora_rank=(keys.lora_rank or DEFAULT_LORA_RANK) if is_adapter else 0,
        base_bytes=_base_bytes(task, precision, model),
    )


def _thawed(trained: Collection[str], model: Model) -> Model:
    """The model with these of its frozen towers trained."""
    towers = (replace(tower, is_frozen=tower.is_frozen and tower.name not in trained) for tower in model.towers)
    return replace(model, towers=tuple(towers))


def misfits(keys: WorkloadKeys, model: Model) -> Iterator[Found]:
    """What a model cannot do of what is asked of it."""
    if model.encoder_tokens and keys.seq_len != model.encoder_tokens:
        what = f"{model.key} always reads {model.encoder_tokens:,} tokens, not {keys.seq_len:,}"
        yield ("seq_len",), what, f"write {model.encoder_tokens:,}"
    elif keys.seq_len > _most_tokens(model):
        what = f"{model.key} has learned positions for {model.max_positions:,} tokens, not for {keys.seq_len:,}"
        yield ("seq_len",), what, f"write at most {model.max_positions:,}"
    yield from _misfits_of_towers(keys, model)
    if model.kind == "encoder-decoder" and keys.decoder_seq_len is None:
        yield (), f"decoder_seq_len is missing: {model.key} reads one sequence and writes another", "add it"
    if model.kind != "encoder-decoder" and keys.decoder_seq_len is not None:
        yield ("decoder_seq_len",), f"{model.key} has no second sequence", "remove it"
    if keys.head in (Head.LANGUAGE_MODEL, Head.SPAN) and model.kind not in _LANGUAGE_KINDS:
        yield ("head",), f"{model.key} has no words to predict", "remove it"
    if keys.expert_imbalance is not None and model.moe is None:
        yield ("expert_imbalance",), f"{model.key} has no experts", "remove it"
    if keys.mlm_positions is not None and model.kind != "encoder":
        yield ("mlm_positions",), f"{model.key} is no masked language model", "remove it"


def _misfits_of_towers(keys: WorkloadKeys, model: Model) -> Iterator[Found]:
    tokens = sum(tower.sequence_tokens for tower in model.towers)
    if keys.seq_len <= tokens:
        what = f"{keys.seq_len:,} leaves nothing beside the {tokens:,} tokens that {model.key}'s towers put there"
        yield ("seq_len",), what, f"write more than {tokens:,}: words and those tokens"
    names = [tower.name for tower in model.towers if tower.is_frozen]
    for i, name in enumerate(keys.trained_towers):
        if name not in names:
            has = f"its frozen towers are {', '.join(names)}" if names else f"{model.key} has none"
            yield ("trained_towers", i), f"{name} is no frozen tower", f"{has}; remove it"
    has_contrast = any(tower.role == "contrast" for tower in model.towers)
    if keys.head == Head.CONTRASTIVE and not has_contrast:
        yield ("head",), f"{model.key} has no second tower to compare with", "remove it"
    if keys.head == Head.REPLACED_TOKEN and model.kind != "encoder":
        yield ("head",), f"{model.key} is no encoder", "remove it"
    if has_contrast and "freeze" in keys.task and keys.head is None:
        what = f"a frozen {model.key} has no head to train"
        yield ("task", keys.task.index("freeze")), what, "add head = classification"


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Task | Head) else value


def _usual_tokens(model: Model) -> int:
    """Tokens of a sequence where nobody says: what the model reads of an image or a sound, else 512 or all it can."""
    if model.encoder_tokens:
        return model.encoder_tokens
    if model.stem:
        return model.max_positions
    words = min(512, _most_tokens(model))
    return words + sum(tower.sequence_tokens for tower in model.towers)


def _most_tokens(model: Model) -> int:
    if model.encoder_tokens:
        return model.encoder_tokens
    is_limited = model.positions == "learned" and model.max_positions > 0 and model.kind != "encoder-decoder"
    return model.max_positions if is_limited else 10**7


def _head(asked: HeadName | None, task: str, model: Model) -> Head:
    if asked:
        return Head(asked)
    if model.kind == "diffusion":
        return Head.NONE
    roles = {tower.role for tower in model.towers}
    if "contrast" in roles:
        return Head.CONTRASTIVE
    if "generator" in roles and task == Task.PRETRAIN:
        return Head.REPLACED_TOKEN
    classifies = model.kind == "vit" or (model.kind == "encoder" and task != Task.PRETRAIN)
    return Head.CLASSIFICATION if classifies else Head.LANGUAGE_MODEL


def _head_positions(keys: WorkloadKeys, head: Head, model: Model) -> int:
    tokens = (keys.decoder_seq_len or 0) if model.kind == "encoder-decoder" else keys.seq_len
    if head is Head.LANGUAGE_MODEL:
        return keys.mlm_positions or tokens
    return {Head.SPAN: tokens, Head.REPLACED_TOKEN: tokens, Head.NONE: 0}.get(head, 1)


def _steps(keys: WorkloadKeys) -> int:
    if keys.steps is not None:
        return keys.steps
    if keys.tokens is not None:
        return math.ceil(keys.tokens / (keys.global_batch_size * keys.seq_len))
    return math.ceil((keys.samples or 0) * (keys.epochs or 1.0) / keys.global_batch_size)


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
