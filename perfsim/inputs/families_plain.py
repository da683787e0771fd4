"""Families with layer norms and biases or T5's relative ones: BERT's and GPT-2's kind, encoder-decoders, vision."""

from dataclasses import replace

from perfsim.core.model import Model, Product
from perfsim.inputs.architecture import MAX_COUNT, MAX_FFN, MAX_HEADS, MAX_LAYERS
from perfsim.inputs.config_keys import Keys
from perfsim.inputs.family import (
    STANDARD,
    Family,
    Names,
    attention_biases,
    kv_heads_of,
    plain,
    stack,
    tied,
    with_biases,
    with_positions,
)

T5_PROJECTIONS = {"relu": "relu", "gelu": "gelu", "gated-gelu": "gelu_new", "gated-silu": "silu"}
MPT_ATTENTION = ("multihead_attention", "multiquery_attention", "grouped_query_attention")


def _encoder(keys: Keys, names: Names = STANDARD) -> Model:
    """BERT's kind: norms after the blocks and after the embedding, none at the end."""
    keys.choice("position_embedding_type", ("absolute",), "absolute")
    model = plain(keys, "encoder", names)
    model = replace(model, norm_position="post", has_embedding_norm=True, has_final_norm=False)
    return with_positions(model, model.max_positions)


def _bert(keys: Keys) -> Model:
    """BERT and RoBERTa with their pooler, which every classification head but RoBERTa's own stands on."""
    model = _encoder(keys)
    types = keys.whole("type_vocab_size", 2, low=0)
    return replace(model, token_types=types, extra_parameters=model.hidden_size * (model.hidden_size + 1))


def _distilbert(keys: Keys) -> Model:
    return _encoder(keys, Names("dim", "n_layers", "n_heads", "hidden_dim", "activation"))


def _electra(keys: Keys) -> Model:
    """The discriminator; word vectors may be narrower than the layers."""
    model = _encoder(keys)
    narrow = keys.whole("embedding_size")
    model = replace(model, token_types=keys.whole("type_vocab_size", 2, low=0), embedding_size=narrow)
    return replace(model, position_parameters=model.max_positions * narrow)


def _gpt2(keys: Keys) -> Model:
    names = Names("n_embd", "n_layer", "n_head", "n_inner", "activation_function", "n_positions")
    model = plain(keys, "decoder", names, "gelu_new", ffn_ratio=4)
    return tied(keys, with_positions(model, model.max_positions), True)


def _gpt_neo(keys: Keys) -> Model:
    """Attention without biases on q, k and v; every second layer is local unless the file lists them."""
    names = Names(layers="num_layers", heads="num_heads", activation="activation_function")
    model = plain(keys, "decoder", names, "gelu_new", ffn_ratio=4)
    listed = keys.items("attention_layers", model.layers)
    local = listed.count("local") if listed else model.layers // 2
    window = keys.whole("window_size", 256, high=MAX_COUNT)
    model = replace(model, qkv_bias="none", window=window if local else 0, windowed_layers=local)
    return tied(keys, with_positions(model, model.max_positions), True)


def _gpt_neox(keys: Keys) -> Model:
    model = attention_biases(keys, replace(plain(keys, "decoder"), positions="rope"), True)
    is_parallel = keys.flag("use_parallel_residual", True)
    return tied(keys, replace(model, norm_position="parallel" if is_parallel else "pre"), False)


def _opt(keys: Keys) -> Model:
    """Two more position rows than positions; OPT-350M alone has narrow embeddings and norms after the blocks."""
    model = plain(keys, "decoder", Names(ffn="ffn_dim", activation="activation_function"), "relu")
    has_bias, is_pre = keys.flag("enable_bias", True), keys.flag("do_layer_norm_before", True)
    model = replace(
        with_positions(model, model.max_positions + 2),
        norm_position="pre" if is_pre else "post",
        has_final_norm=is_pre,
        embedding_size=keys.whole("word_embed_proj_dim", model.hidden_size),
    )
    return tied(keys, with_biases(model, has_bias), True)


def _bloom(keys: Keys) -> Model:
    model = plain(keys, "decoder", Names("n_embed", "n_layer", "n_head", "", "", ""), "gelu_tanh")
    model = replace(model, positions="alibi", max_positions=keys.whole("seq_length", 2048, high=MAX_COUNT))
    return tied(keys, replace(model, has_embedding_norm=True), True)


def _mpt(keys: Keys) -> Model:
    names = Names("d_model", "n_layers", "n_heads", "", "", "max_seq_len")
    model = plain(keys, "decoder", names)
    attention = keys.table("attn_config")
    has_bias, has_alibi = not keys.flag("no_bias", True), attention.flag("alibi", True)
    is_multi_query = attention.choice("attn_type", MPT_ATTENTION, MPT_ATTENTION[0]) == "multiquery_attention"
    kv_heads = attention.whole("kv_n_heads", 1 if is_multi_query else model.heads, high=MAX_HEADS)
    model = replace(
        with_positions(model, 0 if has_alibi else model.max_positions),
        kv_heads=kv_heads,
        ffn_hidden_size=keys.whole("expansion_ratio", 4) * model.hidden_size,
        positions="alibi" if has_alibi else "learned",
        has_norm_bias=has_bias,
    )
    return tied(keys, with_biases(model, has_bias), True)


