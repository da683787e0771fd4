"""A transformer's compute graph: the operations of one layer, of the embedding and of the head, as networkx DAGs.

A graph's shape is the model's and the software's; the numbers in its operations are the plans', scalars or arrays.
Nodes carry `operation`; an edge means "the output of one is an input of the other".
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from perfsim.core.model import Model
from perfsim.core.numbers import Floats, Ints
from perfsim.core.plan import ContextExchange, Plan
from perfsim.core.software import Software
from perfsim.core.workload import Head, Task, Workload
from perfsim.formulas.operations import (
    Attention,
    Exchange,
    Linear,
    Lookup,
    Loss,
    Norm,
    Operation,
    Pointwise,
    Route,
)
from perfsim.graphs.convnet import convnet_graphs
from perfsim.graphs.vocabulary import softmax_clusters, word_values, words_on_rank

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class Block:
    """Layers that are alike: how many, where, and what sets them apart from the model's other layers.

    They lie among the `span` layers from layer `first` on, spread evenly.
    """

    name: str
    count: int
    first: int = 0
    span: int = 0
    is_moe: bool = False
    has_cross_attention: bool = False
    is_encoder: bool = False
    window: int = 0


def blocks(model: Model) -> list[Block]:
    """The kinds of layer a model stacks, in order; counts add up to its layers (encoder layers included).

    Encoder layers come before decoder layers, dense layers before those with experts.

    >>> import perfsim as ps
    >>> [(b.name, b.count) for b in blocks(ps.model("t5-base"))]
    [('encoder', 12), ('decoder', 12)]
    """
    found = []
    if model.encoder_layers:
        found.append(Block("encoder", model.encoder_layers, 0, model.encoder_layers, is_encoder=True))
    dense = model.layers - model.moe_layers
    windowed = min(model.windowed_layers, model.layers) if model.window else 0
    first = model.encoder_layers
    for is_moe, count in ((False, dense), (True, model.moe_layers)):
        local = round(count * windowed / model.layers)
        kind = "moe" if is_moe else ("encoder" if model.kind in ("encoder", "vit") else "decoder")
        cross = model.encoder_layers > 0
        for name, n, window in ((kind, count - local, 0), (f"{kind}-window", local, model.window)):
            if n:
                found.append(Block(name, n, first, count, is_moe, cross, False, window))
        first += count
    return found


def step_graphs(
    workload: Workload, plan: Plan, software: Software, attention: str
) -> Iterator[tuple[str, int, "nx.DiGraph[str]"]]:
    """(part, how many of it, its graph) for the embedding, every kind of layer and the head; a net's for its units.

    `attention` names the kernel that runs ("naive" or a flash generation); it decides what is kept for backward.
    """
    if workload.model.nets:
        yield from convnet_graphs(workload, plan, is_autocast(workload, software), attention != "naive")
        return
    yield "embedding", 1, embedding_graph(workload, plan, software)
    for block in blocks(workload.model):
        yield block.name, block.count, layer_graph(workload, plan, software, block, attention)
    yield "head", 1, head_graph(workload, plan, software)


def is_autocast(workload: Workload, software: Software) -> bool:
    """Weights stay in fp32 and are cast at each use; norms and residuals run in fp32."""
    precision = workload.precision
    return software.has_fp32_residual and precision.weight_bytes == 4 and precision.activation_bytes == 2


@dataclass
class _Builder:
    """Adds operations to a graph one after the other; `last` is the newest output."""

    workload: Workload
    plan: Plan
    software: Software
    block: Block
    attention: str
    graph: Any = None
    last: str = "input"
    rows: Floats = field(init=False)
    shard: Ints = field(init=False)
    value: float = field(init=False)
    residual: float = field(init=False)

    def __post_init__(self) -> None:
        import networkx as nx

        w, p = self.workload, self.plan
        self.graph = nx.DiGraph()
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

    @property
    def is_trained(self) -> bool:
        """The block's own weights get gradients."""
        return self.workload.task in (Task.PRETRAIN, Task.FINETUNE)

    def add(self, operation: Operation, *inputs: str) -> str:
        """Append an operation that reads `inputs`, by default the newest output."""
        self.graph.add_node(operation.name, operation=operation, values=operation.output_values)
        for source in inputs or (self.last,):
            self.graph.add_edge(source, operation.name)
        self.last = operation.name
        return operation.name

    def linear(self, name: str, columns: Floats, contraction: Floats, bias: bool, *inputs: str, **more: Any) -> str:
        """Append a weight product over the block's rows."""
        w = self.workload
        more.setdefault("rows", self.rows)
        more.setdefault("adapter_rank", w.lora_rank if w.is_adapter else 0)
        more.setdefault("stored_bytes", w.base_bytes if w.task is Task.QLORA else 0.0)
        is_frozen = w.task is Task.FREEZE
        source = self.graph.nodes[inputs[0] if inputs else self.last]["operation"]
        more.setdefault("input_bytes", source.activation_bytes)
        operation = Linear(
            name, self.value, columns=columns, contraction=contraction, has_bias=bias, is_trained=self.is_trained,
            has_input_gradient=not is_frozen, **more,
        )  # fmt: skip
        return self.add(operation, *inputs)

    def norm(self, name: str, *inputs: str) -> str:
        """Append the model's normalisation over the rows of this rank."""
        if self.workload.model.norm == "none":
            return self.last
        width = 1.0 * self.workload.model.hidden_size
        is_rms = self.workload.model.norm == "rmsnorm"
        kept = 4.0 if is_rms and self.software.fusion == "eager" else 0.0
        return self.add(
            Norm(name, self.residual, self.rows / self.shard, width, self.is_trained, kept, is_rms), *inputs
        )

    def pointwise(self, name: str, action: Any, values: Floats, *inputs: str) -> str:
        """Append an elementwise operation."""
        width = self.residual if action == "add" else self.value
        keeps_inner = action == "gate" and self.software.fusion == "eager"
        return self.add(Pointwise(name, width, values, action, keeps_inner), *inputs)

    def reduce(self, name: str) -> None:
        """Append the tensor-parallel exchange after a row-split product: all-reduce, or its two halves with SP."""
        size = self.rows * self.workload.model.hidden_size * self.value
        ranks = self.plan.tensor_parallel
        self.add(Exchange(name, self.value, "all-reduce", "tensor", size, ranks))
        self.graph.nodes[name]["values"] = self.rows / self.shard * self.workload.model.hidden_size

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


