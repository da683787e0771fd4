"""What a graph costs on one GPU: kernel seconds, launches, exchanges, weights and kept activations, part by part."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.model import Model
from perfsim.core.numbers import Floats
from perfsim.core.plan import Plan
from perfsim.core.software import Software
from perfsim.core.workload import Task, Workload
from perfsim.formulas.collectives import all_reduce_seconds, all_to_all_seconds, half_seconds
from perfsim.formulas.groups import context_group, expert_group, route, tensor_group
from perfsim.formulas.operations import Attention, Exchange, Linear, Lookup, Loss, Norm, Operation
from perfsim.formulas.parameters import count as count_parameters
from perfsim.formulas.power import NOTHING, Activity
from perfsim.formulas.roofline import Kernel, kernel_activity
from perfsim.graphs.kernels import Lowering
from perfsim.graphs.transformer import is_autocast, step_graphs

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class Cost:
    """One graph on one GPU, one micro-batch: kernels, and exchanges as if alone.

    forward, backward: all kernels; core: the attention operation, which selective recomputation redoes; tail: what
    recomputation that stops early leaves out (the last product and its residual sum); split_forward, split_backward:
    the column-split products, beside which tensor exchanges can run. tensor_whole_seconds: the sublayers' all-reduces;
    tensor_half_seconds: one of their halves; context_ring_seconds: passing keys and values around once.
    """

    forward: Activity = NOTHING
    backward: Activity = NOTHING
    core: Activity = NOTHING
    tail: Activity = NOTHING
    split_forward: Activity = NOTHING
    split_backward: Activity = NOTHING
    tensor_whole_seconds: Floats = 0.0
    tensor_half_seconds: Floats = 0.0
    context_ring_seconds: Floats = 0.0
    expert_seconds: Floats = 0.0
    forward_flops: Floats = 0.0
    backward_flops: Floats = 0.0
    core_flops: Floats = 0.0
    weights: Floats = 0.0
    expert_weights: Floats = 0.0
    trained_weights: Floats = 0.0
    tensors: Floats = 0.0
    saved_bytes: Floats = 0.0
    core_saved_bytes: Floats = 0.0
    input_bytes: Floats = 0.0
    logits: Floats = 0.0

    def times(self, count: float) -> "Cost":
        """`count` graphs like this one."""
        return self._each(lambda value: value.times(count) if isinstance(value, Activity) else count * value)

    def plus(self, other: "Cost") -> "Cost":
        """Both graphs."""
        values = {f.name: getattr(other, f.name) for f in fields(self)}
        return Cost(**{name: _sum(getattr(self, name), value) for name, value in values.items()})

    def _each(self, change: Callable[[Any], Any]) -> "Cost":
        return Cost(**{f.name: change(getattr(self, f.name)) for f in fields(self)})


def _sum(one: Any, other: Any) -> Any:
    return one.plus(other) if isinstance(one, Activity) else one + other


@dataclass(frozen=True)
class StepCosts:
    """The embedding, all layers together and the head; `layer` is one layer of the most common kind, `kinds` all.

    operations: each operation of that layer, of the embedding and of the head, forward and backward.
    """

    embedding: Cost
    layers: Cost
    layer: Cost
    kinds: tuple[tuple[int, Cost], ...]
    head: Cost
    layer_count: int
    operations: dict[str, tuple[Activity, Activity]]


class _Tally:
    """Sums by name. Adds out of place: `+=` would write into the arrays of an operation."""

    def __init__(self) -> None:
        self.sums: dict[str, Floats] = {}
        self.activities: dict[str, Activity] = {}

    def add(self, **amounts: Floats) -> None:
        """Add to the sums of these names."""
        for name, amount in amounts.items():
            self.sums[name] = self.of(name) + amount

    def do(self, **activities: Activity) -> None:
        """Add to the activities of these names."""
        for name, activity in activities.items():
            self.activities[name] = self.activities.get(name, NOTHING).plus(activity)

    def of(self, name: str) -> Floats:
        """The sum so far."""
        return self.sums.get(name, 0.0)


def step_costs(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration
) -> StepCosts:
    """Costs of every graph of a step; arrays over the plan's tensor, context, expert and micro-batch choices only."""
    has_backward = workload.task is not Task.FREEZE
    lowering = Lowering(software, workload.precision.matmul, is_autocast(workload, software), has_backward)
    operations: dict[str, tuple[Activity, Activity]] = {}
    found: dict[str, tuple[int, Cost]] = {}
    phases: dict[str, tuple[Floats, Floats]] = {}
    for part, count, graph in step_graphs(workload, plan, software, software.attention):
        is_own = workload.model.nets or part in ("embedding", "head") or "encoder" in part
        prefix = f"{part}." if is_own else "layer."
        of_pass, load = lowering.of(graph), _expert_load(workload, plan)
        costs = _graph_cost(graph, system, plan, software, calibration, of_pass, load)
        found[part] = count, costs[0]
        operations |= {prefix + name: work for name, work in costs[1].items()}
        if phase := graph.graph.get("phase"):
            kept = phases.get(phase, (0.0, 0.0))
            phases[phase] = kept[0] + count * costs[0].saved_bytes, kept[1] + count * costs[0].input_bytes
    if workload.model.nets:
        return _net_costs(workload.model, found, list(phases.values()), operations)
    layers = [entry for part, entry in found.items() if part not in ("embedding", "head")]
    total = Cost()
    for count, cost in layers:
        total = total.plus(cost.times(count))
    _, common = max(layers, key=lambda entry: entry[0])
    return StepCosts(
        found["embedding"][1], total, common, tuple(layers), found["head"][1], sum(n for n, _ in layers), operations
    )