def _falcon(keys: Keys) -> Model:
    """7B: one norm and one key-value head; 40B and 180B: two norms beside each other and groups of heads."""
    model = plain(keys, "decoder", Names(ffn="ffn_hidden_size", activation="activation", positions=""), ffn_ratio=4)
    has_bias, is_grouped = keys.flag("bias", False), keys.flag("new_decoder_architecture", False)
    is_parallel = keys.flag("parallel_attn", True) or is_grouped
    kv_heads = 1 if keys.flag("multi_query", True) else model.heads
    if is_grouped:
        kv_heads = keys.whole("num_kv_heads", high=MAX_HEADS)
        keys.quotient("num_attention_heads", "num_kv_heads")
    norms = keys.whole("num_ln_in_parallel_attn", 2, high=2) if is_grouped else 1 if is_parallel else 2
    model = replace(
        model,
        kv_heads=kv_heads,
        positions="alibi" if keys.flag("alibi", False) else "rope",
        max_positions=keys.whole("max_position_embeddings", 2048, high=MAX_COUNT),
        norms_per_layer=norms,
        norm_position="parallel" if is_parallel else "pre",
    )
    return tied(keys, with_biases(model, has_bias), True)


def _phi(keys: Keys) -> Model:
    model = plain(keys, "decoder", activation="gelu_new")
    model = replace(model, positions="rope", norms_per_layer=1, norm_position="parallel", has_head_bias=True)
    return tied(keys, replace(model, kv_heads=kv_heads_of(keys, model.heads)), False)


def _t5(keys: Keys) -> Model:
    """Relative biases of 32 buckets a head, once in the encoder and once in the decoder."""
    names = Names("d_model", "num_layers", "num_heads", "d_ff", "", "")
    model = stack(keys, "encoder-decoder", names, "relu")
    projection = keys.choice("feed_forward_proj", tuple(T5_PROJECTIONS), "relu")
    buckets = keys.whole("relative_attention_num_buckets", 32)
    model = replace(
        model,
        layers=keys.whole("num_decoder_layers", model.layers, high=MAX_LAYERS),
        encoder_layers=model.layers,
        head_dim=keys.whole("d_kv"),
        is_gated_mlp=projection.startswith("gated-"),
        activation=T5_PROJECTIONS[projection],
        positions="relative-bias",
        max_positions=keys.whole("n_positions", 512, high=MAX_COUNT),
        norm="rmsnorm",
        has_norm_bias=False,
        qkv_bias="none",
        has_output_bias=False,
        has_mlp_bias=False,
        extra_parameters=2 * buckets * model.heads,
    )
    return tied(keys, model, True)


def _bart(keys: Keys) -> Model:
    """Encoder and decoder of the same width, each with its position table (two rows more) and embedding norm."""
    names = Names("d_model", "decoder_layers", "decoder_attention_heads", "decoder_ffn_dim", "activation_function")
    model = _alike(keys, plain(keys, "encoder-decoder", names))
    model = replace(
        with_positions(model, 2 * (model.max_positions + 2)),
        norm_position="post",
        has_embedding_norm=True,
        has_final_norm=False,
        extra_parameters=2 * model.hidden_size,  # the decoder's embedding norm
    )
    return tied(keys, model, True)


def _whisper(keys: Keys) -> Model:
    """Two convolutions over three frames each, the second with a stride of two; the encoder's sinusoids are stored."""
    names = Names("d_model", "decoder_layers", "decoder_attention_heads", "decoder_ffn_dim", "activation_function",
                  "max_target_positions")  # fmt: skip
    model = _alike(keys, plain(keys, "encoder-decoder", names))
    hidden, frames = model.hidden_size, keys.whole("max_source_positions", high=MAX_COUNT)
    convolution = Product("convolution", 3 * keys.whole("num_mel_bins"), hidden, 2.0, activation="gelu")
    strided = Product("strided_convolution", 3 * hidden, hidden, activation="gelu")
    model = replace(with_positions(model, model.max_positions), qkv_bias="qv", encoder_tokens=frames)
    return replace(model, stem=(convolution, strided), extra_parameters=frames * hidden)


def _alike(keys: Keys, model: Model) -> Model:
    """The decoder with an encoder of the same width."""
    for encoder, decoder in (("encoder_attention_heads", model.heads), ("encoder_ffn_dim", model.ffn_hidden_size)):
        if keys.whole(encoder, high=MAX_FFN) != decoder:
            keys.refuse(encoder, "differs from the decoder's, which is not supported", "make both the same")
    return replace(model, encoder_layers=keys.whole("encoder_layers", high=MAX_LAYERS))


def _vit(keys: Keys) -> Model:
    """Patches, a class token, and a classifier of as many classes as id2label names."""
    model = plain(keys, "vit", Names(positions=""))
    patch, channels = keys.whole("patch_size"), keys.whole("num_channels", 3)
    keys.whole("image_size")
    tokens = keys.quotient("image_size", "patch_size") ** 2 + 1
    hidden = model.hidden_size
    patches, classifier = Product("patches", channels * patch**2, hidden), keys.size("id2label") * (hidden + 1)
    model = replace(model, max_positions=tokens, stem=(patches,), extra_parameters=hidden + classifier)
    if not keys.flag("qkv_bias", True):
        model = replace(model, qkv_bias="none")
    return with_positions(model, tokens)


PLAIN: dict[str, Family] = {
    "bart": _bart,
    "bert": _bert,
    "bloom": _bloom,
    "distilbert": _distilbert,
    "electra": _electra,
    "falcon": _falcon,
    "gpt2": _gpt2,
    "gpt_neo": _gpt_neo,
    "gpt_neox": _gpt_neox,
    "mpt": _mpt,
    "mt5": _t5,
    "opt": _opt,
    "phi": _phi,
    "roberta": _bert,
    "t5": _t5,
    "vit": _vit,
    "whisper": _whisper,
    "xlm-roberta": _bert,
}