def layer_graph(workload: Workload, plan: Plan, software: Software, block: Block, attention: str) -> "nx.DiGraph[str]":
    """One layer of a block on one GPU, one micro-batch."""
    build = _Builder(workload, plan, software, block, attention)
    model = workload.model
    residual = build.last
    if model.norm_position == "parallel":  # one norm feeds attention and MLP, both are added to the residual
        normed = build.norm("norm")
        attended = _attention(build, "attention", normed, None)
        build.last = normed
        _mlp(build, normed)
        build.add(Pointwise("residual", build.residual, 2.0 * build.rows / build.shard * model.hidden_size, "add"),
                  build.last, attended, residual)  # fmt: skip
        return build.graph
    pre = model.norm_position != "post"
    source = build.norm("attention_norm") if pre else residual
    _attention(build, "attention", source, None)
    build.sublayer_end("attention", residual)
    if block.has_cross_attention and not block.is_encoder:
        residual = build.last
        source = build.norm("cross_norm") if pre else residual
        _attention(build, "cross_attention", source, workload.seq_len)
        build.sublayer_end("cross_attention", residual)
    residual = build.last
    source = build.norm("mlp_norm") if pre else residual
    _mlp(build, source)
    build.sublayer_end("mlp", residual)
    return build.graph


def _attention(build: _Builder, name: str, source: str, encoder_tokens: Ints | None) -> str:
    """Query, key and value products, attention, output product; keys come from the encoder in cross attention."""
    model, plan, workload = build.workload.model, build.plan, build.workload
    t, cp, h = plan.tensor_parallel, plan.context_parallel, model.hidden_size
    heads = model.heads / t
    kv_heads = np.maximum(model.kv_heads / t, 1.0)
    tokens: Ints = build.tokens
    keys: Floats = 1.0 * (encoder_tokens if encoder_tokens is not None else tokens + workload.memory_len)
    key_rows = 1.0 * plan.micro_batch_size * keys / cp
    d, v = model.head_dim, model.head_dim
    if model.mla:
        d, v, produced = _mla_projections(build, name, source, heads)
    else:
        has_bias = model.qkv_bias != "none"
        if model.positions == "relative":  # one product over the memory too, the queries of which are thrown away
            produced = [build.linear(f"{name}_qkv", 3 * heads * d, h, has_bias, source, rows=key_rows)]
        elif build.software.has_fused_qkv and encoder_tokens is None and workload.memory_len == 0:
            produced = [build.linear(f"{name}_qkv", (heads + 2 * kv_heads) * d, h, has_bias, source)]
        else:
            produced = [
                build.linear(f"{name}_query", heads * d, h, has_bias, source),
                build.linear(
                    f"{name}_key",
                    kv_heads * d,
                    h,
                    has_bias and model.qkv_bias == "all",
                    source,
                    rows=key_rows,
                    adds_gradient=True,
                ),
                build.linear(f"{name}_value", kv_heads * d, h, has_bias, source, rows=key_rows, adds_gradient=True),
            ]
        if model.has_qk_norm:
            width = 1.0 * d
            produced.append(
                build.add(Norm(f"{name}_qk_norm", build.value, build.rows * (heads + kv_heads), width), *produced)
            )
        if model.positions == "rope":
            is_fused = len(produced) == 1  # query, key and value come out of one product: so does the rotation's output
            rotated = (heads + kv_heads * (2.0 if is_fused else 1.0)) * d
            rope = build.pointwise(f"{name}_rope", "rope", build.rows * rotated, *produced)
            produced = [rope] if is_fused else [rope, produced[-1]]
    if model.positions == "relative":  # projection of the position encodings, once a micro-batch
        build.linear(f"{name}_positions", heads * d, h, False, source, rows=keys)
    causal = model.is_causal and not build.block.is_encoder and encoder_tokens is None
    seen = np.minimum(keys, workload.attended_tokens) if workload.is_packed else keys
    seen = np.minimum(seen, build.block.window) if build.block.window else seen
    is_flash = build.attention != "naive" and model.positions != "relative"
    build.add(
        Attention(
            name, build.value, 1.0 * plan.micro_batch_size, heads, kv_heads, 1.0 * tokens / cp, seen, d, v,
            causal and not build.block.window, is_flash, workload.drops_probabilities, model.positions == "relative",
            keys / cp * build.software.repeats_keys,
        ),
        *produced,
    )  # fmt: skip
    _context_exchanges(build, name, 2.0 * keys * kv_heads * d, 1.0 * tokens / cp * heads * v, keys / cp * kv_heads * d)
    output = build.linear(f"{name}_output", h, heads * v, model.has_output_bias, build.last)
    build.reduce(f"{name}_reduce")
    return output


