"""A training job from the keys of a scenario's [workload]: from a file, from the command line or from Python."""

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from perfsim.core.model import Model
from perfsim.core.workload import DEFAULT_LORA_RANK, PRECISIONS, Head, Task, Workload, model_of
from perfsim.formulas.parameters import base_bytes
from perfsim.inputs import explain
from perfsim.inputs.misfits import head_of, misfits, most_tokens
from perfsim.inputs.scenario_file import WorkloadKeys, with_aliases


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
        defaults["seq_len"] = _usual_tokens(model)
    try:
        checked = WorkloadKeys.model_validate(defaults | given)
    except ValidationError as error:
        raise explain.input_error(with_aliases(explain.explain(error, WorkloadKeys))) from None
    found = [*checked.problems(), *misfits(checked, model)]
    if len(checked.task) > 1:
        found.append((("task",), "names more than one task", "make one workload of each"))
    if found:
        raise explain.input_error(found)
    return workload_of(checked, checked.task[0], model)


def workload_of(keys: WorkloadKeys, task: str, model: Model) -> Workload:
    """The job of checked keys."""
    precision = PRECISIONS[keys.precision]
    head = head_of(keys.head, task, model)
    is_adapter = task in (Task.LORA, Task.QLORA)
    model = model_of(_thawed(keys.trained_towers, model), Task(task), head)
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
        base_bytes=base_bytes(Task(task), precision, model),
    )


def _thawed(trained: Collection[str], model: Model) -> Model:
    """The model with these of its frozen towers trained."""
    towers = (replace(tower, is_frozen=tower.is_frozen and tower.name not in trained) for tower in model.towers)
    return replace(model, towers=tuple(towers))


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Task | Head) else value


def _usual_tokens(model: Model) -> int:
    """Tokens of a sequence where nobody says: what the model reads of an image or a sound, else 512 or all it can."""
    if model.encoder_tokens:
        return model.encoder_tokens
    if model.stem:
        return model.max_positions
    words = min(512, most_tokens(model))
    return words + sum(tower.sequence_tokens for tower in model.towers)


def _head_positions(keys: WorkloadKeys, head: Head, model: Model) -> int:
    tokens = (keys.decoder_seq_len or 0) if model.kind == "encoder-decoder" else keys.seq_len or 1
    if head is Head.LANGUAGE_MODEL:
        return keys.mlm_positions or tokens
    return {Head.SPAN: tokens, Head.REPLACED: tokens, Head.NONE: 0}.get(head, 1)


def _steps(keys: WorkloadKeys) -> int:
    if keys.steps is not None:
        return keys.steps
    if keys.tokens is not None:
        return math.ceil(keys.tokens / (keys.global_batch_size * (keys.seq_len or 1)))
    packed = (keys.seq_len or 1) / keys.sample_tokens if keys.packed and keys.sample_tokens else 1.0
    return math.ceil((keys.samples or 0) * (keys.epochs or 1.0) / (keys.global_batch_size * packed))
