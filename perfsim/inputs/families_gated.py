"""Families of LLaMA's kind: rotary positions, RMS norms, gated MLPs, grouped heads, windows, experts."""

from dataclasses import replace

from perfsim.core.model import Mla, Model, Moe
from perfsim.inputs.architecture import MAX_COUNT, MAX_FFN, MAX_HEADS, MAX_LAYERS
from perfsim.inputs.config_keys import Keys
from perfsim.inputs.family import STANDARD, Family, Names, attention_biases, kv_heads_of, stack, tied


def _gated(
    keys: Keys,
    kv_heads: int | None = None,
    head_dim: int | None = 0,
    is_tied: bool = False,
    names: Names = STANDARD,
    activation: str = "silu",
) -> Model:
    """LLaMA's kind: rotary positions, RMS norms, gated MLP, no biases, fewer key and value heads.

    kv_heads: what an absent key means, 0: all heads, None: it must be there, because the family's own default is
    another number. head_dim: likewise, 0: the hidden size over the heads.
    """
    model = stack(keys, "decoder", names, activation)
    width = keys.whole("head_dim", head_dim, low=1)
    return replace(
        tied(keys, model, is_tied),
        kv_heads=kv_heads_of(keys, model.heads if kv_heads == 0 else kv_heads),
        head_dim=width or keys.quotient("hidden_size", "num_attention_heads"),
        is_gated_mlp=True,
        positions="rope",
        norm="rmsnorm",
        has_norm_bias=False,
        qkv_bias="none",
        has_output_bias=False,
        has_mlp_bias=False,
    )


def _windowed(keys: Keys, model: Model, every: int = 0) -> Model:
    """The sliding window: on the layers that layer_types lists, else on all but each `every`-th (0: on all layers)."""
    window = keys.whole("sliding_window", 0, low=0, high=MAX_COUNT)
    listed = keys.items("layer_types", model.layers)
    local = model.layers - model.layers // every if every else model.layers
    if listed:
        local = listed.count("sliding_attention")
    return replace(model, window=window if local else 0, windowed_layers=local if window else 0)


def _llama(keys: Keys) -> Model:
    model = attention_biases(keys, _gated(keys, kv_heads=0))
    return replace(model, has_mlp_bias=keys.flag("mlp_bias", False))


def _llama4(keys: Keys) -> Model:
    """Chunks but in every fourth layer; one expert a token beside a shared one of the same width."""
    model = attention_biases(keys, _gated(keys, head_dim=None))
    if keys.whole("interleave_moe_layer_step", 1, low=0) != 1:
        keys.refuse("interleave_moe_layer_step", "only 1 is supported", "describe the model in a spec file")
    chunk, every = keys.whole("attention_chunk_size", high=MAX_COUNT), keys.whole("no_rope_layer_interval", 4)
    model = _experts_only(keys, model, "num_local_experts", "intermediate_size")
    assert model.moe  # noqa: S101 (the line above has just made it)
    moe = replace(model.moe, shared_ffn_hidden_size=model.moe.expert_ffn_hidden_size)
    listed = keys.items("layer_types", model.layers)
    local = listed.count("chunked_attention") if listed else model.layers - model.layers // every
    return replace(model, moe=moe, window=chunk, windowed_layers=local, has_chunks=True)


def _mistral(keys: Keys) -> Model:
    keys.expect("sliding_window")
    return _windowed(keys, _gated(keys))


def _mixtral(keys: Keys) -> Model:
    return _experts_only(keys, _windowed(keys, _gated(keys)), "num_local_experts", "intermediate_size")


def _qwen2(keys: Keys) -> Model:
    """A window that only the layers from max_window_layers on have, and only where use_sliding_window is true."""
    model = replace(_gated(keys), qkv_bias="all")
    if not keys.flag("use_sliding_window", False):
        return model
    local = max(model.layers - keys.whole("max_window_layers", low=0, high=MAX_LAYERS), 0)
    window = keys.whole("sliding_window", high=MAX_COUNT)
    return replace(model, window=window if local else 0, windowed_layers=local)


def _qwen2_moe(keys: Keys) -> Model:
    """Beside the experts stands a shared one, weighed by a gate of hidden_size values in each layer."""
    shared = keys.whole("shared_expert_intermediate_size", high=MAX_FFN)
    model = _experts_only(keys, _qwen2(keys), "num_experts", "moe_intermediate_size")
    assert model.moe  # noqa: S101 (the line above has just made it)
    moe = replace(model.moe, shared_ffn_hidden_size=shared)
    return replace(model, moe=moe, extra_parameters=model.layers * model.hidden_size)


def _qwen3(keys: Keys) -> Model:
    return replace(attention_biases(keys, _gated(keys, head_dim=None)), has_qk_norm=True)


def _qwen3_moe(keys: Keys) -> Model:
    return _experts_only(keys, _qwen3(keys), "num_experts", "moe_intermediate_size")


