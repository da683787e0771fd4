"""Layers of diffusion transformers: norms without weights, scaled, shifted and gated by what images are made from.

One stream of image tokens (DiT, arXiv 2212.09748), or a second of text tokens with weights of its own that attends
together with the first (MMDiT of Stable Diffusion 3, arXiv 2403.03206).
"""

from perfsim.core.numbers import Floats
from perfsim.formulas.operations import Attention
from perfsim.graphs.attention import context_exchanges
from perfsim.graphs.builder import Builder
from perfsim.graphs.mlp import dense_mlp


def diffusion_layer(build: Builder) -> None:
    """One layer: every stream's queries, keys and values, attention over all of them, every stream's MLP."""
    model, plan = build.workload.model, build.plan
    h, heads, d = model.hidden_size, model.heads / plan.tensor_parallel, model.head_dim
    sequences = 1.0 * plan.micro_batch_size
    condition = build.source("condition", sequences * h)
    streams: list[tuple[str, str, Floats]] = [("", "input", build.rows)]
    if model.context_tokens:
        rows = build.rows * (model.context_tokens / (1.0 * build.tokens))
        streams.append(("context_", build.source("context", rows / build.shard * h), rows))
    produced = []
    for stream, residual, rows in streams:
        build.linear(f"{stream}modulation", model.modulations * h, h, True, condition, rows=sequences)
        source = _modulated(build, stream, "attention", residual, rows)
        has_bias = model.qkv_bias != "none"
        produced.append(build.linear(f"{stream}attention_qkv", 3.0 * heads * d, h, has_bias, source, rows=rows))
    tokens = 1.0 * (build.tokens + model.context_tokens)
    scores = Attention(
        "attention", build.value, sequences, heads, heads, tokens / plan.context_parallel, tokens, d, d,
        is_flash=build.attention != "naive",
    )  # fmt: skip
    build.add(scores, *produced)
    own = tokens / plan.context_parallel * heads * d
    context_exchanges(build, "attention", 2.0 * tokens * heads * d, own, own)
    attended = build.last
    for stream, residual, rows in streams:
        build.linear(f"{stream}attention_output", h, heads * d, model.has_output_bias, attended, rows=rows)
        middle = _sublayer_end(build, stream, "attention", residual, rows)
        source = _modulated(build, stream, "mlp", middle, rows)
        width = model.ffn_hidden_size / plan.tensor_parallel
        dense_mlp(build, f"{stream}mlp", source, width, rows, 1.0, reduce=False)
        _sublayer_end(build, stream, "mlp", middle, rows)


def _modulated(build: Builder, stream: str, name: str, residual: str, rows: Floats) -> str:
    """A norm without weights, scaled and shifted."""
    normed = build.norm(f"{stream}{name}_norm", residual, rows=rows)
    values = rows / build.shard * build.workload.model.hidden_size
    return build.pointwise(f"{stream}{name}_modulated", "modulation", values, normed, f"{stream}modulation")


def _sublayer_end(build: Builder, stream: str, name: str, residual: str, rows: Floats) -> str:
    """The tensor-parallel exchange, the gate and the sum with the residual."""
    build.reduce(f"{stream}{name}_reduce", rows)
    values = rows / build.shard * build.workload.model.hidden_size
    gated = build.pointwise(f"{stream}{name}_gated", "modulation", values, build.last, f"{stream}modulation")
    return build.pointwise(f"{stream}{name}_residual", "add", values, gated, residual)
