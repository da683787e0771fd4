"""FLOPs and bytes of the operations a transformer is made of, per micro-batch and GPU.

Products count 2·M·N·K FLOPs forward and twice that backward (input and weight gradient); operations that only move
data count no FLOPs. `values` are numbers of tensor elements; bytes are values times the activation format.
Source: Narayanan et al. 2021 (arXiv 2104.04473, appendix) for the products, counting for the rest.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from perfsim.core.numbers import Bools, Floats, Ints


@dataclass(frozen=True)
class Operation:
    """Base of all operations.

    activation_bytes [B per value]; saved_values [values] are kept for the backward pass besides what `saves` names:
    "input", "output", "both" or "none" of the operation's own tensors.
    """

    name: str
    activation_bytes: float

    saves = "none"

    @property
    def kind(self) -> str:
        """The operation's class, as people write it."""
        return type(self).__name__.lower()

    @property
    def forward_flops(self) -> Floats:
        """FLOPs of the forward pass."""
        return 0.0

    @property
    def backward_flops(self) -> Floats:
        """FLOPs of the backward pass."""
        return 2.0 * self.forward_flops

    @property
    def read_bytes(self) -> Floats:
        """Least bytes the forward pass reads."""
        return 0.0

    @property
    def written_bytes(self) -> Floats:
        """Least bytes the forward pass writes."""
        return self.output_values * self.activation_bytes

    @property
    def output_values(self) -> Floats:
        """Elements of the output."""
        return 0.0

    @property
    def saved_bytes(self) -> Floats:
        """Bytes kept for the backward pass that are no operation's input or output."""
        return 0.0


@dataclass(frozen=True)
class Linear(Operation):
    """rows x contraction times contraction x columns, `count` times (experts); a weight of the model.

    `is_trained` weights get a gradient; a frozen one with adapter_rank > 0 carries a low-rank adapter beside it;
    `stored_bytes` is what a frozen weight takes per value when it is quantised (0: the compute format).
    `input_bytes` is the input's format where it is not the product's (0: it is); `adds_gradient`: another product
    reads the same input, and the two input gradients are summed.
    """

    rows: Floats = 1.0
    columns: Floats = 1.0
    contraction: Floats = 1.0
    count: Floats = 1.0
    has_bias: bool = False
    is_trained: bool = True
    has_input_gradient: bool = True
    adapter_rank: int = 0
    stored_bytes: float = 0.0
    is_vocabulary: bool = False
    input_bytes: float = 0.0
    adds_gradient: bool = False
    saves = "input"

    @property
    def input_values(self) -> Floats:
        """Elements of the input."""
        return self.count * self.rows * self.contraction

    @property
    def forward_flops(self) -> Floats:
        """2·M·N·K, and the adapter's two thin products."""
        adapter = 2.0 * self.count * self.rows * self.adapter_rank * (self.columns + self.contraction)
        return 2.0 * self.count * self.rows * self.columns * self.contraction + adapter

    @property
    def backward_flops(self) -> Floats:
        """One product for each gradient that is computed."""
        adapter = 2.0 * self.count * self.rows * self.adapter_rank * (self.columns + self.contraction)
        base = 2.0 * self.count * self.rows * self.columns * self.contraction
        return base * (float(self.is_trained) + float(self.has_input_gradient)) + 2.0 * adapter

    @property
    def read_bytes(self) -> Floats:
        """Input and weight."""
        return self.count * (self.rows + self.columns) * self.contraction * self.activation_bytes

    @property
    def output_values(self) -> Floats:
        """Elements of the product."""
        return self.count * self.rows * self.columns

    @property
    def weights(self) -> Floats:
        """Parameters of the product, without bias."""
        return self.count * self.columns * self.contraction

    @property
    def saved_bytes(self) -> Floats:
        """The adapter's middle."""
        return self.count * self.rows * self.adapter_rank * self.activation_bytes


@dataclass(frozen=True)
class Attention(Operation):
    """softmax(q·kᵀ)·v over `heads` heads of `sequences` sequences; grouped key-value heads share their keys.

    query_len, key_len [tokens]; `is_banded`: key_len is the mean of the keys that a query sees in a causal window;
    `is_relative` adds Transformer-XL's position scores (Dai et al. 2019, arXiv 1901.02860), `memory_len` of whose keys
    have no queries. `copied_len` [tokens]: keys and values copied out to every query head, copies that are kept.
    """

    sequences: Floats = 1.0
    heads: Floats = 1.0
    kv_heads: Floats = 1.0
    query_len: Floats = 1.0
    key_len: Floats = 1.0
    qk_dim: int = 64
    v_dim: int = 64
    is_causal: bool = False
    is_flash: bool = True
    has_dropout: bool = False
    is_relative: bool = False
    is_banded: bool = False
    copied_len: Floats = 0.0
    saves = "both"

    @property
    def scores(self) -> Floats:
        """Query-key pairs over all heads."""
        return self.sequences * self.heads * self.query_len * self.key_len

    @property
    def forward_flops(self) -> Floats:
        """Scores and values over the full square, as Megatron and PaLM count (a causal kernel may skip half).

        A band counts twice for the same reason: its kernel computes half of what is counted here.
        """
        position = 2.0 * self.scores * self.qk_dim if self.is_relative else 0.0
        return (4.0 if self.is_banded else 2.0) * self.scores * (self.qk_dim + self.v_dim) + position

    @property
    def read_bytes(self) -> Floats:
        """Queries, keys and values."""
        keys = self.kv_heads * self.key_len * (self.qk_dim + self.v_dim)
        return self.sequences * (self.heads * self.query_len * self.qk_dim + keys) * self.activation_bytes

    @property
    def output_values(self) -> Floats:
        """Elements of the context."""
        return self.sequences * self.heads * self.query_len * self.v_dim

    @property
    def copied_bytes(self) -> Floats:
        """What copies of keys and values take beyond those that they take the place of."""
        more = (self.heads - self.kv_heads) * self.copied_len * (self.qk_dim + self.v_dim)
        return self.sequences * more * self.activation_bytes

    @property
    def saved_bytes(self) -> Floats:
        """Flash: a log-sum-exp in fp32 per query. Naive: probabilities, and with dropout their mask and product."""
        if self.is_flash:
            return self.copied_bytes + 4.0 * self.sequences * self.heads * self.query_len
        kept = (2.0 * self.activation_bytes + 1.0) if self.has_dropout else self.activation_bytes
        return self.copied_bytes + kept * self.scores


