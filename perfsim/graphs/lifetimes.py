"""How long a graph's tensors live: what autograd keeps for the backward pass, and how full that pass gets.

Forward, an operation keeps its inputs, its output or both, and private extras (masks, statistics, probabilities).
Backward runs the other way: an operation's gradients come into being while what it kept is still there, and leave when
the operation before has read them. The fullest moment of that walk is what the allocator must hold.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from perfsim.core.numbers import Floats
from perfsim.formulas.operations import Exchange, Lookup, Pointwise

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class Lifetimes:
    """Bytes of one graph and micro-batch [B]: kept after the forward pass, and held at the backward pass's fullest."""

    kept_bytes: Floats
    peak_bytes: Floats


def lifetimes(
    graph: "nx.DiGraph[str]", expert_load: Floats = 1.0, loss_bytes: Mapping[str, Floats] | None = None
) -> Lifetimes:
    """What one micro-batch keeps of a graph, and the fullest moment of the graph's backward pass [B].

    expert_load: how many times the mean's tokens the experts' operations hold. loss_bytes: held while
    each loss runs. Sums and exchanges hand their gradient on; other gradients are tensors of their own, and a second
    gradient of the same tensor is added to the first. Source: PyTorch's autograd engine (torch/csrc/autograd).
    """
    walk = _Backward(graph, expert_load)
    kept = peak = walk.held
    for name in reversed(list(graph)):
        if loss_bytes and name in loss_bytes:
            peak = np.maximum(peak, walk.held + loss_bytes[name])
        if name != "input":
            peak = np.maximum(peak, walk.step(name))
    return Lifetimes(kept, peak)


class _Backward:
    """The tensors alive on the way back through a graph."""

    def __init__(self, graph: "nx.DiGraph[str]", expert_load: Floats) -> None:
        self._graph, self._load = graph, expert_load
        self._freed_after: dict[str, list[str]] = defaultdict(
            list
        )  # kept tensors, by the operation that needs them last
        self.held: Floats = 0.0
        kept: set[str] = {"input"} if graph.graph.get("has_kept_input") else set()  # where another graph counts it
        for name in graph:
            self.held = self.held + self._private(name)
            for tensor in self._saved_by(name):
                if tensor not in kept:
                    kept.add(tensor)
                    self._freed_after[name].append(tensor)
                    self.held = self.held + self._size(tensor)
        self._gradients: dict[str, str] = {}  # a tensor's gradient: the buffer it lies in, which sums share
        self._buffers: dict[str, Floats] = {}
        self._owners: dict[str, int] = defaultdict(int)

    def step(self, name: str) -> Floats:
        """Run one operation's backward; what is alive at its fullest [B]."""
        if name not in self._gradients:  # the graph's output: its gradient arrives
            self._own(name, name, self._size(name))
        arrived = self._gradients.pop(name)
        finished = [arrived]
        for source in self._graph.predecessors(name):
            earlier = self._gradients.get(source)
            if earlier is None and self._hands_on(name):
                self._own(source, arrived, 0.0)
                continue
            self._own(source, f"{name} to {source}", self._input_gradient(name, source))
            if earlier is not None:
                finished.append(earlier)
        fullest = self.held
        for buffer in finished:
            self._release(buffer)
        self.held = self.held - self._private(name) - sum(self._size(t) for t in self._freed_after[name])
        return fullest

    def _own(self, tensor: str, buffer: str, size: Floats) -> None:
        if buffer not in self._buffers:
            self._buffers[buffer] = size
            self.held = self.held + size
        self._owners[buffer] += 1
        self._gradients[tensor] = buffer

    def _release(self, buffer: str) -> None:
        self._owners[buffer] -= 1
        if not self._owners[buffer]:
            self.held = self.held - self._buffers.pop(buffer)

    def _input_gradient(self, name: str, source: str) -> Floats:
        is_lookup = isinstance(self._graph.nodes[name]["operation"], Lookup)  # words have no gradient
        return 0.0 if is_lookup else self._size(source)

    def _hands_on(self, name: str) -> bool:
        operation = self._graph.nodes[name]["operation"]
        return isinstance(operation, Exchange) or (isinstance(operation, Pointwise) and operation.action == "add")

    def _saved_by(self, name: str) -> list[str]:
        saves = self._graph.nodes[name]["operation"].saves
        inputs = list(self._graph.predecessors(name)) if saves in ("input", "both") else []
        return [*inputs, name] if saves in ("output", "both") else inputs

    def _private(self, name: str) -> Floats:
        extra: Floats = self._graph.nodes[name]["operation"].saved_bytes
        return extra * self._load if is_expert(name) else extra

    def _size(self, name: str) -> Floats:
        node = self._graph.nodes[name]
        size: Floats = node["values"] * node["operation"].activation_bytes
        return size * self._load if is_expert(name) or name == "dispatch_exchange" else size


def is_expert(name: str) -> bool:
    """The operation works on tokens in expert order."""
    return name.startswith("experts_") and name != "experts_sum"
