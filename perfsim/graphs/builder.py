"""Adds operations to a graph of one GPU and one micro-batch, with what the model, the plan and the software say."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perfsim.core.numbers import Floats, Ints
from perfsim.core.plan import Plan
from perfsim.core.software import Software
from perfsim.core.workload import Task, Workload
from perfsim.formulas.operations import Exchange, Linear, Norm, Operation, Pointwise
from perfsim.graphs.blocks import Block

# what products of a graph are called where adapters are told by name (formulas.parameters)
_MATRICES = {
    "qkv": ("q_proj", "k_proj", "v_proj"),
    "query": ("q_proj",),
    "key": ("k_proj",),
    "value": ("v_proj",),
    "attention_output": ("o_proj",),
    "up": ("gate_proj", "up_proj"),
    "down": ("down_proj",),
}


def _is_target(name: str, targets: tuple[str, ...]) -> bool:
    """Whether adapters are on this product; none named: on all of them."""
    named = next((matrices for suffix, matrices in _MATRICES.items() if name.endswith(suffix)), (name,))
    return not targets or not set(named).isdisjoint(targets)


def is_autocast(workload: Workload, software: Software) -> bool:
    """Weights stay in fp32 and are cast at each use; norms and residuals run in fp32."""
    precision = workload.precision
    return software.has_fp32_residual and precision.weight_bytes == 4 and precision.activation_bytes == 2


class Chain:
    """Adds operations to `graph` one after the other; `last` is the newest output."""

    graph: Any
    last: str

    def add(self, operation: Operation, *inputs: str) -> str:
        """Append an operation that reads `inputs`, by default the newest output."""
        self.graph.add_node(operation.name, operation=operation, values=operation.output_values)
        for source in inputs or (self.last,):
            self.graph.add_edge(source, operation.name)
        self.last = operation.name
        return operation.name


@dataclass
class Builder(Chain):
    """Adds operations to a graph one after the other; `last` is the newest output.

    is_trained: the weights of its products get gradients (None: as the task says). The graph's attribute
    `has_backward` says whether anything of it goes back.
    """

    workload: Workload
    plan: Plan
    software: Software
    block: Block
    attention: str = "naive"
    is_trained: bool | None = None
    graph: Any = None
    last: str = "input"
    rows: Floats = field(init=False)
    shard: Ints = field(init=False)
    value: float = field(init=False)
    residual: float = field(init=False)

    def __post_init__(self) -> None:
        import networkx as nx

        w, p = self.workload, self.plan
        is_frozen = w.task is Task.FREEZE
        if self.is_trained is None:
            self.is_trained = w.task in (Task.PRETRAIN, Task.FINETUNE)
        self.graph = nx.DiGraph(has_backward=self.is_trained or not is_frozen)
        self.rows = 1.0 * p.micro_batch_size * self.tokens / p.context_parallel
        self.shard = np.where(p.sequence_parallel, p.tensor_parallel, 1)
        self.value = w.precision.activation_bytes
        self.residual = 4.0 if is_autocast(w, self.software) else self.value
        self.graph.add_node(
            "input", operation=Operation("input", self.residual), values=self.rows / self.shard * w.model.hidden_size
        )

    @property
    def tokens(self) -> Ints:
        """Tokens of a sequence that this block sees."""
        w = self.workload
        return w.decoder_seq_len if w.model.encoder_layers and not self.block.is_encoder else w.seq_len

    def linear(self, name: str, columns: Floats, contraction: Floats, bias: bool, *inputs: str, **more: Any) -> str:
        """Append a weight product over the block's rows."""
        w = self.workload
        more.setdefault("rows", self.rows)
        more.setdefault("adapter_rank", w.lora_rank if w.is_adapter and _is_target(name, w.lora_targets) else 0)
        more.setdefault("stored_bytes", w.base_bytes if w.task is Task.QLORA else 0.0)
        source = self.graph.nodes[inputs[0] if inputs else self.last]["operation"]
        more.setdefault("input_bytes", source.activation_bytes)
        more.setdefault("has_input_gradient", w.task is not Task.FREEZE)
        operation = Linear(
            name, self.value, columns=columns, contraction=contraction, has_bias=bias, is_trained=bool(self.is_trained),
            **more,
        )  # fmt: skip
        return self.add(operation, *inputs)

    def norm(self, name: str, *inputs: str, rows: Floats | None = None, width: int = 0) -> str:
        """Append the model's normalisation over the rows of this rank, by default of all its hidden values."""
        model = self.workload.model
        if model.norm == "none":
            return self.last
        is_rms, is_plain = model.norm == "rmsnorm", model.norm_position == "adaLN-zero"
        kept = 4.0 if is_rms and self.software.fusion == "eager" else 0.0
        rows = (self.rows if rows is None else rows) / self.shard
        operation = Norm(
            name, self.residual, rows, 1.0 * (width or model.hidden_size), bool(self.is_trained) and not is_plain,
            kept, is_rms, not is_plain,
        )  # fmt: skip
        return self.add(operation, *inputs)

    def pointwise(self, name: str, action: Any, values: Floats, *inputs: str) -> str:
        """Append an elementwise operation."""
        width = self.residual if action == "add" else self.value
        keeps_inner = action == "gate" and self.software.fusion == "eager"
        return self.add(Pointwise(name, width, values, action, keeps_inner), *inputs)

    def source(self, name: str, values: Floats) -> str:
        """Append what comes from outside: pixels, sounds, latents, what an image is conditioned on."""
        self.graph.add_node(name, operation=Operation(name, self.value), values=values)
        self.last = name
        return name

    def reduce(self, name: str, rows: Floats | None = None) -> None:
        """Append the tensor-parallel exchange after a row-split product: all-reduce, or its two halves with SP."""
        values = (self.rows if rows is None else rows) * self.workload.model.hidden_size
        ranks = self.plan.tensor_parallel
        self.add(Exchange(name, self.value, "all-reduce", "tensor", values * self.value, ranks))
        self.graph.nodes[name]["values"] = values / self.shard

    def sublayer_end(self, name: str, residual: str) -> None:
        """Dropout, the sum with the residual and, where the model has it there, a norm."""
        values = self.rows / self.shard * self.workload.model.hidden_size
        if self.workload.dropout > 0:
            self.pointwise(f"{name}_dropout", "dropout", values)
        if self.workload.model.norm_position == "pre+post":
            self.norm(f"{name}_post_norm")
        self.pointwise(f"{name}_residual", "add", values, self.last, residual)
        if self.workload.model.norm_position == "post":
            self.norm(f"{name}_norm")