PointwiseKind = Literal["activation", "relu", "gate", "dropout", "add", "rope", "copy", "modulation"]


@dataclass(frozen=True)
class Pointwise(Operation):
    """An elementwise operation over `values` outputs; "gate" is activation(a)·b of gated MLPs.

    "relu" stands for activations whose gradient needs the output alone, which may take the input's place.
    "modulation" scales, and shifts, the rows of an image alike (Peebles and Xie 2022, arXiv 2212.09748).

    keeps_inner: the activation's output is kept beside the gate's product, as unfused code does.
    """

    values: Floats = 1.0
    action: PointwiseKind = "activation"
    keeps_inner: bool = False

    @property
    def saves(self) -> str:  # type: ignore[override]
        """Activations, gates and modulations keep their input, or the output that takes its place."""
        if self.action == "relu":
            return "output"
        return "input" if self.action in ("activation", "gate", "modulation") else "none"

    @property
    def read_bytes(self) -> Floats:
        """Two inputs for a gate or a sum, one otherwise."""
        return self.values * self.activation_bytes * (2.0 if self.action in ("gate", "add") else 1.0)

    @property
    def output_values(self) -> Floats:
        """Elements of the output."""
        return self.values

    @property
    def saved_bytes(self) -> Floats:
        """A dropout's mask, one byte a value; an unfused gate's inner activation."""
        if self.action == "dropout":
            return self.values
        return self.values * self.activation_bytes if self.keeps_inner else 0.0


@dataclass(frozen=True)
class Norm(Operation):
    """Layer or RMS normalisation of `rows` rows of `width` values; keeps its input.

    kept_bytes [B per value]: what unfused code keeps besides (an fp32 copy). Without `has_weights` nothing scales it.
    """

    rows: Floats = 1.0
    width: Floats = 1.0
    is_trained: bool = True
    kept_bytes: float = 0.0
    is_rms: bool = False
    has_weights: bool = True
    saves = "input"

    @property
    def read_bytes(self) -> Floats:
        """The input."""
        return self.rows * self.width * self.activation_bytes

    @property
    def output_values(self) -> Floats:
        """Elements of the output."""
        return self.rows * self.width

    @property
    def saved_bytes(self) -> Floats:
        """Mean and deviation of each row in fp32, and copies."""
        return 8.0 * self.rows + self.kept_bytes * self.rows * self.width


@dataclass(frozen=True)
class Lookup(Operation):
    """Rows of an embedding table of `table_values` values picked by token, `tables` tables added up."""

    rows: Floats = 1.0
    width: Floats = 1.0
    table_values: Floats = 1.0
    tables: int = 1
    is_trained: bool = True

    @property
    def read_bytes(self) -> Floats:
        """One row of each table a token."""
        return self.tables * self.rows * self.width * self.activation_bytes

    @property
    def output_values(self) -> Floats:
        """Elements of the output."""
        return self.rows * self.width


@dataclass(frozen=True)
class Loss(Operation):
    """Softmax and cross entropy of `rows` rows of `classes` logits."""

    rows: Floats = 1.0
    classes: Floats = 1.0

    @property
    def read_bytes(self) -> Floats:
        """The logits."""
        return self.rows * self.classes * self.activation_bytes

    @property
    def logits(self) -> Floats:
        """Logits of a micro-batch."""
        return self.rows * self.classes


@dataclass(frozen=True)
class Route(Operation):
    """Tokens sorted to their experts and back: `values` are copied into expert order and summed out of it.

    choices: tokens times experts, what the router's own small kernels work on; arrived: values that other ranks send to
    several experts of this one, which are sorted once more.
    """

    values: Floats = 1.0
    choices: Floats = 1.0
    arrived: Floats = 0.0

    @property
    def read_bytes(self) -> Floats:
        """One copy in, one out."""
        return 2.0 * self.values * self.activation_bytes

    @property
    def output_values(self) -> Floats:
        """Elements in expert order."""
        return self.values


@dataclass(frozen=True)
class Exchange(Operation):
    """A collective over a group of ranks; `size_bytes` as nccl-tests counts (an all-to-all: a rank's own array)."""

    collective: Literal["all-reduce", "gather-scatter", "all-to-all", "ring"] = "all-reduce"
    group: Literal["tensor", "context", "expert"] = "tensor"
    size_bytes: Floats = 0.0
    ranks: Ints = 1


def is_misaligned(*dimensions: Floats, multiple: int = 2) -> Bools:
    """A product with a dimension off `multiple`, by default an odd one: tensor cores need 16-byte rows."""
    odd: Bools = False
    for dimension in dimensions:
        odd = odd | (np.asarray(dimension) % multiple != 0)
    return odd
