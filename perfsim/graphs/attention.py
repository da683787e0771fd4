"""Attention in a layer's graph: projections, scores and values, output; plain, grouped, latent, windowed or crossed."""

from dataclasses import replace

import numpy as np

from perfsim.core.model import Mla
from perfsim.core.numbers import Floats, Ints
from perfsim.core.plan import ContextExchange
from perfsim.formulas.operations import Attention, Exchange, Norm, Pointwise
from perfsim.graphs.builder import Builder


def attention(build: Builder, name: str, source: str, encoder_tokens: Ints | None) -> str:
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
        d, v, produced = _mla_projections(build, model.mla, name, source, heads)
    else:
        produced = _projections(build, name, source, heads, kv_heads, key_rows, encoder_tokens is not None)
    if model.positions == "relative":  # projection of the position encodings, once a micro-batch
        build.linear(f"{name}_positions", heads * d, h, False, source, rows=keys)
    causal = model.is_causal and not build.block.is_encoder and encoder_tokens is None
    seen = np.minimum(keys, workload.attended_tokens) if workload.is_packed else keys
    # context-parallel ranks share the causal triangle evenly: all queries of some heads, or early and late queries of
    # all heads (NVIDIA/TransformerEngine transformer_engine/pytorch/attention, load-balanced causal masks)
    scores = Attention(
        name, build.value, 1.0 * plan.micro_batch_size, heads / cp, kv_heads / cp, 1.0 * tokens, seen, d, v,
        causal, build.attention != "naive" and model.positions != "relative", workload.drops_probabilities,
        model.positions == "relative", copied_len=keys * build.software.repeats_keys,
    )  # fmt: skip
    is_windowed = build.block.window > 0 and scores.is_flash  # written-out scores are masked, not left out
    build.add(_windowed(scores, build.block.window, model.has_chunks) if is_windowed else scores, *produced)
    context_exchanges(build, name, 2.0 * keys * kv_heads * d, 1.0 * tokens / cp * heads * v, keys / cp * kv_heads * d)
    output = build.linear(f"{name}_output", h, heads * v, model.has_output_bias, build.last)
    build.reduce(f"{name}_reduce")
    return output


def context_exchanges(build: Builder, name: str, all_keys: Floats, own_output: Floats, own_keys: Floats) -> None:
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


def _projections(
    build: Builder, name: str, source: str, heads: Floats, kv_heads: Floats, key_rows: Floats, is_cross: bool
) -> list[str]:
    """Queries, keys and values, each of its own product or all of one, normalised and rotated where the model does."""
    model, workload = build.workload.model, build.workload
    h, d, has_bias = model.hidden_size, model.head_dim, model.qkv_bias != "none"
    if model.positions == "relative":  # one product over the memory too, the queries of which are thrown away
        return [build.linear(f"{name}_qkv", 3 * heads * d, h, has_bias, source, rows=key_rows)]
    if build.software.has_fused_qkv and not is_cross and workload.memory_len == 0:
        looked_up = value = build.linear(f"{name}_qkv", (heads + 2 * kv_heads) * d, h, has_bias, source)
        found = [value]
    else:
        more = {"rows": key_rows, "adds_gradient": True}
        query = build.linear(f"{name}_query", heads * d, h, has_bias, source)
        looked_up = build.linear(f"{name}_key", kv_heads * d, h, model.qkv_bias == "all", source, **more)
        value = build.linear(f"{name}_value", kv_heads * d, h, has_bias, source, **more)
        found = [query, looked_up, value]
    is_fused = looked_up == value
    rotated = (heads + kv_heads * (2.0 if is_fused else 1.0)) * d  # out of one product, the values are copied along
    if model.has_qk_norm:
        normed = Norm(f"{name}_qk_norm", build.value, build.rows * (heads + kv_heads), 1.0 * d)
        found = [build.add(normed, *(found[:1] if is_fused else found[:2])), value]
        is_fused, rotated = False, (heads + kv_heads) * d
    if model.positions != "rope":
        return found
    rope = build.pointwise(f"{name}_rope", "rope", build.rows * rotated, *(found if is_fused else found[:-1]))
    return [rope] if is_fused else [rope, value]


def _windowed(full: Attention, window: int, has_chunks: bool) -> Attention:
    """Attention to a sliding window of so many tokens, or to one's own chunk of so many.

    In a causal window of w of s tokens a query sees w - w²/2s keys on average; chunks are sequences of their own
    (Llama 4: huggingface/transformers masking_utils.py, chunked_overlay).
    """
    seen = np.minimum(full.key_len, window)
    if has_chunks:
        chunks = full.key_len / seen
        return replace(full, sequences=full.sequences * chunks, query_len=full.query_len / chunks, key_len=seen)
    if not full.is_causal:
        return replace(full, key_len=seen)
    return replace(full, key_len=seen - seen * seen / (2.0 * full.key_len), is_causal=False, is_banded=True)


def _mla_projections(build: Builder, mla: Mla, name: str, source: str, heads: Floats) -> tuple[int, int, list[str]]:
    """DeepSeek's low-rank queries and key-values (arXiv 2405.04434): down and up; down products are replicated."""
    h = build.workload.model.hidden_size
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
