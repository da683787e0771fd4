"""What all graphs of a step cost: the embedding, every kind of layer, the head, or a net's units."""

from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.model import Model
from perfsim.core.numbers import Floats
from perfsim.core.optimizer import OPTIMIZERS
from perfsim.core.plan import Plan
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.formulas.losses import loss_bytes
from perfsim.formulas.operations import Linear, Loss
from perfsim.formulas.parameters import count as count_parameters
from perfsim.formulas.power import NOTHING, Activity
from perfsim.graphs.blocks import blocks
from perfsim.graphs.builder import is_autocast
from perfsim.graphs.costs import Cost, graph_cost
from perfsim.graphs.kernels import Lowering
from perfsim.graphs.lifetimes import Lifetimes, lifetimes
from perfsim.graphs.recompute import with_selection
from perfsim.graphs.transformer import step_graphs

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class Part:
    """One graph of the step, an end or `count` layers alike, spread evenly over the `span` layers from `first` on.

    matrices: bytes of one weight matrix of each product, in the format of activations [B].
    """

    count: int
    first: int
    span: int
    cost: Cost
    matrices: dict[str, Floats]


@dataclass(frozen=True)
class StepCosts:
    """The embedding, all layers together and the head; `kinds`: one layer of each kind.

    redone: all layers that can be recomputed, which are those that something goes back through.
    operations: each operation of a layer, of the embedding and of the head, forward and backward.
    """

    embedding: Part
    layers: Cost
    redone: Cost
    kinds: tuple[Part, ...]
    head: Part
    operations: dict[str, tuple[Activity, Activity]]

    @property
    def layer_count(self) -> int:
        """Layers of all kinds."""
        return sum(kind.count for kind in self.kinds)


def step_costs(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration
) -> StepCosts:
    """Costs of every graph of a step; arrays over the plan's tensor, context, expert and micro-batch choices only."""
    lowering = Lowering(
        software, workload.precision.matmul, is_autocast(workload, software),
        orthogonalises=OPTIMIZERS[workload.optimizer].orthogonalises,
        has_fused_loss=workload.fused_linear_loss,
        has_8_bit_attention=workload.precision.has_8_bit_attention,
    )  # fmt: skip
    load = _expert_load(workload, plan)
    operations: dict[str, tuple[Activity, Activity]] = {}
    ends: dict[str, Part] = {}
    kinds: list[Part] = []
    redone: list[Part] = []
    places = {block.name: block for block in blocks(workload.model)}
    phases: dict[str, tuple[Floats, Floats]] = {}
    for part, count, graph in step_graphs(workload, plan, software, software.attention):
        of_pass = lowering.of(graph)
        cost, work = graph_cost(graph, system, plan, software, calibration, of_pass, load)
        cost = _with_lives(cost, lifetimes(graph, load, _loss_bytes(graph, workload, software)), of_pass.has_backward)
        if of_pass.has_backward:
            cost = with_selection(cost, graph, work, software)
        place = places.get(part)
        prefix = prefix_of(workload.model, part)
        operations |= {prefix + name: activities for name, activities in work.items()}
        found = Part(count, place.first if place else 0, place.span if place else 0, cost, _matrices(graph))
        if place or workload.model.nets:
            kinds.append(found)
            redone += [found] if of_pass.has_backward else []
        else:  # what towers begin and end with lies on the first stage
            end = "head" if part == "head" else "embedding"
            ends[end] = _joined(ends[end], found) if end in ends else found
        if phase := graph.graph.get("phase"):
            kept, inputs = phases.get(phase, (0.0, 0.0))
            phases[phase] = kept + count * cost.kept_bytes, inputs + count * cost.input_bytes
    if workload.model.nets:
        return _net_costs(workload.model, kinds, list(phases.values()), operations)
    total = _together(kinds)
    again = total if len(redone) == len(kinds) else _together(redone)
    return StepCosts(ends["embedding"], total, again, tuple(kinds), ends["head"], operations)


def _together(kinds: list[Part]) -> Cost:
    return reduce(Cost.plus, (kind.cost.times(kind.count) for kind in kinds), Cost())


def _joined(one: Part, other: Part) -> Part:
    return replace(one, cost=one.cost.plus(other.cost), matrices=one.matrices | other.matrices)


def _loss_bytes(graph: "nx.DiGraph[str]", workload: Workload, software: Software) -> dict[str, Floats]:
    """What is held while each of the graph's losses runs [B]."""
    found: dict[str, Floats] = {}
    for name in graph:
        loss = graph.nodes[name]["operation"]
        if isinstance(loss, Loss):
            product = graph.nodes[next(graph.predecessors(name))]["operation"]
            found[name] = loss_bytes(loss, product, workload, software)
    return found


def prefix_of(model: Model, part: str) -> str:
    """What the names of a part's operations begin with; a decoder's kinds of layer share theirs.

    >>> import perfsim as ps
    >>> [prefix_of(ps.model("t5-base"), part) for part in ("embedding", "encoder", "decoder")]
    ['embedding.', 'encoder.', 'layer.']
    """
    is_own = model.nets or part in ("embedding", "head") or "encoder" in part or "." in part
    return f"{part}." if is_own else "layer."


def _matrices(graph: "nx.DiGraph[str]") -> dict[str, Floats]:
    """Bytes of one weight matrix of each product, in the format of activations [B]."""
    found = {name: graph.nodes[name]["operation"] for name in graph}
    return {
        name: operation.columns * operation.contraction * operation.activation_bytes
        for name, operation in found.items()
        if isinstance(operation, Linear)
    }


def _with_lives(cost: Cost, lives: Lifetimes, has_backward: bool) -> Cost:
    """The cost with what is kept and how full the backward pass gets; nothing is kept where nothing goes back."""
    if has_backward:
        return replace(cost, kept_bytes=lives.kept_bytes, peak_bytes=lives.peak_bytes)
    return replace(cost, peak_bytes=lives.peak_bytes - lives.kept_bytes, input_bytes=0.0)


def _net_costs(
    model: Model, units: list[Part], phases: list[tuple[Floats, Floats]],
    operations: dict[str, tuple[Activity, Activity]],
) -> StepCosts:  # fmt: skip
    """A net's units as layers all like their mean, but for the fullest one's backward pass.

    Parameters count once, however many passes read them; the fuller phase decides what is kept. phases: (all that is
    kept, the units' inputs) of each [B].
    """
    counted, units_in_all = count_parameters(model), sum(unit.count for unit in units)
    total = reduce(Cost.plus, (unit.cost.times(unit.count) for unit in units))
    kept, inputs = (reduce(np.maximum, amounts) for amounts in zip(*phases, strict=True))
    whole = replace(
        total, weights=1.0 * counted.total, trained_weights=1.0 * counted.total, tensors=1.0 * counted.tensors,
        kept_bytes=kept, input_bytes=inputs, selected_kept_bytes=kept, selected=NOTHING, selected_flops=0.0,
    )  # fmt: skip
    passing = reduce(np.maximum, (unit.cost.peak_bytes - unit.cost.kept_bytes for unit in units))
    mean = whole.times(1.0 / units_in_all)
    mean = replace(mean, peak_bytes=mean.kept_bytes + passing)
    none = Part(1, 0, 0, Cost(), {})
    return StepCosts(none, whole, whole, (Part(units_in_all, 0, units_in_all, mean, {}),), none, operations)


def _expert_load(workload: Workload, plan: Plan) -> Floats:
    """Tokens of the busiest expert-parallel rank over the mean; one rank has all experts and so all tokens."""
    return np.where(np.asarray(plan.expert_parallel) > 1, workload.expert_imbalance, 1.0)
