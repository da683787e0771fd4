"""A model's architecture: what its layers are made of, without a batch, a precision or a machine."""

from dataclasses import dataclass
from typing import Literal

from perfsim.core.convnet import Convnet

TransformerKind = Literal["encoder", "decoder", "encoder-decoder", "vit", "diffusion"]
Kind = TransformerKind | Literal["convolutional", "gan"]
Positions = Literal["learned", "rope", "alibi", "relative-bias", "relative", "sinusoidal", "none"]


@dataclass(frozen=True)
class Mla:
    """Multi-head latent attention's ranks and head widths (DeepSeek-V2, arXiv 2405.04434)."""

    q_lora_rank: int  # 0: queries are projected directly
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int


@dataclass(frozen=True)
class Moe:
    """Mixture-of-experts layers; `dense_layers` of the model's layers keep an ordinary MLP."""

    experts: int
    experts_per_token: int
    expert_ffn_hidden_size: int
    shared_ffn_hidden_size: int = 0  # total width of the experts every token visits
    dense_layers: int = 0
    has_router_bias: bool = False


@dataclass(frozen=True)
class Model:
    """One architecture. Sizes are counts of values; an encoder-decoder's `layers` are the decoder's.

    `window` is the sliding window of attention in tokens (0: none) and `windowed_layers` how many layers have it.
    `extra_parameters` counts what no other field describes (poolers, task heads, patch embeddings, vision towers).
    `nets` are those of a convolutional model, a GAN's generator first; such a model is one layer of one head to plans,
    because nothing but its batch is split, and `image_size` is what its images measure unless the workload says more.
    """

    key: str
    name: str
    kind: Kind
    layers: int
    hidden_size: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn_hidden_size: int
    is_gated_mlp: bool
    activation: str
    vocab_size: int
    has_tied_embeddings: bool
    positions: Positions
    max_positions: int
    is_causal: bool
    norm: Literal["layernorm", "rmsnorm", "none"] = "layernorm"
    has_norm_bias: bool = True
    norms_per_layer: int = 2
    norm_position: Literal["pre", "post", "parallel", "pre+post", "adaLN-zero"] = "pre"
    has_embedding_norm: bool = False
    has_final_norm: bool = True
    qkv_bias: Literal["none", "all", "qv"] = "none"
    has_output_bias: bool = False
    has_mlp_bias: bool = False
    has_head_bias: bool = False
    has_qk_norm: bool = False
    window: int = 0
    windowed_layers: int = 0
    mla: Mla | None = None
    moe: Moe | None = None
    encoder_layers: int = 0
    position_parameters: int = 0
    token_types: int = 0
    extra_parameters: int = 0
    adaptive_softmax_cutoffs: tuple[int, ...] = ()  # Transformer-XL of DeepLearningExamples
    adaptive_softmax_divisor: int = 1  # each further cluster's embedding is narrower by this factor, and projected
    nets: tuple[Convnet, ...] = ()
    image_size: int = 0

    @property
    def moe_layers(self) -> int:
        """How many of the layers hold experts."""
        return self.layers - self.moe.dense_layers if self.moe else 0

    @property
    def has_attention(self) -> bool:
        """Some of its layers attend."""
        steps = [step for net in self.nets for unit in net.units for step in unit.steps]
        return not steps or any(step.action in ("attention", "cross-attention") for step in steps)

    @property
    def depth(self) -> int:
        """Layers, an encoder's with them; the units of a convolutional model."""
        units = sum(unit.count for net in self.nets for unit in net.units)
        return units or self.layers + self.encoder_layers