def _gemma(keys: Keys) -> Model:
    """Whatever Gemma's config calls its activation, the tanh form of GELU is computed."""
    model = _gated(keys, head_dim=None, is_tied=True, names=Names(activation=""), activation="gelu_tanh")
    return attention_biases(keys, model)


def _gemma2(keys: Keys) -> Model:
    model = replace(_gemma(keys), norms_per_layer=4, norm_position="pre+post")
    return _windowed(keys, model, every=2)


def _gemma3(keys: Keys) -> Model:
    model = replace(_gemma(keys), norms_per_layer=4, norm_position="pre+post", has_qk_norm=True)
    return _windowed(keys, model, every=keys.whole("sliding_window_pattern", 6, high=MAX_LAYERS))


def _phi3(keys: Keys) -> Model:
    return _windowed(keys, attention_biases(keys, _gated(keys, kv_heads=0)))


def _deepseek(keys: Keys, has_router_bias: bool) -> Model:
    """Latent attention; the first layers dense, the others with shared and routed experts."""
    mla = Mla(
        q_lora_rank=keys.whole("q_lora_rank", 0),
        kv_lora_rank=keys.whole("kv_lora_rank"),
        qk_nope_head_dim=keys.whole("qk_nope_head_dim"),
        qk_rope_head_dim=keys.whole("qk_rope_head_dim"),
        v_head_dim=keys.whole("v_head_dim"),
    )
    model = _gated(keys, head_dim=mla.qk_nope_head_dim + mla.qk_rope_head_dim)
    dense = keys.whole("first_k_dense_replace", low=0, high=MAX_LAYERS)
    width = keys.whole("moe_intermediate_size", high=MAX_FFN)
    if keys.whole("moe_layer_freq", 1) != 1:
        keys.refuse("moe_layer_freq", "only 1 is supported", "describe the model in a spec file")
    if dense >= model.layers:
        keys.refuse("first_k_dense_replace", f"{dense} leave no layer for experts", "write fewer than all layers")
    moe = Moe(
        experts=keys.whole("n_routed_experts", low=2, high=MAX_HEADS),
        experts_per_token=keys.whole("num_experts_per_tok", high=MAX_HEADS),
        expert_ffn_hidden_size=width,
        shared_ffn_hidden_size=width * keys.whole("n_shared_experts", 0, low=0, high=MAX_HEADS),
        dense_layers=dense,
        has_router_bias=has_router_bias,
    )
    further = keys.whole("num_nextn_predict_layers", 0, low=0, high=MAX_LAYERS)
    width = mla.qk_nope_head_dim + mla.qk_rope_head_dim
    return replace(model, head_dim=width, mla=mla, moe=_checked(keys, moe), mtp_layers=further)


def _gpt_oss(keys: Keys) -> Model:
    """Biases everywhere, router included, and one attention sink a head."""
    model = _windowed(keys, attention_biases(keys, _gated(keys, head_dim=None), True), every=2)
    model = _experts_only(keys, replace(model, has_mlp_bias=True), "num_local_experts", "intermediate_size", True)
    return replace(model, extra_parameters=model.layers * model.heads)


def _experts_only(keys: Keys, model: Model, experts: str, width: str, has_router_bias: bool = False) -> Model:
    """The model with experts in every layer."""
    if keys.items("mlp_only_layers"):
        keys.refuse("mlp_only_layers", "layers without experts are not supported", "describe the model in a spec file")
    if keys.whole("decoder_sparse_step", 1) != 1:
        keys.refuse("decoder_sparse_step", "only 1 is supported", "describe the model in a spec file")
    moe = Moe(
        experts=keys.whole(experts, low=2, high=MAX_HEADS),
        experts_per_token=keys.whole("num_experts_per_tok", high=MAX_HEADS),
        expert_ffn_hidden_size=keys.whole(width, high=MAX_FFN),
        has_router_bias=has_router_bias,
    )
    return replace(model, ffn_hidden_size=0, moe=_checked(keys, moe))


def _checked(keys: Keys, moe: Moe) -> Moe:
    if moe.experts_per_token > moe.experts:
        what = f"{moe.experts_per_token} of {moe.experts} experts"
        keys.refuse("num_experts_per_tok", what, "write at most as many as there are experts")
    return moe


GATED: dict[str, Family] = {
    "deepseek_v2": lambda keys: _deepseek(keys, has_router_bias=False),
    "deepseek_v3": lambda keys: _deepseek(keys, has_router_bias=True),
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
    "gpt_oss": _gpt_oss,
    "kimi_k2": lambda keys: _deepseek(keys, has_router_bias=True),
    "llama": _llama,
    "llama4_text": _llama4,
    "mistral": _mistral,
    "mixtral": _mixtral,
    "phi3": _phi3,
    "qwen2": _qwen2,
    "qwen2_moe": _qwen2_moe,
    "qwen3": _qwen3,
    "qwen3_moe": _qwen3_moe,
}
