"""What the first and the last stage of a pipeline hold: the fullest two, for they have the model's ends."""

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import add

import numpy as np

from perfsim.core.arrays import once_each, shape_of
from perfsim.core.hardware import System, is_told
from perfsim.core.numbers import Bools, Floats, Ints
from perfsim.core.plan import Plan
from perfsim.core.workload import Head, Task, Workload
from perfsim.formulas.memory import Held
from perfsim.formulas.parameters import head_parameters
from perfsim.formulas.pipeline import has_both_ends
from perfsim.formulas.stages import layers_on_stage
from perfsim.graphs.stage import Holding, StageCosts, cost_choices


def stage_holdings(workload: Workload, system: System, plan: Plan, costs: StageCosts) -> tuple[Held, Held]:
    """What one GPU of the first and one of the last stage hold; with one stage the same, all of the model.

    Computed once for each distinct choice that it depends on, as graphs.stage.stage_costs is.
    """

    def compute(these: Plan, found: StageCosts) -> tuple[Held, Held]:
        p = np.asarray(these.pipeline_parallel)
        has_both = has_both_ends(these.schedule, p)
        last = np.where(has_both, 0, p - 1)  # where first and last layers are together, the other stages hold less
        layers = [
            [_layers(kind, these, found.layer_count, stage) for kind in found.kinds] for stage in (np.asarray(0), last)
        ]
        first = _held(workload, these, found, layers[0], True, has_both)
        return first, _held(workload, these, found, layers[1], has_both, True)

    if shape_of(workload) != () or not is_told(system):
        return compute(plan, costs)
    return once_each(
        (*cost_choices(system, plan), plan.pipeline_parallel, plan.virtual_stages, plan.schedule), compute, plan, costs
    )


def unit_holdings(workload: Workload, plan: Plan, costs: StageCosts) -> list[Held]:
    """What the embedding, each layer in turn and the head hold, where embedding and head lie on stages of their own."""
    none = [0.0] * len(costs.kinds)
    layers = [_held(workload, plan, costs, of_kind, False, False) for of_kind in kinds_of_layers(costs)]
    front, back = (_held(workload, plan, costs, none, is_front, not is_front) for is_front in (True, False))
    return [front, *layers, back]


def kinds_of_layers(costs: StageCosts) -> list[list[float]]:
    """How much of each layer is of each kind, for all layers in turn."""
    return [
        [kind.count / kind.span * (kind.first <= layer < kind.first + kind.span) for kind in costs.kinds]
        for layer in range(costs.layer_count)
    ]


def _held(
    workload: Workload, plan: Plan, costs: StageCosts, of_kind: Sequence[Floats], has_front: Bools, has_back: Bools
) -> Held:
    """What a stage holds of so many layers of each kind and, where it has them, of the embedding and of the head."""
    embedding, head, kinds = costs.embedding, costs.head, costs.kinds

    def total(amounts: Iterable[Floats]) -> Floats:
        return reduce(add, (n * amount for n, amount in zip(of_kind, amounts, strict=True)))

    def most(amounts: Iterable[Floats]) -> Floats:
        present = (np.where(n > 0, amount, 0.0) for n, amount in zip(of_kind, amounts, strict=True))
        return reduce(np.maximum, present)

    model = workload.model
    front = embedding.weights + model.loose_parameters
    vocabulary = _own_vocabulary(workload, head, has_front)
    back = head.weights + vocabulary
    is_own = (vocabulary > 0.0) & (np.asarray(embedding.trained_weights) > 0.0)
    sides = np.where(is_own, vocabulary / max(model.hidden_size, 1) + model.hidden_size, 0.0)
    ends = has_front * front + has_back * back
    return Held(
        parameters=total(kind.weights for kind in kinds) + ends,
        expert_parameters=total(kind.expert_weights for kind in kinds),
        trained_parameters=total(kind.trained_weights for kind in kinds)
        + has_front * front * embedding.trained_weights / np.maximum(embedding.weights, 1.0)
        + has_back * _trained_back(workload, plan, head, back),
        hidden_parameters=total(kind.hidden_weights for kind in kinds),
        factors=total(kind.factors for kind in kinds)
        + has_front * embedding.factors
        + has_back * (head.factors + sides),
        embedding_parameters=has_front * embedding.trained_weights,
        unit_parameters=most(kind.weights for kind in kinds),
        end_parameters=np.where(has_back & (vocabulary > 0.0), back, front),
        kept_bytes=total(kind.kept_bytes for kind in kinds) + has_front * embedding.kept_bytes,
        layer_bytes=most(kind.kept_bytes for kind in kinds),
        passing_bytes=most(kind.passing_bytes for kind in kinds),
        loss_bytes=has_back * (head.kept_bytes + head.passing_bytes),
        gathered_bytes=plan.micro_batch_size * workload.seq_len / np.asarray(plan.context_parallel)
        * model.hidden_size * workload.precision.activation_bytes,
        matrices_bytes=_matrices_bytes(kinds, of_kind) + has_back * reduce(add, head.matrices.values(), 0.0),
    )  # fmt: skip


def _trained_back(workload: Workload, plan: Plan, head: Holding, back: Floats) -> Floats:
    """Trained parameters of the head: everything that stands there, or what the task trains of it alone."""
    if workload.task in (Task.PRETRAIN, Task.FINETUNE):
        return back
    has_words = workload.trains_head and workload.head is Head.LANGUAGE_MODEL  # tied or not
    words = head_parameters(workload.model, workload.head) / np.asarray(plan.tensor_parallel)
    return head.trained_weights + (words if has_words else 0.0)


def _layers(kind: Holding, plan: Plan, layers: int, stage: Ints) -> Floats:
    p, v = plan.pipeline_parallel, plan.virtual_stages
    is_mirrored = has_both_ends(plan.schedule, p) & (np.asarray(p) > 1)
    there = layers_on_stage(kind.first, kind.span, layers, stage, p, v, is_mirrored)
    return kind.count / kind.span * there


def _own_vocabulary(workload: Workload, head: Holding, has_front: Bools) -> Floats:
    """Parameters of the head's own matrix: untied, or tied to an embedding that lies on another stage."""
    model = workload.model
    if workload.head is not Head.LANGUAGE_MODEL or model.adaptive_softmax_cutoffs:
        return 0.0
    is_tied = model.has_tied_embeddings or model.kind == "encoder"
    matrix = head.matrices["logits"] / workload.precision.activation_bytes
    return matrix * np.where(has_front & is_tied, 0.0, 1.0)


def _matrices_bytes(kinds: Iterable[Holding], of_kind: Iterable[Floats]) -> Floats:
    """Bytes of one matrix of each product on a stage [B]; products of the same name are alike in all kinds of layer."""
    size: dict[str, Floats] = {}
    is_there: dict[str, Bools] = {}
    for kind, n in zip(kinds, of_kind, strict=True):
        for name, matrix in kind.matrices.items():
            size[name] = matrix
            is_there[name] = is_there.get(name, False) | (np.asarray(n) > 0)
    return reduce(add, (np.where(is_there[name], size[name], 0.0) for name in size), 0.0)
