"""What a graph costs on one GPU: kernel seconds, launches, exchanges, weights and kept activations, part by part."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.numbers import Floats
from perfsim.core.plan import Plan
from perfsim.core.software import Software
from perfsim.formulas.collectives import all_reduce_seconds, all_to_all_seconds, half_seconds
from perfsim.formulas.groups import context_group, expert_group, route, tensor_group
from perfsim.formulas.operations import Attention, Exchange, Linear, Lookup, Loss, Norm, Operation
from perfsim.formulas.power import NOTHING, Activity
from perfsim.formulas.roofline import Kernel, kernel_activity
from perfsim.graphs.kernels import Lowering
from perfsim.graphs.lifetimes import is_expert
from perfsim.graphs.updates import orthogonal_kernels

if TYPE_CHECKING:
    import networkx as nx


# products that tensor parallelism splits by column and by row
_COLUMN_SPLIT = ("qkv", "query", "_up")
LAST_PRODUCTS = ("mlp_down", "experts_down")
_ROW_SPLIT = ("_output", "mlp_down", "expert_down")


@dataclass(frozen=True)
class Cost:
    """One graph on one GPU, one micro-batch: kernels, and exchanges as if alone.

    forward, backward: all kernels; weight: those backward that give the weights' gradients; core: the attention
    operation; tail: what recomputation that stops early leaves out (the last product and its residual sum); column_…,
    row_…: the products that tensor parallelism splits by column and by row, beside which its exchanges can run.
    tensor_whole_seconds: the sublayers' all-reduces; tensor_half_seconds: their reduce-scatters;
    tensor_gather_seconds: their all-gathers. Once each: expert_tensor_seconds: gathering the tokens of tensor-parallel
    experts and reducing what they make of them; adapted_gather_seconds: gathering the inputs of column-split products
    with adapters, in 16 bits; adapted_swap_seconds: bringing the outputs of row-split products' adapters to the ranks
    whose rows they are; context_ring_seconds: passing keys and values around; context_swap_seconds: heads for tokens
    and back. kept, peak: graphs.lifetimes; selected: graphs.recompute. factors: rows and columns of trained matrices,
    and trained vectors; hidden_weights: trained weights of products; orthogonal: Muon's products on them.
    """

    forward: Activity = NOTHING
    backward: Activity = NOTHING
    weight: Activity = NOTHING
    core: Activity = NOTHING
    selected: Activity = NOTHING
    tail: Activity = NOTHING
    column_forward: Activity = NOTHING
    column_backward: Activity = NOTHING
    row_forward: Activity = NOTHING
    row_backward: Activity = NOTHING
    orthogonal: Activity = NOTHING
    tensor_whole_seconds: Floats = 0.0
    tensor_half_seconds: Floats = 0.0
    tensor_gather_seconds: Floats = 0.0
    adapted_gather_seconds: Floats = 0.0
    adapted_swap_seconds: Floats = 0.0
    context_ring_seconds: Floats = 0.0
    context_swap_seconds: Floats = 0.0
    expert_seconds: Floats = 0.0
    expert_tensor_seconds: Floats = 0.0
    forward_flops: Floats = 0.0
    backward_flops: Floats = 0.0
    weights: Floats = 0.0
    expert_weights: Floats = 0.0
    trained_weights: Floats = 0.0
    factors: Floats = 0.0
    hidden_weights: Floats = 0.0
    tensors: Floats = 0.0
    kept_bytes: Floats = 0.0
    peak_bytes: Floats = 0.0
    selected_kept_bytes: Floats = 0.0
    selected_flops: Floats = 0.0
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


def graph_cost(
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
        cut = len(lowered.backward) - lowered.weight_kernels
        parts = (lowered.forward, lowered.backward[:cut], lowered.backward[cut:])
        forward, backward, weight = (together(kernels) for kernels in parts)
        backward = backward.plus(weight)
        if is_expert(name):
            forward, backward, weight = (_loaded(part, expert_load) for part in (forward, backward, weight))
        work[name] = forward, backward
        tally.do(forward=forward, backward=backward, weight=weight)
        tally.add(forward_flops=operation.forward_flops)
        tally.add(backward_flops=operation.backward_flops if lowering.has_backward else 0.0)
        match operation:
            case Attention():
                tally.do(core=forward)
            case Linear():
                _count_weights(operation, name, tally)
                if lowering.orthogonalises:
                    tally.do(orthogonal=together(orthogonal_kernels(operation)))
                if name.endswith(_COLUMN_SPLIT):
                    tally.do(column_forward=forward, column_backward=backward)
                elif name.endswith(_ROW_SPLIT):
                    tally.do(row_forward=forward, row_backward=backward)
            case Norm():
                tally.add(weights=operation.width * operation.has_weights)
                tally.add(trained_weights=operation.width * operation.is_trained)
                tally.add(factors=operation.width * operation.is_trained)
                tally.add(tensors=2.0 * operation.has_weights)
            case Lookup():
                tally.add(weights=operation.table_values)
                tally.add(trained_weights=operation.table_values * operation.is_trained)
                rows = operation.table_values / operation.width
                tally.add(factors=(rows + operation.width) * operation.is_trained)
                tally.add(tensors=operation.tables)
            case Loss():
                tally.add(logits=operation.logits)
        if name in (*LAST_PRODUCTS, "mlp_residual"):
            tally.do(tail=forward)
    _exchanges(graph, system, plan, tally, expert_load, lowering.gathered_share)
    tally.add(input_bytes=graph.nodes["input"]["values"] * graph.nodes["input"]["operation"].activation_bytes)
    amounts: dict[str, Any] = tally.sums | tally.activities
    return Cost(**amounts), {name: w for name, w in work.items() if name != "input"}


def _loaded(work: Activity, load: Floats) -> Activity:
    """The same kernels over `load` times the tokens."""
    return replace(work.times(load), launches=work.launches)


def _count_weights(operation: Linear, name: str, tally: "_Tally") -> None:
    weights = operation.weights + operation.count * operation.columns * operation.has_bias
    adapter = operation.count * operation.adapter_rank * (operation.columns + operation.contraction)
    is_tied = name.startswith("logits") and operation.is_vocabulary
    tally.add(tensors=1.0 + operation.has_bias)
    if is_tied:
        return
    tally.add(weights=weights)
    tally.add(trained_weights=adapter if operation.adapter_rank else weights * operation.is_trained)
    hidden = adapter if operation.adapter_rank else operation.weights * operation.is_trained
    sides = operation.columns + operation.contraction + 2.0 * operation.adapter_rank
    vectors = operation.columns * operation.has_bias * (not operation.adapter_rank)
    tally.add(hidden_weights=hidden)
    tally.add(factors=operation.count * (sides + vectors) * (operation.is_trained or operation.adapter_rank > 0))
    if name.startswith("experts_"):
        tally.add(expert_weights=weights)


def _exchanges(
    graph: "nx.DiGraph[str]", system: System, plan: Plan, tally: "_Tally", expert_load: Floats, gathered_share: float
) -> None:
    """Seconds of the graph's collectives, each as if nothing ran beside it (graphs.stage says what sticks out)."""
    tensor = route(system, tensor_group(plan))
    for name in graph:
        operation = graph.nodes[name]["operation"]
        if isinstance(operation, Linear) and operation.adapter_rank:
            rows = operation.rows * operation.activation_bytes
            if name.endswith(_COLUMN_SPLIT):
                tally.add(adapted_gather_seconds=half_seconds(tensor, rows * operation.contraction))
            elif name.endswith(_ROW_SPLIT):
                own = rows * operation.columns / plan.tensor_parallel
                tally.add(adapted_swap_seconds=all_to_all_seconds(tensor, own))
        if not isinstance(operation, Exchange):
            continue
        size = operation.size_bytes * (expert_load if is_expert(name) or operation.group == "expert" else 1.0)
        match operation.group:
            case "tensor" if is_expert(name):
                tally.add(expert_tensor_seconds=2.0 * half_seconds(tensor, size))
            case "tensor":
                tally.add(tensor_whole_seconds=all_reduce_seconds(tensor, size))
                half = half_seconds(tensor, size)
                gather = half if gathered_share == 1.0 else half_seconds(tensor, gathered_share * size)
                tally.add(tensor_half_seconds=half, tensor_gather_seconds=gather)
            case "expert":
                once = all_to_all_seconds(route(system, expert_group(plan)), size)
                tally.add(expert_seconds=2.0 * once)
            case "context" if operation.collective == "all-to-all":
                tally.add(context_swap_seconds=all_to_all_seconds(route(system, context_group(plan)), size))
            case "context":
                tally.add(context_ring_seconds=half_seconds(route(system, context_group(plan)), size))
