"""What a pipeline stage does with one micro-batch: the graphs' costs, the host and recomputation put together."""

from dataclasses import dataclass, replace

import numpy as np

from perfsim.core.arrays import once_each, shape_of
from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System, is_told
from perfsim.core.numbers import Bools, Floats, Ints
from perfsim.core.plan import ContextExchange, Plan, Recompute
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.formulas.groups import data_group
from perfsim.formulas.overlap import beside_seconds
from perfsim.formulas.power import Activity, busy_joules, busy_seconds, sustained_clock
from perfsim.formulas.roofline import stretch_seconds
from perfsim.graphs.costs import Cost
from perfsim.graphs.recompute import recomputed_share
from perfsim.graphs.step import Part, StepCosts, step_costs
from perfsim.units import TINY_SECONDS


@dataclass(frozen=True)
class Passes:
    """Seconds of one micro-batch's passes; launch is what the host adds to the kernels' seconds.

    weight: the part of backward that gives the weights' gradients.
    """

    forward: Floats
    backward: Floats
    recompute: Floats
    launch: Floats
    weight: Floats

    @property
    def total(self) -> Floats:
        """All of them."""
        return self.forward + self.backward + self.recompute + self.launch


@dataclass(frozen=True)
class Holding:
    """What one GPU holds of a part of the model, one micro-batch.

    weights, trained_weights, expert_weights [count]; kept_bytes: activations between forward and backward pass;
    passing_bytes: what its own backward pass needs besides at its fullest [B]. matrices: bytes of one weight matrix of
    each product [B]. `count` layers like this are spread evenly over the `span` layers from layer `first` on.
    factors, hidden_weights [count]: as in graphs.costs.Cost.
    """

    weights: Floats
    trained_weights: Floats
    expert_weights: Floats
    kept_bytes: Floats
    passing_bytes: Floats
    factors: Floats
    hidden_weights: Floats
    matrices: dict[str, Floats]
    count: int = 1
    first: int = 0
    span: int = 1


@dataclass(frozen=True)
class StageCosts:
    """One GPU, one micro-batch: the mean layer, what each kind of layer and both ends hold.

    Seconds [s] of the mean layer (tensor, context and expert exchanges: what sticks out), of embedding and head
    together (`ends`), of the head alone and of Muon's products on all layers; weights, trained weights and tensors
    [count] of all layers; kinds: one layer of each kind, under the plan's recomputation; FLOPs of everything;
    clock_ratio: the core clock that the power limit leaves, over the full one; busy_watts: one board's mean power
    while these kernels run, held_watts: while kernels run that compute nothing.
    """

    layer: Passes
    ends: Passes
    head_seconds: Floats
    orthogonal_seconds: Floats
    tensor_seconds: Floats
    context_seconds: Floats
    expert_seconds: Floats
    weights: Floats
    trained_weights: Floats
    expert_weights: Floats
    tensors: Floats
    ends_tensors: Floats
    kinds: tuple[Holding, ...]
    embedding: Holding
    head: Holding
    model_flops: Floats
    hardware_flops: Floats
    clock_ratio: Floats
    busy_watts: Floats
    held_watts: Floats
    layer_count: int
    operations: dict[str, tuple[Floats, Floats]]


def stage_costs(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration
) -> StageCosts:
    """The costs of a plan's stages, computed once for each distinct choice that they depend on.

    A long flat list of plans repeats few combinations of system, tensor, context and expert degrees, micro-batch and
    recomputation: they are costed once and handed out by index, the same bits as costing every row. The seconds of
    single operations are those of one plan only.
    """

    def graphs(these: Plan, on: System) -> StepCosts:
        return step_costs(workload, on, these, software, calibration)

    def compute(these: Plan, on: System) -> StageCosts:
        costs = graphs(these, on) if is_apart else once_each(_graph_choices(on, these), graphs, these, on)
        return _put_together(costs, these, on, software, calibration)

    is_apart = shape_of(workload) != () or not is_told(system)
    return compute(plan, system) if is_apart else once_each(cost_choices(system, plan), compute, plan, system)


def cost_choices(system: System, plan: Plan) -> tuple[Ints | Bools, ...]:
    """The choices of a plan that the costs of one micro-batch depend on."""
    return (*_graph_choices(system, plan), plan.recompute, plan.recompute_layers)


def _graph_choices(system: System, plan: Plan) -> tuple[Ints | Bools, ...]:
    """Those that the costs of the graphs depend on: recomputation runs parts of them again."""
    return (
        system.number, plan.tensor_parallel, plan.context_parallel, plan.expert_parallel, plan.micro_batch_size,
        plan.sequence_parallel, plan.context_exchange, data_group(plan).stride,
    )  # fmt: skip