def _net_costs(
    model: Model, found: dict[str, tuple[int, Cost]], phases: list[tuple[Floats, Floats]],
    operations: dict[str, tuple[Activity, Activity]],
) -> StepCosts:  # fmt: skip
    """A net's units as the layers. Parameters count once, however many passes read them; the fuller phase decides.

    phases: (all that is kept, the units' inputs) of each [B].
    """
    units, counted = list(found.values()), count_parameters(model)
    total = reduce(Cost.plus, (cost.times(count) for count, cost in units))
    saved, inputs = (reduce(np.maximum, kept) for kept in zip(*phases, strict=True))
    whole = replace(
        total, weights=1.0 * counted.total, trained_weights=1.0 * counted.total, tensors=1.0 * counted.tensors,
        saved_bytes=saved, input_bytes=inputs,
    )  # fmt: skip
    fullest = replace(Cost(), saved_bytes=reduce(np.maximum, (cost.saved_bytes for _, cost in units)))
    head = Cost(logits=total.logits)
    return StepCosts(Cost(), whole, fullest, tuple(units), head, sum(count for count, _ in units), operations)


def _graph_cost(
    graph: "nx.DiGraph[str]", system: System, plan: Plan, software: Software, calibration: Calibration,
    lowering: Lowering, expert_load: Floats,
) -> tuple[Cost, dict[str, tuple[Activity, Activity]]]:  # fmt: skip
    """One graph's cost, and that of each of its operations; on the rank with the most tokens for its experts."""

    def together(kernels: tuple[Kernel, ...]) -> Activity:
        each = (kernel_activity(kernel, system.gpu, software, calibration) for kernel in kernels)
        return reduce(Activity.plus, each, NOTHING)

    tally = _Tally()
    work: dict[str, tuple[Activity, Activity]] = {}
    for name in graph:
        operation: Operation = graph.nodes[name]["operation"]
        lowered = lowering.lower(operation)
        forward, backward = together(lowered.forward), together(lowered.backward)
        if is_expert(name):
            forward, backward = _loaded(forward, expert_load), _loaded(backward, expert_load)
        work[name] = forward, backward
        tally.do(forward=forward, backward=backward)
        tally.add(forward_flops=operation.forward_flops)
        tally.add(backward_flops=operation.backward_flops if lowering.has_backward else 0.0)
        match operation:
            case Attention():
                tally.do(core=forward)
                tally.add(core_flops=operation.forward_flops)
                tally.add(core_saved_bytes=0.0 if operation.is_flash else operation.saved_bytes)
            case Linear():
                _count_weights(operation, name, tally)
                if name.endswith(("qkv", "query", "_up")):
                    tally.do(split_forward=forward, split_backward=backward)
            case Norm():
                tally.add(weights=operation.width)
                tally.add(trained_weights=operation.width * operation.is_trained)
                tally.add(tensors=2.0)
            case Lookup():
                tally.add(weights=operation.table_values)
                tally.add(trained_weights=operation.table_values * operation.is_trained)
                tally.add(tensors=operation.tables)
            case Loss():
                tally.add(logits=operation.logits)
        if name in ("mlp_down", "experts_down", "mlp_residual"):
            tally.do(tail=forward)
    _exchanges(graph, system, plan, tally, expert_load)
    is_kept = graph.graph.get("has_backward", True)
    tally.add(saved_bytes=saved_bytes(graph, expert_load) if is_kept else 0.0)
    inputs = graph.nodes["input"]["values"] * graph.nodes["input"]["operation"].activation_bytes
    tally.add(input_bytes=inputs if is_kept else 0.0)
    amounts: dict[str, Any] = tally.sums | tally.activities
    return Cost(**amounts), {name: w for name, w in work.items() if name != "input"}


