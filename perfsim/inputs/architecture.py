"""The schema of a transformer's shape: Hugging Face's key names, and perfsim's own where a config.json is silent."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from perfsim.core.model import Mla, Model, Moe, Positions, Product, Role, Tower, TransformerKind
from perfsim.inputs.files import Name, Spec
from perfsim.inputs.positions import Loc
from perfsim.inputs.published import MAX_PARAMETERS

MAX_LAYERS, MAX_HEADS, MAX_WIDTH, MAX_COUNT = 10**4, 2**16, 2**20, 2**30
MAX_FFN = 8 * MAX_WIDTH

Layers = Annotated[int, Field(ge=1, le=MAX_LAYERS)]
Heads = Annotated[int, Field(ge=1, le=MAX_HEADS)]
Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
FfnWidth = Annotated[int, Field(ge=1, le=MAX_FFN)]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Extra = dict[str, Annotated[int, Field(ge=-MAX_PARAMETERS, le=MAX_PARAMETERS)]]
Problem = tuple[Loc, str, str]

Norm = Literal["layernorm", "rmsnorm", "none"]
NormPosition = Literal["pre", "post", "parallel", "pre+post", "adaLN-zero"]
Activation = Literal["gelu", "gelu_new", "gelu_tanh", "silu", "relu", "quick_gelu"]


class MlaSpec(Spec):
    """Multi-head latent attention; a q_lora_rank of 0 projects queries directly."""

    q_lora_rank: Annotated[int, Field(ge=0, le=MAX_WIDTH)] = 0
    kv_lora_rank: Width
    qk_nope_head_dim: Width
    qk_rope_head_dim: Width
    v_head_dim: Width


class MoeSpec(Spec):
    """Experts; the first `first_k_dense_replace` layers keep an ordinary MLP of intermediate_size."""

    num_local_experts: Annotated[int, Field(ge=2, le=MAX_HEADS)]
    num_experts_per_tok: Heads
    moe_intermediate_size: FfnWidth
    shared_expert_intermediate_size: Annotated[int, Field(ge=0, le=MAX_FFN)] = 0  # of all shared experts together
    first_k_dense_replace: Annotated[int, Field(ge=0, le=MAX_LAYERS)] = 0
    has_router_bias: bool = False


class ProductSpec(Spec):
    """A product before the first layer or after the last one: rows of `inputs` values become rows of `outputs`.

    rows_per_token: 2 before a stride of two tokens, 0: one row a sequence.
    """

    name: Name
    inputs: FfnWidth
    outputs: FfnWidth
    rows_per_token: Annotated[float, Field(ge=0, le=64)] = 1.0
    has_bias: bool = True
    hidden_act: Activation | Literal[""] = ""

    def product(self) -> Product:
        """The core record."""
        return Product(self.name, self.inputs, self.outputs, self.rows_per_token, self.has_bias, self.hidden_act)


Products = Annotated[tuple[ProductSpec, ...], Field(strict=False, max_length=16)]


class ArchitectureSpec(Spec):
    """The shape of a model or of a tower.

    num_hidden_layers are the decoder's where there is an encoder too; head_dim is the width of queries and keys;
    intermediate_size may be left out when every layer holds experts; position_parameters is the size of a learned
    position table, max_position_embeddings x hidden_size unless it is given; embedding_size: values of a word's vector
    where the layers' differ; attention_chunk_size: tokens see their own chunk alone, in the windowed_layers;
    num_nextn_predict_layers: layers that predict further tokens, in pre-training; modulations, context_tokens: of
    diffusion transformers; stem makes tokens of pixels, sounds or latents, projection follows the last layer;
    extra_parameters names what the other keys do not describe.
    """

    kind: TransformerKind
    num_encoder_layers: Annotated[int, Field(ge=0, le=MAX_LAYERS)] = 0
    num_hidden_layers: Layers
    hidden_size: Width
    num_attention_heads: Heads
    num_key_value_heads: Heads
    head_dim: Width
    intermediate_size: Annotated[int, Field(ge=0, le=MAX_FFN)] = 0
    is_gated_mlp: bool
    hidden_act: Activation
    vocab_size: Count
    tie_word_embeddings: bool
    position_embedding_type: Positions
    max_position_embeddings: Annotated[int, Field(ge=1, le=MAX_COUNT)]
    position_parameters: Annotated[int | None, Field(ge=0, le=MAX_PARAMETERS)] = None
    type_vocab_size: Annotated[int, Field(ge=0, le=MAX_WIDTH)] = 0
    embedding_size: Annotated[int, Field(ge=0, le=MAX_WIDTH)] = 0
    encoder_tokens: Count = 0
    sliding_window: Count = 0
    attention_chunk_size: Count = 0
    windowed_layers: Annotated[int, Field(ge=0, le=MAX_LAYERS)] = 0
    norm: Norm
    norm_position: NormPosition
    norms_per_layer: Annotated[int, Field(ge=0, le=8)]
    has_norm_bias: bool
    has_embedding_norm: bool = False
    has_final_norm: bool = True
    qkv_bias: Literal["none", "all", "qv"]
    has_output_bias: bool = False
    has_mlp_bias: bool = False
    has_head_bias: bool = False
    has_qk_norm: bool = False
    num_nextn_predict_layers: Annotated[int, Field(ge=0, le=8)] = 0
    modulations: Annotated[int, Field(ge=0, le=16)] = 0
    context_tokens: Count = 0
    stem: Products = ()
    projection: Products = ()
    mla: MlaSpec | None = None
    moe: MoeSpec | None = None
    extra_parameters: Extra = Field(default_factory=dict)

    def problems(self) -> Iterator[Problem]:
        """Heads that do not divide, windows without layers, experts that no router can choose, missing widths."""
        if self.num_attention_heads % self.num_key_value_heads:
            what = f"{self.num_key_value_heads} do not divide {self.num_attention_heads} attention heads"
            yield ("num_key_value_heads",), what, "write a divisor of num_attention_heads"
        if (self.num_encoder_layers > 0) != (self.kind == "encoder-decoder"):
            what = f"{self.num_encoder_layers} in a model of kind {self.kind}"
            yield ("num_encoder_layers",), what, "only a model of kind encoder-decoder has them, and it must"
        if not self.vocab_size and not self.stem:
            yield ("vocab_size",), f"0 in a model of kind {self.kind}", "write its vocabulary, or a [[stem]]"
        if self.windowed_layers > self.num_hidden_layers:
            yield ("windowed_layers",), f"{self.windowed_layers} are more than all layers", "write at most all layers"
        if self.sliding_window and self.attention_chunk_size:
            yield ("attention_chunk_size",), "stands beside sliding_window", "keep one of them"
        elif (self.windowed_layers > 0) != (self.sliding_window + self.attention_chunk_size > 0):
            yield ("sliding_window",), "a window and its windowed_layers go together", "write both or neither"
        if (self.modulations > 0) != (self.norm_position == "adaLN-zero"):
            yield ("modulations",), "go with the norm_position adaLN-zero", "write both or neither"
        if self.context_tokens and self.norm_position != "adaLN-zero":
            yield ("context_tokens",), "need the norm_position adaLN-zero", "remove them"
        if self.num_nextn_predict_layers and self.kind != "decoder":
            yield ("num_nextn_predict_layers",), f"{self.kind} models predict no next token", "remove it"
        yield from self._mla_problems()
        yield from self._moe_problems()

    def _mla_problems(self) -> Iterator[Problem]:
        if self.mla and self.head_dim != self.mla.qk_nope_head_dim + self.mla.qk_rope_head_dim:
            what = f"{self.head_dim} is not qk_nope_head_dim + qk_rope_head_dim"
            yield ("head_dim",), what, "write their sum"

    def _moe_problems(self) -> Iterator[Problem]:
        moe = self.moe
        if not self.intermediate_size and (moe is None or moe.first_k_dense_replace):
            yield ("intermediate_size",), "is missing", "add the width of the MLP"
        if moe and moe.num_experts_per_tok > moe.num_local_experts:
            what = f"{moe.num_experts_per_tok} of {moe.num_local_experts} experts"
            yield ("moe", "num_experts_per_tok"), what, "write at most num_local_experts"
        if moe and moe.first_k_dense_replace >= self.num_hidden_layers:
            what = f"{moe.first_k_dense_replace} leave no layer for experts"
            yield ("moe", "first_k_dense_replace"), what, "write fewer than num_hidden_layers, or remove [moe]"

    def architecture(self, key: str, name: str) -> Model:
        """The core record of this shape."""
        is_learned = self.position_embedding_type == "learned"
        table = self.max_position_embeddings * self.hidden_size if is_learned else 0
        return Model(
            key=key,
            name=name,
            kind=self.kind,
            layers=self.num_hidden_layers,
            hidden_size=self.hidden_size,
            heads=self.num_attention_heads,
            kv_heads=self.num_key_value_heads,
            head_dim=self.head_dim,
            ffn_hidden_size=self.intermediate_size,
            is_gated_mlp=self.is_gated_mlp,
            activation=self.hidden_act,
            vocab_size=self.vocab_size,
            has_tied_embeddings=self.tie_word_embeddings,
            positions=self.position_embedding_type,
            max_positions=self.max_position_embeddings,
            is_causal=self.kind in ("decoder", "encoder-decoder"),
            norm=self.norm,
            has_norm_bias=self.has_norm_bias,
            norms_per_layer=self.norms_per_layer,
            norm_position=self.norm_position,
            has_embedding_norm=self.has_embedding_norm,
            has_final_norm=self.has_final_norm,
            qkv_bias=self.qkv_bias,
            has_output_bias=self.has_output_bias,
            has_mlp_bias=self.has_mlp_bias,
            has_head_bias=self.has_head_bias,
            has_qk_norm=self.has_qk_norm,
            window=self.sliding_window + self.attention_chunk_size,
            has_chunks=self.attention_chunk_size > 0,
            embedding_size=self.embedding_size,
            encoder_tokens=self.encoder_tokens,
            mtp_layers=self.num_nextn_predict_layers,
            modulations=self.modulations,
            context_tokens=self.context_tokens,
            stem=tuple(product.product() for product in self.stem),
            projection=tuple(product.product() for product in self.projection),
            windowed_layers=self.windowed_layers,
            mla=_mla(self.mla) if self.mla else None,
            moe=_moe(self.moe) if self.moe else None,
            encoder_layers=self.num_encoder_layers,
            position_parameters=table if self.position_parameters is None else self.position_parameters,
            token_types=self.type_vocab_size,
            extra_parameters=sum(self.extra_parameters.values()),
        )


class TowerSpec(ArchitectureSpec):
    """Another model that every sample goes through besides (perfsim.core.model.Tower).

    tokens: of its own sequence, 0: as many as the model's; sequence_tokens: how many tokens it puts into that one;
    masked_share: of the tokens whose words a generator predicts; is_frozen: as its authors train it.
    """

    role: Role
    tokens: Count = 0
    sequence_tokens: Count = 0
    masked_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    is_frozen: bool = False

    def problems(self) -> Iterator[Problem]:
        """Those of its shape, and keys that only another role has."""
        yield from super().problems()
        if (self.role == "input") != (self.sequence_tokens > 0):
            yield ("sequence_tokens",), "are what a tower of the role input puts into the sequence", "write both"
        if (self.role == "generator") != (self.masked_share > 0):
            yield ("masked_share",), "is what a tower of the role generator predicts", "write both"
        if self.role == "contrast" and not self.projection:
            yield ("projection",), "is missing: what a tower of the role contrast is compared by", "add [[projection]]"

    def tower(self, name: str) -> Tower:
        """The core record."""
        shape = self.architecture(name, name)
        return Tower(
            name, self.role, shape, self.tokens, self.sequence_tokens, self.masked_share, self.is_frozen
        )  # fmt: skip


def _mla(spec: MlaSpec) -> Mla:
    return Mla(
        q_lora_rank=spec.q_lora_rank,
        kv_lora_rank=spec.kv_lora_rank,
        qk_nope_head_dim=spec.qk_nope_head_dim,
        qk_rope_head_dim=spec.qk_rope_head_dim,
        v_head_dim=spec.v_head_dim,
    )


def _moe(spec: MoeSpec) -> Moe:
    return Moe(
        experts=spec.num_local_experts,
        experts_per_token=spec.num_experts_per_tok,
        expert_ffn_hidden_size=spec.moe_intermediate_size,
        shared_ffn_hidden_size=spec.shared_expert_intermediate_size,
        dense_layers=spec.first_k_dense_replace,
        has_router_bias=spec.has_router_bias,
    )
