"""What a model cannot do of what a workload asks of it, and what to write instead."""

from collections.abc import Iterator

from perfsim.core.model import Model
from perfsim.core.optimizer import OPTIMIZERS
from perfsim.core.workload import Head, Task
from perfsim.inputs.positions import Loc
from perfsim.inputs.scenario_file import HeadName, WorkloadKeys

Found = tuple[Loc, str, str]

_TASKS_OF_NETS = ("pretrain", "finetune")
_LANGUAGE_KINDS = ("encoder", "decoder", "encoder-decoder")


def most_tokens(model: Model) -> int:
    """Tokens of the longest sequence that the model reads."""
    if model.encoder_tokens:
        return model.encoder_tokens
    is_limited = model.positions == "learned" and model.max_positions > 0 and model.kind != "encoder-decoder"
    return model.max_positions if is_limited else 10**7


def head_of(asked: HeadName | None, task: str, model: Model) -> Head:
    """What stands on top of the model: what is asked for, else what its kind and the task mean."""
    if asked:
        return Head(asked)
    if model.kind == "diffusion" or model.nets:
        return Head.NONE
    roles = {tower.role for tower in model.towers}
    if "contrast" in roles:
        return Head.CONTRASTIVE
    if "generator" in roles and task == Task.PRETRAIN:
        return Head.REPLACED
    classifies = model.kind == "vit" or (model.kind == "encoder" and task != Task.PRETRAIN)
    return Head.CLASSIFICATION if classifies else Head.LANGUAGE_MODEL


def misfits(keys: WorkloadKeys, model: Model) -> Iterator[Found]:
    """What a model cannot do of what is asked of it."""
    if model.nets:
        yield from _misfits_of_nets(keys, model)
    elif keys.seq_len is None:
        yield ("seq_len",), "is missing", "add it"
    elif model.encoder_tokens and keys.seq_len != model.encoder_tokens:
        what = f"{model.key} always reads {model.encoder_tokens:,} tokens, not {keys.seq_len:,}"
        yield ("seq_len",), what, f"write {model.encoder_tokens:,}"
    elif keys.seq_len > most_tokens(model):
        what = f"{model.key} has learned positions for {model.max_positions:,} tokens, not for {keys.seq_len:,}"
        yield ("seq_len",), what, f"write at most {model.max_positions:,}"
    yield from _misfits_of_heads(keys, model)
    yield from _misfits_of_towers(keys, model)
    if model.kind == "encoder-decoder" and keys.decoder_seq_len is None:
        yield (), f"decoder_seq_len is missing: {model.key} reads one sequence and writes another", "add it"
    if model.kind != "encoder-decoder" and keys.decoder_seq_len is not None:
        yield ("decoder_seq_len",), f"{model.key} has no second sequence", "remove it"
    if keys.image_size is not None and not model.nets:
        yield ("image_size",), f"{model.key} is no convolutional model", "remove it"
    if keys.expert_imbalance is not None and model.moe is None:
        yield ("expert_imbalance",), f"{model.key} has no experts", "remove it"
    yield from _misfits_of_samples(keys, model)
    if keys.mlm_positions is not None and model.kind != "encoder":
        yield ("mlm_positions",), f"{model.key} is no masked language model", "remove it"


def _misfits_of_samples(keys: WorkloadKeys, model: Model) -> Iterator[Found]:
    if keys.sample_tokens and keys.seq_len and keys.sample_tokens > keys.seq_len:
        what = f"{keys.sample_tokens:g} tokens of a sample do not fit into sequences of {keys.seq_len:,}"
        yield ("sample_tokens",), what, "write the mean after truncation, or a longer seq_len"
    if (keys.packed or keys.sample_spread) and not keys.sample_tokens:
        yield ("sample_tokens",), "is missing: how long are the samples that are packed?", "add their mean length"
    if keys.packed and model.kind not in _LANGUAGE_KINDS:
        yield ("packed",), f"{model.key} has no sequences of words to pack", "remove it"
    if keys.packed and any(tower.sequence_tokens for tower in model.towers):
        yield ("packed",), f"{model.key} reads one image a sequence, several are not modelled yet", "remove it"


def _misfits_of_heads(keys: WorkloadKeys, model: Model) -> Iterator[Found]:
    has_contrast = any(tower.role == "contrast" for tower in model.towers)
    if keys.head in (Head.LANGUAGE_MODEL, Head.SPAN) and model.kind not in _LANGUAGE_KINDS:
        yield ("head",), f"{model.key} has no words to predict", "remove it"
    if keys.head == Head.CONTRASTIVE and not has_contrast:
        yield ("head",), f"{model.key} has no second tower to compare with", "remove it"
    if keys.head == Head.REPLACED and model.kind != "encoder":
        yield ("head",), f"{model.key} is no encoder", "remove it"
    if keys.loss_chunks > 1 or keys.fused_linear_loss:
        others = [task for task in keys.task if head_of(keys.head, task, model) is not Head.LANGUAGE_MODEL]
        if others or model.adaptive_softmax_cutoffs:
            key = "fused_linear_loss" if keys.fused_linear_loss else "loss_chunks"
            yield (key,), "is for losses over a vocabulary", "remove it, or use a language-model head"
    if "freeze" in keys.task and keys.head is None and (has_contrast or model.kind == "diffusion"):
        todo = "add head = classification" if has_contrast else "write lora or finetune"
        yield ("task", keys.task.index("freeze")), f"trains the head alone, and {model.key} has none", todo


def _misfits_of_towers(keys: WorkloadKeys, model: Model) -> Iterator[Found]:
    tokens = sum(tower.sequence_tokens for tower in model.towers)
    if keys.seq_len is not None and keys.seq_len <= tokens:
        what = f"{keys.seq_len:,} leaves nothing beside the {tokens:,} tokens that {model.key}'s towers put there"
        yield ("seq_len",), what, f"write more than {tokens:,}: words and those tokens"
    names = [tower.name for tower in model.towers if tower.is_frozen]
    for i, name in enumerate(keys.trained_towers):
        if name not in names:
            has = f"its frozen towers are {', '.join(names)}" if names else f"{model.key} has none"
            yield ("trained_towers", i), f"{name} is no frozen tower", f"{has}; remove it"


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