def _context_exchanges(build: _Builder, name: str, all_keys: Floats, own_output: Floats, own_keys: Floats) -> None:
    """What context-parallel ranks exchange, in values of one sequence: all keys and values, or heads for tokens.

    Heads for tokens (DeepSpeed-Ulysses, arXiv 2309.14509): queries, keys and values on the way in, the output, as
    large as the queries, on the way out; the output before and after are two tensors, and both are kept.
    """
    plan, kind = build.plan, np.asarray(build.plan.context_exchange)
    swaps = (kind == ContextExchange.ALL_TO_ALL) & (np.asarray(plan.context_parallel) > 1)
    size, ranks = plan.micro_batch_size * build.value, plan.context_parallel
    if not np.all(swaps):
        build.add(Exchange(f"{name}_ring", build.value, "ring", "context", size * all_keys, ranks), name)
        build.graph.nodes[f"{name}_ring"]["values"] = 0.0
    build.last = name
    if np.any(swaps):
        swapped = size * (2.0 * own_output + 2.0 * own_keys)
        build.add(Exchange(f"{name}_swap", build.value, "all-to-all", "context", swapped, ranks), name)
        build.graph.nodes[f"{name}_swap"]["values"] = np.where(swaps, plan.micro_batch_size * own_output, 0.0)