def kind_seconds(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration
) -> list[Floats]:
    """What one layer of each kind takes for a micro-batch, kernels and host, at the clock of the whole step [s]."""
    costs = step_costs(workload, system, plan, software, calibration)
    full, selective = recomputed_share(plan, costs.layer_count), 1.0 * (plan.recompute == Recompute.SELECTIVE)
    layers, ends = costs.layers, costs.embedding.cost.plus(costs.head.cost)
    again = _redone(layers, full, selective, software)
    work = layers.forward.plus(layers.backward).plus(again).plus(ends.forward).plus(ends.backward)
    clock = _Clock(work, system, calibration)
    return [
        _passes(
            kind.cost, _redone(kind.cost, full, selective, software), full * kind.cost.forward.launches, clock, software
        ).total
        for kind in costs.kinds
    ]


def _put_together(
    costs: StepCosts, plan: Plan, system: System, software: Software, calibration: Calibration
) -> StageCosts:
    layers, redone, count = costs.layers, costs.redone, costs.layer_count
    operations = {} if shape_of(plan) else costs.operations
    ends = costs.embedding.cost.plus(costs.head.cost)
    full, selective = recomputed_share(plan, count), 1.0 * (np.asarray(plan.recompute) == Recompute.SELECTIVE)
    flops_again = full * redone.forward_flops + selective * redone.selected_flops
    flops = layers.forward_flops + layers.backward_flops + ends.forward_flops + ends.backward_flops
    share = calibration.communication_multiprocessor_share
    again = _redone(redone, full, selective, software)
    clock = _Clock(
        layers.forward.plus(layers.backward).plus(again).plus(ends.forward).plus(ends.backward), system, calibration
    )
    hosted = full * redone.forward.launches
    return StageCosts(
        layer=_passes(layers.times(1.0 / count), again.times(1.0 / count), hosted / count, clock, software),
        ends=_passes(ends, Activity(), 0.0, clock, software),
        head_seconds=_passes(costs.head.cost, Activity(), 0.0, clock, software).total,
        orthogonal_seconds=clock.seconds(layers.orthogonal),
        tensor_seconds=sum(
            k.count / count * _tensor_seconds(k.cost, plan, software, clock, share, full) for k in costs.kinds
        ),
        context_seconds=sum(k.count / count * _context_seconds(k.cost, plan, clock, share) for k in costs.kinds),
        expert_seconds=layers.expert_seconds / count * (1.0 + 0.5 * full),
        weights=layers.weights,
        trained_weights=layers.trained_weights,
        expert_weights=layers.expert_weights,
        tensors=layers.tensors,
        ends_tensors=ends.tensors,
        kinds=tuple(_held_by_layer(kind, full, selective) for kind in costs.kinds),
        embedding=_held(costs.embedding),
        head=_held(costs.head),
        model_flops=flops,
        hardware_flops=flops + flops_again,
        layer_count=count,
        clock_ratio=clock.ratio,
        busy_watts=clock.watts,
        held_watts=clock.held_watts,
        operations={name: (clock.seconds(f), clock.seconds(b)) for name, (f, b) in operations.items()},
    )


def _held(part: Part) -> Holding:
    """What one GPU holds of one graph."""
    cost = part.cost
    return Holding(
        cost.weights, cost.trained_weights, cost.expert_weights, cost.kept_bytes, cost.peak_bytes - cost.kept_bytes,
        cost.factors, cost.hidden_weights, part.matrices, part.count, part.first, part.span,
    )  # fmt: skip


def _held_by_layer(kind: Part, full: Floats, selective: Floats) -> Holding:
    """The same of the mean layer under recomputation: less is kept, and what is redone is held while it is needed."""
    cost, held = kind.cost, _held(kind)
    freed = full * (cost.kept_bytes - cost.input_bytes) + selective * (cost.kept_bytes - cost.selected_kept_bytes)
    again = np.where(full > 0.0, cost.kept_bytes, selective * (cost.kept_bytes - cost.selected_kept_bytes))
    return replace(held, kept_bytes=cost.kept_bytes - freed, passing_bytes=held.passing_bytes + again)


class _Clock:
    """The core clock that the power limit leaves while these kernels run, and the board power at it.

    The controller averages over tens of milliseconds, so all kernels of a micro-batch share it; the optimizer's are
    left out, as few as they are.
    """

    def __init__(self, work: Activity, system: System, calibration: Calibration) -> None:
        gpu, self._control = system.gpu, calibration.control
        self.ratio = sustained_clock(work, gpu.power, gpu.power_limit_watts, self._control)
        self.watts = busy_joules(work, gpu.power, self.ratio, self._control) / self.seconds(work)
        self.held_watts = busy_joules(_HELD, gpu.power, self.ratio, self._control) / self.seconds(_HELD)

    def seconds(self, work: Activity) -> Floats:
        """What the work takes at this clock [s]."""
        return busy_seconds(work, self.ratio, self._control)


_HELD = Activity(memory_seconds=1.0)  # a kernel that computes nothing holds the clocks up


