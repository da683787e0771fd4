"""A convolutional net's compute graph, unit by unit; a GAN's are those of its two phases.

Nodes carry `operation` as in graphs.transformer. A graph's own attributes say what sets its pass apart: `phase`, in
which graphs are alive together; `has_backward`; `has_kept_input`: the unit before keeps its output already.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from perfsim.core.convnet import Convnet, Step, Unit
from perfsim.core.numbers import Floats
from perfsim.core.plan import Plan
from perfsim.core.workload import Workload
from perfsim.formulas.convolutions import ChannelNorm, Convolution, Resample
from perfsim.formulas.operations import Attention, Linear, Loss, Norm, Operation, Pointwise
from perfsim.graphs.builder import Chain

if TYPE_CHECKING:
    import networkx as nx

_Graphs = Iterator[tuple[str, int, "nx.DiGraph[str]"]]


@dataclass(frozen=True)
class _Pass:
    """How a net is run: in which phase, over how many batches, with which gradients."""

    phase: str = "1"
    batches: int = 1
    has_backward: bool = True
    is_trained: bool = True
    has_input_gradient: bool = False


def convnet_graphs(workload: Workload, plan: Plan, is_autocast: bool, is_flash: bool) -> _Graphs:
    """(unit, how many of it, its graph) of one step.

    A GAN's step has two phases. The discriminator learns from real images and from generated ones, which are made
    without keeping anything; both graphs are alive until the gradients. Then the generator learns through the
    discriminator, whose weights are frozen meanwhile.
    Source: Goodfellow et al. 2014 (arXiv 1406.2661), algorithm 1; junyanz/pytorch-CycleGAN-and-pix2pix
    models/pix2pix_model.py for what is alive and frozen.
    """
    nets = workload.model.nets
    if len(nets) == 1:
        yield from _net_graphs(nets[0], _Pass(), workload, plan, is_autocast, is_flash)
        return
    generator, discriminator = nets
    for net, way in (
        (generator, _Pass("1", has_backward=False, is_trained=False)),
        (discriminator, _Pass("1", batches=2)),
        (generator, _Pass("2")),
        (discriminator, _Pass("2", is_trained=False, has_input_gradient=True)),
    ):
        for name, count, graph in _net_graphs(net, way, workload, plan, is_autocast, is_flash):
            yield f"{way.phase}-{net.name}.{name}", count, graph


def _net_graphs(net: Convnet, way: _Pass, workload: Workload, plan: Plan, is_autocast: bool, is_flash: bool) -> _Graphs:
    size: Floats = 1.0 * (net.fixed_size or np.asarray(workload.image_size) // net.downsampling)
    build = _Builder(net, way, workload, 1.0 * plan.micro_batch_size, is_autocast, is_flash, size)
    if net.embedding:
        rows = replace(build, size=1.0)
        yield "embedding", way.batches, rows.unit(Unit("embedding", 1, net.embedding), False)
    has_gradient = way.has_input_gradient
    for unit in net.units:
        yield unit.name, unit.count * way.batches, build.unit(unit, has_gradient)
        has_gradient = way.has_backward


@dataclass
class _Builder(Chain):
    """Adds the operations of one unit after the other; `size` [pixels a side] goes on from unit to unit."""

    net: Convnet
    way: _Pass
    workload: Workload
    images: Floats
    is_autocast: bool
    is_flash: bool
    size: Floats
    has_kept_output: bool = False
    has_gradient: bool = True
    graph: Any = None
    last: str = "input"
    forks: list[tuple[str, Floats]] = field(default_factory=list)
    mains: list[str] = field(default_factory=list)

    def unit(self, unit: Unit, has_gradient: bool) -> "nx.DiGraph[str]":
        """The graph of one unit."""
        import networkx as nx

        self.has_gradient, self.last = has_gradient, "input"
        self.graph = nx.DiGraph(
            phase=self.way.phase, has_backward=self.way.has_backward, has_kept_input=self.has_kept_output
        )
        source = Operation("input", self.value)
        self.graph.add_node("input", operation=source, values=self.positions * unit.steps[0].inputs)
        for number, step in enumerate(unit.steps, 1):
            self.step(f"{number:02d}-{step.action}", step)
            self.has_gradient = self.way.has_backward and (self.has_gradient or step.weights > 0)
        last: Operation = self.graph.nodes[self.last]["operation"]
        self.has_kept_output = last.saves in ("output", "both")
        return self.graph

    @property
    def value(self) -> float:
        """Bytes of a value in the compute format."""
        return self.workload.precision.activation_bytes

    @property
    def positions(self) -> Floats:
        """Pixels of a micro-batch."""
        return self.images * self.size * self.size

    def step(self, name: str, step: Step) -> None:
        """Append what a step computes."""
        width = self._width(self.last)
        values = self.positions * step.outputs
        match step.action:
            case "conv" | "deconv":
                self._convolution(name, step, width)
            case "linear":
                self._linear(name, step, self.positions, step.inputs, step.outputs)
            case "attention" | "cross-attention":
                self._attention(name, step)
            case "embed":
                self._embed(name, step)
            case "batchnorm":
                self.add(ChannelNorm(name, width, self.positions, step.inputs, self.images))
            case "groupnorm":
                width = self._widened(name, width, values)
                self.add(ChannelNorm(name, width, self.positions, step.inputs, self.images, step.groups))
            case "layernorm":
                width = self._widened(name, width, values)
                self.add(Norm(name, width, self.positions, 1.0 * step.inputs, self.way.is_trained))
            case "relu" | "leakyrelu" | "tanh" | "sigmoid":
                self.add(Pointwise(name, width, values, "relu"))
            case "silu" | "gelu":
                self.add(Pointwise(name, width, values, "activation"))
            case "geglu":
                self.add(Pointwise(name, width, values, "gate", True))
            case "dropout":
                if self.workload.dropout > 0:
                    self.add(Pointwise(name, width, values, "dropout"))
            case "maxpool" | "avgpool" | "mean" | "upsample":
                self._resample(name, step, width)
            case "join":
                kept = self._side(f"{name}-kept", self.positions * step.side)
                self.add(Resample(name, width, values, values, "join"), self.last, kept)
            case "cross-entropy":
                self.add(Loss(name, self.value, self.positions, 1.0 * step.inputs))
            case "squared-error":
                self.add(Pointwise(name, 4.0, values, "add"))
            case "add":
                main, source = self.mains.pop(), self.last
                self.forks.pop()
                self.add(Pointwise(name, max(width, self._width(main)), values, "add"), main, source)
            case "fork":
                self.forks.append((self.last, self.size))
            case "shortcut":
                self.mains.append(self.last)
                self.last, self.size = self.forks[-1]

    def _width(self, name: str) -> float:
        width: float = self.graph.nodes[name]["operation"].activation_bytes
        return width

    def _widened(self, name: str, width: float, values: Floats) -> float:
        """Autocast runs group and layer norms in fp32: their input is cast first."""
        if self.is_autocast and width < 4.0:
            self.add(Pointwise(f"{name}-cast", 4.0, values, "copy"))
            return 4.0
        return width

    def _convolution(self, name: str, step: Step, width: float) -> None:
        is_transposed = step.action == "deconv"
        before = self.positions
        self.size = self.size * step.stride if is_transposed else np.ceil(self.size / step.stride)
        operation = Convolution(
            name, self.value, input_positions=before, positions=self.positions, inputs=step.inputs,
            outputs=step.outputs, kernel=step.kernel, stride=step.stride, groups=step.groups, has_bias=step.has_bias,
            is_trained=self.way.is_trained, has_input_gradient=self.has_gradient, is_transposed=is_transposed,
            input_bytes=width,
        )  # fmt: skip
        self.add(operation)

    def _linear(
        self, name: str, step: Step, rows: Floats, inputs: int, outputs: int, *sources: str, **more: Any
    ) -> str:
        source = sources[0] if sources else self.last
        operation = Linear(
            name, self.value, rows=rows, columns=1.0 * outputs, contraction=1.0 * inputs,
            has_bias=step.has_bias, is_trained=self.way.is_trained, input_bytes=self._width(source),
            **{"has_input_gradient": self.has_gradient, **more},
        )  # fmt: skip
        return self.add(operation, *sources)

    def _attention(self, name: str, step: Step) -> None:
        """Query, key and value products and the attention over all positions of an image, or over its text."""
        source = context = self.last
        length = keys = self.size * self.size
        inputs, is_cross = step.inputs, step.action == "cross-attention"
        if is_cross:
            keys, inputs = 1.0 * self.net.context_tokens, step.side
            context = self._side("context", self.images * keys * inputs)
        more = {"has_input_gradient": self.has_gradient and not is_cross, "adds_gradient": not is_cross}
        query = self._linear(f"{name}-query", step, self.positions, step.inputs, step.outputs, source)
        key = self._linear(f"{name}-key", step, self.images * keys, inputs, step.outputs, context, **more)
        value = self._linear(f"{name}-value", step, self.images * keys, inputs, step.outputs, context, **more)
        width = step.outputs // step.heads
        attention = Attention(
            name, self.value, self.images, 1.0 * step.heads, 1.0 * step.heads, length, keys, width, width,
            is_flash=self.is_flash,
        )  # fmt: skip
        self.add(attention, query, key, value)

    def _embed(self, name: str, step: Step) -> None:
        """Every image's embedding, projected to the channels and added at all positions."""
        source, width = self.last, self._width(self.last)
        side = self._side("embedding", self.images * step.side)
        self.add(Pointwise(f"{name}-silu", self.value, self.images * step.side, "activation"), side)
        more = {"has_input_gradient": self.way.has_backward}
        projected = self._linear(f"{name}-linear", step, self.images, step.side, step.outputs, **more)
        self.add(Pointwise(name, width, self.positions * step.outputs, "copy"), source, projected)

    def _side(self, name: str, values: Floats) -> str:
        """An input besides the images."""
        self.graph.add_node(name, operation=Operation(name, self.value), values=values)
        return name

    def _resample(self, name: str, step: Step, width: float) -> None:
        before = self.positions
        match step.action:
            case "upsample":
                self.size = self.size * step.stride
            case "mean":
                self.size = 1.0 + 0.0 * self.size
            case _:
                self.size = np.ceil(self.size / step.stride)
        inputs, values = before * step.inputs, self.positions * step.outputs
        self.add(Resample(name, width, inputs, values, step.action))  # type: ignore[arg-type]