def _mla_projections(build: _Builder, name: str, source: str, heads: Floats) -> tuple[int, int, list[str]]:
    """DeepSeek's low-rank queries and key-values (arXiv 2405.04434): down and up; down products are replicated."""
    mla, h = build.workload.model.mla, build.workload.model.hidden_size
    if mla is None:
        raise ValueError(f"{build.workload.model.key} has no latent attention")
    qk = mla.qk_nope_head_dim + mla.qk_rope_head_dim
    if mla.q_lora_rank:
        down = build.linear(f"{name}_query_down", float(mla.q_lora_rank), h, False, source)
        query = build.linear(f"{name}_query_up", heads * qk, mla.q_lora_rank, False, down)
    else:
        query = build.linear(f"{name}_query", heads * qk, h, False, source)
    down = build.linear(f"{name}_key_value_down", float(mla.kv_lora_rank + mla.qk_rope_head_dim), h, False, source)
    up = build.linear(
        f"{name}_key_value_up", heads * (mla.qk_nope_head_dim + mla.v_head_dim), mla.kv_lora_rank, False, down
    )
    rope = build.pointwise(f"{name}_rope", "rope", build.rows * heads * mla.qk_rope_head_dim * 2.0, query, up)
    # queries and keys are put together from their two parts, head by head
    joined = build.add(Pointwise(f"{name}_join", build.value, 2.0 * build.rows * heads * qk, "copy"), rope, query, up)
    return qk, mla.v_head_dim, [joined, up]


def _mlp(build: _Builder, source: str) -> str:
    """The block's MLP or its experts."""
    model, t = build.workload.model, build.plan.tensor_parallel
    moe = model.moe if build.block.is_moe else None
    if moe is None:
        return _dense_mlp(build, "mlp", source, model.ffn_hidden_size / t, build.rows, 1.0)
    e = build.plan.expert_parallel
    chosen = build.rows * moe.experts_per_token
    build.linear("router", float(moe.experts), model.hidden_size, moe.has_router_bias, source, adapter_rank=0)
    choices = build.rows * moe.experts
    route = Route("dispatch", build.value, chosen * model.hidden_size, choices, np.asarray(e) > 1)
    build.add(route, source, "router")
    size = chosen / build.shard * model.hidden_size * build.value  # with sequence parallelism each rank sends its rows
    build.add(Exchange("dispatch_exchange", build.value, "all-to-all", "expert", size, e))
    build.graph.nodes["dispatch_exchange"]["values"] = chosen * model.hidden_size
    local = moe.experts / e
    _dense_mlp(build, "experts", build.last, moe.expert_ffn_hidden_size / t, chosen / local, local)
    build.add(Exchange("combine_exchange", build.value, "all-to-all", "expert", size, e))
    if moe.shared_ffn_hidden_size:
        combined = build.last
        _dense_mlp(build, "shared_expert", source, moe.shared_ffn_hidden_size / t, build.rows, 1.0, reduce=False)
        build.pointwise("experts_sum", "add", build.rows * model.hidden_size, combined, build.last)
    return build.last


