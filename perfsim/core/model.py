"""A model's architecture: layers, ends and towers, without a batch, a precision or a machine."""

from dataclasses import dataclass
from math import gcd
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
class Product:
    """A product at one of a model's ends: rows of `inputs` values become rows of `outputs` values.

    rows_per_token: 2 before a stride of two tokens, 0: one row a sequence. activation: what follows it, "": nothing.
    """

    name: str
    inputs: int
    outputs: int
    rows_per_token: float = 1.0
    has_bias: bool = True
    activation: str = ""


@dataclass(frozen=True)
class Model:
    """One architecture. Sizes are counts of values; an encoder-decoder's `layers` are the decoder's.

    `window` is the sliding window of attention in tokens (0: none) and `windowed_layers` how many layers have it;
    `has_chunks`: tokens see their own chunk of so many tokens instead. `embedding_size`: values of a word's vector,
    where the layers' differ and a product stands between (0: as wide as the layers). `encoder_tokens`: what an encoder
    always reads (0: any length). `mtp_layers`: further layers that predict tokens beyond the next one.

    `stem` makes tokens of pixels, sounds or latents (an encoder-decoder's encoder reads them), `projection` follows the
    last layer. `modulations`: vectors of a layer that a product makes of what an image is conditioned on;
    `context_tokens`: a second stream with weights of its own, which attends together with the first.
    `extra_parameters` counts what no other field describes (poolers, class tokens, position biases).
    `towers` are other models that every sample goes through besides.
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
    has_chunks: bool = False
    embedding_size: int = 0
    encoder_tokens: int = 0
    mtp_layers: int = 0
    stem: tuple[Product, ...] = ()
    projection: tuple[Product, ...] = ()
    modulations: int = 0
    context_tokens: int = 0
    towers: tuple["Tower", ...] = ()
    nets: tuple[Convnet, ...] = ()
    image_size: int = 0

    @property
    def moe_layers(self) -> int:
        """How many of the layers hold experts."""
        return self.layers - self.moe.dense_layers if self.moe else 0

    @property
    def word_size(self) -> int:
        """Values of a word's vector."""
        return self.embedding_size or self.hidden_size

    @property
    def has_attention(self) -> bool:
        """Some of its layers attend."""
        steps = [step for net in self.nets for unit in net.units for step in unit.steps]
        return not steps or any(step.action in ("attention", "cross-attention") for step in steps)

    @property
    def depth(self) -> int:
        """Layers, an encoder's and the towers' with them; the units of a convolutional model."""
        return sum(unit.count for net in self.nets for unit in net.units) or self.split_layers

    @property
    def split_layers(self) -> int:
        """Layers that a pipeline splits."""
        return self.layers + self.encoder_layers + sum(tower.model.split_layers for tower in self.towers)

    @property
    def split_heads(self) -> int:
        """The largest number of tensor-parallel ranks that heads and towers' heads can be split over."""
        return gcd(self.heads, *(tower.model.split_heads for tower in self.towers))

    @property
    def loose_parameters(self) -> int:
        """Parameters of positions and extra ones, which no graph holds; the towers' with them."""
        own = self.position_parameters + self.extra_parameters
        return own + sum(tower.model.loose_parameters for tower in self.towers)


Role = Literal["input", "contrast", "generator"]


@dataclass(frozen=True)
class Tower:
    """Another model that runs on every sample, on `tokens` tokens (0: on those of the sequence).

    role: "input": what leaves its projection stands in the sequence as `sequence_tokens` tokens; "contrast": what
    leaves it is compared with what leaves the model; "generator": it predicts the words of `masked_share` of the
    tokens, with the model's own word vectors, and is there in pre-training only (ELECTRA, arXiv 2003.10555).
    is_frozen: it has no gradients and keeps nothing; its projection, where it meets the model, is trained all the same.
    """

    name: str
    role: Role
    model: Model
    tokens: int = 0
    sequence_tokens: int = 0
    masked_share: float = 0.0
    is_frozen: bool = False
