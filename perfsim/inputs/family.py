"""What most Hugging Face families share; families_plain and families_gated say what each of them adds.

Facts are those of the modelling code of PyPI transformers; a key that shapes a model and whose absence would mean an
arbitrary number there (num_key_value_heads of Mistral: 8) must stand in the file.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from perfsim.core.model import Kind, Model
from perfsim.inputs.architecture import MAX_COUNT, MAX_FFN, MAX_HEADS, MAX_LAYERS
from perfsim.inputs.config_keys import Keys

Family = Callable[[Keys], Model]

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_fast": "gelu_new",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python": "gelu",
    "gelu_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


@dataclass(frozen=True)
class Names:
    """How a family calls the keys that most share; an empty name: it has no such key.

    Hugging Face takes the common name of the sizes beside the family's own, and so does `found`.
    """

    hidden: str = "hidden_size"
    layers: str = "num_hidden_layers"
    heads: str = "num_attention_heads"
    ffn: str = "intermediate_size"
    activation: str = "hidden_act"
    positions: str = "max_position_embeddings"

    def found(self, keys: Keys) -> "Names":
        """The names that the file uses."""
        return replace(
            self,
            hidden=keys.either(self.hidden, STANDARD.hidden),
            layers=keys.either(self.layers, STANDARD.layers),
            heads=keys.either(self.heads, STANDARD.heads),
            positions=self.positions and keys.either(self.positions, STANDARD.positions),
        )


STANDARD = Names()


def stack(keys: Keys, kind: Kind, names: Names, activation: str, ffn_ratio: int = 0) -> Model:
    """What almost every family says: sizes, activation, positions; plain layers with biases and layer norms.

    activation: what an absent key means. ffn_ratio: the width of the MLP over the hidden size where no key says it;
    0: a key must. The width of a head is left to the family.
    """
    names = names.found(keys)
    hidden = keys.whole(names.hidden)
    heads = keys.whole(names.heads, high=MAX_HEADS)
    return Model(
        key="",
        name="",
        kind=kind,
        layers=keys.whole(names.layers, high=MAX_LAYERS),
        hidden_size=hidden,
        heads=heads,
        kv_heads=heads,
        head_dim=1,
        ffn_hidden_size=keys.whole(names.ffn, ffn_ratio * hidden or None, high=MAX_FFN) if names.ffn else 4 * hidden,
        is_gated_mlp=False,
        activation=_activation(keys, names.activation, activation),
        vocab_size=keys.whole("vocab_size", high=MAX_COUNT) if kind != "vit" else 0,
        has_tied_embeddings=True,
        positions="learned",
        max_positions=keys.whole(names.positions, high=MAX_COUNT) if names.positions else 0,
        is_causal=kind in ("decoder", "encoder-decoder"),
        qkv_bias="all",
        has_output_bias=True,
        has_mlp_bias=True,
    )


def _activation(keys: Keys, key: str, default: str) -> str:
    """The activation under the name that perfsim gives it."""
    return ACTIVATIONS[keys.choice(key, tuple(ACTIVATIONS), default)] if key else default


def plain(keys: Keys, kind: Kind, names: Names = STANDARD, activation: str = "gelu", ffn_ratio: int = 0) -> Model:
    """A family of multi-head attention whose heads share the hidden size."""
    model = stack(keys, kind, names, activation, ffn_ratio)
    names = names.found(keys)
    return replace(model, head_dim=keys.quotient(names.hidden, names.heads))


def with_positions(model: Model, rows: int) -> Model:
    """The model with a learned position table of `rows`."""
    return replace(model, position_parameters=rows * model.hidden_size)


def kv_heads_of(keys: Keys, default: int | None) -> int:
    """How many key and value heads there are; `default` where the file is silent, None: it must say it."""
    kv_heads = keys.whole("num_key_value_heads", default, high=MAX_HEADS)
    keys.quotient("num_attention_heads", "num_key_value_heads")
    return kv_heads


def tied(keys: Keys, model: Model, default: bool) -> Model:
    """The model with the switch that makes the embedding the vocabulary projection too."""
    return replace(model, has_tied_embeddings=keys.flag("tie_word_embeddings", default))


def attention_biases(keys: Keys, model: Model, default: bool = False) -> Model:
    """The model with the switch for biases of all four attention products."""
    has_bias = keys.flag("attention_bias", default)
    return replace(model, qkv_bias="all" if has_bias else "none", has_output_bias=has_bias)


def with_biases(model: Model, has_bias: bool) -> Model:
    """The model with biases of all products inside its layers, or of none."""
    return replace(model, qkv_bias="all" if has_bias else "none", has_output_bias=has_bias, has_mlp_bias=has_bias)
