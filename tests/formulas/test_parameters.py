"""Counts against architectures worked out by hand, and the laws that hold for every architecture."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim.core.model import Mla, Model, Moe
from perfsim.core.workload import Head, Task
from perfsim.errors import UnsupportedError
from perfsim.formulas.parameters import (
    adapter_parameters,
    attention_matrices,
    count,
    head_parameters,
    parameters_with_head,
    trainable,
)

GPT2 = Model(
    key="gpt2",
    name="GPT-2",
    kind="decoder",
    layers=12,
    hidden_size=768,
    heads=12,
    kv_heads=12,
    head_dim=64,
    ffn_hidden_size=3072,
    is_gated_mlp=False,
    activation="gelu_new",
    vocab_size=50257,
    has_tied_embeddings=True,
    positions="learned",
    max_positions=1024,
    is_causal=True,
    qkv_bias="all",
    has_output_bias=True,
    has_mlp_bias=True,
    position_parameters=1024 * 768,
)
LLAMA = Model(
    key="llama-7b",
    name="LLaMA 7B",
    kind="decoder",
    layers=32,
    hidden_size=4096,
    heads=32,
    kv_heads=32,
    head_dim=128,
    ffn_hidden_size=11008,
    is_gated_mlp=True,
    activation="silu",
    vocab_size=32000,
    has_tied_embeddings=False,
    positions="rope",
    max_positions=2048,
    is_causal=True,
    norm="rmsnorm",
    has_norm_bias=False,
)
MIXTRAL = replace(LLAMA, key="mixtral-8x7b", kv_heads=8, ffn_hidden_size=0, moe=Moe(8, 2, 14336))
T5 = replace(
    GPT2,
    key="t5",
    kind="encoder-decoder",
    encoder_layers=6,
    norm="rmsnorm",
    has_norm_bias=False,
    qkv_bias="none",
    has_output_bias=False,
    has_mlp_bias=False,
)


@st.composite
def models(draw: st.DrawFn) -> Model:
    kv_heads, groups = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    layers = draw(st.integers(1, 100))
    moe = draw(st.none() | st.builds(Moe, st.integers(8, 64), st.integers(1, 8), st.integers(1, 4096)))
    if moe:
        moe = replace(
            moe, dense_layers=draw(st.integers(0, layers - 1)), shared_ffn_hidden_size=draw(st.integers(0, 99))
        )
    return replace(
        GPT2,
        layers=layers,
        hidden_size=draw(st.integers(1, 16384)),
        heads=kv_heads * groups,
        kv_heads=kv_heads,
        head_dim=draw(st.integers(1, 256)),
        ffn_hidden_size=draw(st.integers(1, 65536)),
        is_gated_mlp=draw(st.booleans()),
        vocab_size=draw(st.integers(1, 300_000)),
        has_tied_embeddings=draw(st.booleans()),
        norm=draw(st.sampled_from(["layernorm", "rmsnorm", "none"])),
        has_norm_bias=draw(st.booleans()),
        qkv_bias=draw(st.sampled_from(["none", "all", "qv"])),
        has_output_bias=draw(st.booleans()),
        has_mlp_bias=draw(st.booleans()),
        has_qk_norm=draw(st.booleans()),
        encoder_layers=draw(st.integers(0, 24)) if moe is None else 0,
        moe=moe,
    )


def test_a_gpt2_layer_has_12_h2_and_13_h_parameters() -> None:
    counted = count(GPT2)
    h = 768
    assert counted.dense_layer_total == 12 * h**2 + 13 * h
    assert counted.attention_layer == 4 * h**2 + 4 * h
    assert counted.mlp_layer == 8 * h**2 + 5 * h
    assert counted.norms_layer == 4 * h
    assert counted.embedding == (50257 + 1024) * h
    assert counted.head == 0
    assert counted.linear_parameters == 12 * 12 * h**2
    assert counted.total == counted.active == 124_439_808


def test_a_llama_checkpoint_has_291_tensors() -> None:
    counted = count(LLAMA)
    assert counted.total == 6_738_415_616
    assert counted.tensors_per_layer == 9
    assert counted.tensors == 32 * 9 + 3


def test_a_token_meets_two_of_mixtrals_eight_experts() -> None:
    counted = count(MIXTRAL)
    expert = 3 * 4096 * 14336
    assert counted.total == 46_702_792_704
    assert counted.total - counted.active == 32 * 6 * expert
    assert counted.expert_parameters == 8 * expert
    assert counted.moe_layer == 8 * expert + 8 * 4096
    assert counted.moe_layer_active == 2 * expert + 8 * 4096
    assert (counted.mlp_layer, counted.dense_layer_total, counted.tensors_per_layer) == (0, 0, 0)
    assert counted.tensors_per_moe_layer == 4 + 2 + 1 + 8 * 3


def test_a_decoder_with_an_encoder_attends_twice() -> None:
    counted = count(T5)
    h = 768
    assert counted.cross_attention_layer == counted.attention_layer == 4 * h**2
    assert counted.norms_layer == 3 * h
    assert counted.encoder_layer == 12 * h**2 + 2 * h
    assert counted.dense_layer_total == 16 * h**2 + 3 * h
    assert counted.final_norms == 2 * h


def test_latent_attention_is_counted_by_its_ranks() -> None:
    model = replace(LLAMA, hidden_size=2048, heads=16, kv_heads=16, head_dim=192, mla=Mla(0, 512, 128, 64, 128))
    assert [m.name for m in attention_matrices(model)] == ["q_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"]
    query, down, up, out = 2048 * 16 * 192, 2048 * (512 + 64), 512 * 16 * 256, 16 * 128 * 2048
    assert count(model).attention_layer == query + down + up + out + 512
    low_rank = replace(model, mla=Mla(1536, 512, 128, 64, 128))
    query = 2048 * 1536 + 1536 * 16 * 192
    assert count(low_rank).attention_layer == query + 1536 + down + up + out + 512


def test_lora_of_rank_16_on_q_and_v_of_llama() -> None:
    assert trainable(LLAMA, Task.LORA, lora_rank=16, lora_targets=("q_proj", "v_proj")) == 32 * 2 * 16 * 2 * 4096
    assert trainable(LLAMA, Task.QLORA, lora_rank=16) == 32 * 16 * (4 * 2 * 4096 + 3 * (4096 + 11008))


def test_lora_on_a_product_that_a_model_lacks_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="gpt2 has no product gate_proj; did you mean"):
        adapter_parameters(GPT2, 8, ("gate_proj",))
    with pytest.raises(UnsupportedError, match="its products are down_proj, k_proj"):
        adapter_parameters(GPT2, 8, ("zzz",))


def test_freezing_trains_the_head_alone() -> None:
    assert trainable(GPT2, Task.FREEZE, Head.CLASSIFICATION) == 2 * 769
    assert trainable(LLAMA, Task.FREEZE, Head.LANGUAGE_MODEL) == 32000 * 4096
    assert head_parameters(LLAMA, Head.NONE) == 0


def test_another_head_replaces_the_vocabulary_projection() -> None:
    assert parameters_with_head(LLAMA, Head.CLASSIFICATION) == 6_738_415_616 - 32000 * 4096 + 2 * 4097
    assert parameters_with_head(GPT2, Head.SPAN) == 124_439_808 + 2 * 769
    assert trainable(LLAMA, Task.PRETRAIN) == count(LLAMA).total
    assert trainable(LLAMA, Task.LORA, Head.CLASSIFICATION, 8, ("q_proj",)) == 32 * 8 * 8192 + 2 * 4097


@given(models())
def test_the_parts_add_up(model: Model) -> None:
    counted = count(model)
    dense = model.layers - model.moe_layers
    layers = dense * counted.dense_layer_total + model.moe_layers * counted.moe_layer_total
    layers += model.encoder_layers * counted.encoder_layer
    outside = counted.embedding + counted.head + counted.final_norms + counted.extra
    assert counted.total == layers + outside
    assert counted.linear_parameters <= layers
    assert counted.active <= counted.total
    around = counted.attention_layer + counted.cross_attention_layer + counted.norms_layer
    if dense:
        assert counted.dense_layer_total == around + counted.mlp_layer
    if model.moe:
        assert counted.moe_layer_total == around + counted.moe_layer


@given(models())
def test_one_layer_more_adds_one_layer(model: Model) -> None:
    more, less = count(replace(model, layers=model.layers + 1)), count(model)
    assert more.total - less.total == (less.moe_layer_total if model.moe else less.dense_layer_total)
    assert more.tensors - less.tensors == (less.tensors_per_moe_layer if model.moe else less.tensors_per_layer)


@given(models(), st.integers(1, 64))
def test_adapters_grow_with_their_rank_and_are_the_sum_of_their_targets(model: Model, rank: int) -> None:
    one = adapter_parameters(model, 1)
    assert adapter_parameters(model, rank) == rank * one
    names = {m.name for m in attention_matrices(model)}
    attention = sum(adapter_parameters(model, 1, (name,)) for name in names)
    assert attention == adapter_parameters(model, 1, tuple(names)) <= one


@given(models())
def test_fewer_key_value_heads_never_add_parameters(model: Model) -> None:
    assert count(replace(model, kv_heads=1)).total <= count(model).total