def _tensor_seconds(layer: Cost, plan: Plan, software: Software, clock: _Clock, share: float, full: Floats) -> Floats:
    """What of a layer's tensor-parallel exchanges its kernels do not hide [s].

    An all-reduce a sublayer each way; with sequence parallel its two halves, and backward one more gather. Overlap
    "backward" runs the gather and the reduction of the column-split products' gradients beside them; "all" runs every
    exchange beside the product that reads or makes what it carries: gathers beside column-split products and the
    gradients of row-split products' inputs (half of their backward pass), reductions beside row-split products. Full
    recomputation repeats the forward ones.

    Experts gather the tokens that are theirs, several times the layer's rows, before their products and reduce after
    them, in 16 bits and beside nothing (NVIDIA/Megatron-LM megatron/core/transformer/moe/token_dispatcher.py).

    Frozen weights: nothing is gathered again, and the reduction of the input's gradient has no weight gradient to hide
    behind. An adapter beside a column-split product reads its input in 16 bits, gathered before the product starts;
    beside a row-split one it makes all rows of some columns, which are exchanged for some rows of all columns (NVIDIA/
    NeMo nemo/collections/nlp/modules/common/megatron/adapters/parallel_adapters.py). Source: Korthikanti et al. 2022
    (arXiv 2205.05198); for "all" NVIDIA/TransformerEngine transformer_engine/pytorch/module/base.py (initialize_ub).
    """
    whole, half, gather = layer.tensor_whole_seconds, layer.tensor_half_seconds, layer.tensor_gather_seconds
    has_halves = np.asarray(plan.sequence_parallel)
    is_frozen = np.asarray(layer.weight.launches) == 0.0
    adapted = layer.adapted_gather_seconds / np.maximum(half, TINY_SECONDS)  # share of the gathers
    beside: Floats = np.where(has_halves, half + gather * ~is_frozen, whole)
    forward = np.where(has_halves, half + gather * (1.0 - adapted) + layer.adapted_gather_seconds, whole)
    exposed = np.where(has_halves, gather, 0.0)
    if software.tensor_parallel_overlap == "none":
        exposed, beside = exposed + beside, 0.0 * beside
    if software.tensor_parallel_overlap == "all":
        gathers = _exposed(clock.seconds(layer.column_forward), gather * (1.0 - adapted), share)
        reductions = _exposed(clock.seconds(layer.row_forward), half, share)
        forward = np.where(has_halves, gathers + reductions + layer.adapted_gather_seconds, whole)
        exposed = np.where(has_halves, _exposed(0.5 * clock.seconds(layer.row_backward), gather, share), 0.0)
    hidden = _exposed(clock.seconds(layer.column_backward), beside, share)
    exposed = exposed + np.where(is_frozen, beside, hidden)
    swaps = np.where(has_halves, layer.adapted_swap_seconds, 0.0)
    swaps = swaps + layer.expert_tensor_seconds  # forward, and again backward
    found: Floats = (forward + swaps) * (1.0 + full) + exposed + swaps
    return found


def _context_seconds(layer: Cost, plan: Plan, clock: _Clock, share: float) -> Floats:
    """What of the context-parallel exchanges attention does not hide [s].

    A ring passes keys and values once forward and, with their gradients, twice backward, beside attention; gathered at
    once they go the same ways with nothing beside them (Llama 3, arXiv 2407.21783); heads for tokens, once each way.
    """
    kind = np.asarray(plan.context_exchange)
    ring = 3.0 * layer.context_ring_seconds
    if np.all(kind == ContextExchange.RING):
        return _exposed(3.0 * clock.seconds(layer.core), ring, share)
    beside = _exposed(3.0 * clock.seconds(layer.core), ring, share)
    at_once = np.where(kind == ContextExchange.ALL_GATHER, ring, 2.0 * layer.context_swap_seconds)
    return np.where(kind == ContextExchange.RING, beside, at_once)


def _exposed(compute: Floats, wire: Floats, share: float) -> Floats:
    return beside_seconds(compute, wire, share) - compute


def _redone(layers: Cost, full: Floats, selective: Floats, software: Software) -> Activity:
    """What recomputation runs again before the backward pass: forward passes of some layers, or parts of all."""
    forward = layers.forward
    if software.has_early_stop_recompute:
        forward = forward.plus(layers.tail.times(-1.0))
    return forward.times(full).plus(layers.selected.times(selective))


def _passes(part: Cost, again: Activity, launches_again: Floats, clock: _Clock, software: Software) -> Passes:
    """The passes at the sustained clock, and what the host adds to them."""
    forward, backward, redone = clock.seconds(part.forward), clock.seconds(part.backward), clock.seconds(again)
    host_forward = software.host_seconds * part.forward.launches
    host_backward = software.host_seconds * (part.backward.launches + launches_again)
    launch = stretch_seconds(forward, host_forward) - forward
    launch = launch + stretch_seconds(backward + redone, host_backward) - (backward + redone)
    return Passes(forward, backward, redone, launch, clock.seconds(part.weight))