def _dense_mlp(
    build: _Builder, name: str, source: str, width: Floats, rows: Floats, count: Floats, reduce: bool = True
) -> str:
    """Up (and gate), activation, down, and the tensor-parallel exchange."""
    model = build.workload.model
    columns = width * (2.0 if model.is_gated_mlp else 1.0)
    more = {"rows": rows, "count": count}
    is_split = model.is_gated_mlp and not build.software.has_fused_qkv  # gate and up are products of their own
    build.linear(f"{name}_up", columns, model.hidden_size, model.has_mlp_bias, source, adds_gradient=is_split, **more)
    build.graph.nodes[f"{name}_up"]["is_pair"] = is_split
    action = "gate" if model.is_gated_mlp else "activation"
    build.pointwise(f"{name}_activation", action, rows * count * width)
    if model.positions == "relative" and build.workload.dropout > 0:
        build.pointwise(f"{name}_activation_dropout", "dropout", rows * count * width)
    build.linear(f"{name}_down", model.hidden_size, width, model.has_mlp_bias, **more)
    if reduce:
        build.reduce(f"{name}_reduce")
    return build.last


def _ends(workload: Workload, plan: Plan, software: Software) -> _Builder:
    is_encoder = bool(workload.model.encoder_layers)
    return _Builder(workload, plan, software, Block("end", 1, has_cross_attention=is_encoder), "naive")


def embedding_graph(workload: Workload, plan: Plan, software: Software) -> "nx.DiGraph[str]":
    """Word, position and type tables added up, and what follows them."""
    build = _ends(workload, plan, software)
    model = workload.model
    tables = 1 + (model.positions == "learned") + (model.token_types > 0)
    build.add(
        Lookup(
            "embedding",
            build.residual,
            build.rows,
            1.0 * model.hidden_size,
            words_on_rank(word_values(model) / model.hidden_size, plan.tensor_parallel, software.vocabulary_multiple)
            * model.hidden_size,
            tables,
            build.is_trained,
        )
    )
    values = build.rows / build.shard * model.hidden_size
    if model.has_embedding_norm:
        build.norm("embedding_norm")
    if workload.dropout > 0:
        build.pointwise("embedding_dropout", "dropout", values)
    return build.graph


def head_graph(workload: Workload, plan: Plan, software: Software) -> "nx.DiGraph[str]":
    """Final norm, the projection that the task needs, and its loss."""
    build = _ends(workload, plan, software)
    model = workload.model
    if model.has_final_norm and model.norm_position != "post":
        build.norm("final_norm")
    share = workload.head_positions / np.maximum(1.0 * build.tokens, 1.0)
    rows = build.rows * share
    more: dict[str, Any] = {"adapter_rank": 0, "stored_bytes": 0.0}
    match workload.head:
        case Head.LANGUAGE_MODEL:
            if model.kind == "encoder":  # BERT's transform before the vocabulary projection
                build.linear("transform", float(model.hidden_size), model.hidden_size, True, rows=rows, **more)
                build.pointwise("transform_activation", "activation", rows * model.hidden_size)
            _vocabulary(build, rows, more)
        case Head.SPAN:
            build.linear("span", 2.0, model.hidden_size, True, **more)
        case Head.CLASSIFICATION:
            sequences = 1.0 * plan.micro_batch_size
            build.linear("pooler", float(model.hidden_size), model.hidden_size, True, rows=sequences, **more)
            build.linear("classifier", 2.0, model.hidden_size, True, rows=sequences, **more)
    return build.graph


def _vocabulary(build: _Builder, rows: Floats, more: dict[str, Any]) -> None:
    """The vocabulary projection and its loss, in one piece or in Transformer-XL's adaptive clusters."""
    model, t = build.workload.model, build.plan.tensor_parallel
    hidden = build.last
    for name, classes, share, width in softmax_clusters(model):
        name = f"logits{name}"
        cluster = rows * share
        source = hidden
        if model.adaptive_softmax_divisor > 1:
            source = build.linear(f"{name}_projection", width, model.hidden_size, False, hidden, rows=cluster, **more)
        words = words_on_rank(classes, t, build.software.vocabulary_multiple)
        build.linear(name, words, width, model.has_head_bias, source, rows=cluster, is_vocabulary=True, **more)
        build.add(Loss(f"{name}_loss", build.value, cluster, words))