def _expert_load(workload: Workload, plan: Plan) -> Floats:
    """Tokens of the busiest expert-parallel rank over the mean; one rank has all experts and so all tokens."""
    return np.where(np.asarray(plan.expert_parallel) > 1, workload.expert_imbalance, 1.0)


def _loaded(work: Activity, load: Floats) -> Activity:
    """The same kernels over `load` times the tokens."""
    return replace(work.times(load), launches=work.launches)


def is_expert(name: str) -> bool:
    """The operation works on tokens in expert order."""
    return name.startswith("experts_") and name != "experts_sum"


def _count_weights(operation: Linear, name: str, tally: "_Tally") -> None:
    weights = operation.weights + operation.count * operation.columns * operation.has_bias
    adapter = operation.count * operation.adapter_rank * (operation.columns + operation.contraction)
    is_tied = name.startswith("logits") and operation.is_vocabulary
    tally.add(tensors=1.0 + operation.has_bias)
    if is_tied:
        return
    tally.add(weights=weights)
    tally.add(trained_weights=adapter if operation.adapter_rank else weights * operation.is_trained)
    if name.startswith("experts_"):
        tally.add(expert_weights=weights)


def _exchanges(graph: "nx.DiGraph[str]", system: System, plan: Plan, tally: "_Tally", expert_load: Floats) -> None:
    """Seconds of the graph's collectives, each as if nothing ran beside it (graphs.stage says what sticks out)."""
    tensor = route(system, tensor_group(plan))
    for name in graph:
        operation = graph.nodes[name]["operation"]
        if not isinstance(operation, Exchange):
            continue
        size = operation.size_bytes * (expert_load if is_expert(name) or operation.group == "expert" else 1.0)
        match operation.group:
            case "tensor":
                tally.add(tensor_whole_seconds=all_reduce_seconds(tensor, size))
                tally.add(tensor_half_seconds=half_seconds(tensor, size))
            case "expert":
                once = all_to_all_seconds(route(system, expert_group(plan)), size)
                tally.add(expert_seconds=2.0 * once)
            case "context":
                ring = half_seconds(route(system, context_group(plan)), size)
                tally.add(context_ring_seconds=ring)


def saved_bytes(graph: "nx.DiGraph[str]", expert_load: Floats = 1.0) -> Floats:
    """Bytes of a graph's tensors that autograd keeps for the backward pass, each counted once [B].

    An operation keeps its inputs, its output or both, and private extras (masks, statistics, probabilities); what is
    in expert order, `expert_load` times as much.
    """
    kept: dict[str, None] = {}
    total: Floats = 0.0
    for name in graph:
        operation: Operation = graph.nodes[name]["operation"]
        if operation.saves in ("input", "both"):
            kept.update(dict.fromkeys(graph.predecessors(name)))
        if operation.saves in ("output", "both"):
            kept[name] = None
        total = total + operation.saved_bytes * (expert_load if is_expert(name) else 1.0)
    if graph.graph.get("has_kept_input"):
        kept.pop("input", None)
    for name in kept:
        size = graph.nodes[name]["values"] * graph.nodes[name]["operation"].activation_bytes
        total = total + size * (expert_load if is_expert(name) or name == "dispatch_exchange" else 1.0)
    return total
