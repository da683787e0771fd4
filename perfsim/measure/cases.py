"""Which kernels are measured: shapes of training and shapes in between, the most useful first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

VALUE_BYTES = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2}
AMPERE = (8, 0)  # the first compute capability with tf32, bf16 and PyTorch's flash attention
MOST_MEMORY = 0.3  # of the card's, that one set of operands may take
MOST_FLOPS = {"fp32": 1e12, "tf32": 4e12, "fp16": 8e12, "bf16": 8e12}
LAYERS = (  # (outputs, inputs) of products in BERT, GPT-2 and Llama
    (3072, 768), (768, 768), (4096, 1024), (1024, 4096), (768, 3072), (6400, 1600), (4096, 4096), (14336, 4096),
    (4096, 14336), (2048, 8192), (8192, 2048), (50257, 768), (50304, 768), (30522, 1024), (128256, 2048),
)  # fmt: skip
TOKENS = (4096, 1024, 16384, 256, 8192, 2048, 512)
SQUARES = (8192, 4096, 2048)
T = TypeVar("T")


@dataclass(frozen=True)
class Product:
    """`batch` products of m x k by k x n; layout: how a layer's forward (TN) or backward (NN, NT) pass lays them."""

    dtype: str
    m: int
    n: int
    k: int
    batch: int = 1
    layout: Literal["TN", "NN", "NT"] = "TN"
    is_sustained: bool = False

    @property
    def flops(self) -> float:
        """Multiplications and additions."""
        return 2.0 * self.batch * self.m * self.n * self.k

    @property
    def bytes(self) -> int:
        """Both operands and the result [B]."""
        return VALUE_BYTES[self.dtype] * self.batch * (self.m * self.k + self.k * self.n + self.m * self.n)


@dataclass(frozen=True)
class Stream:
    """An operator that memory bounds, over rows x cols values."""

    dtype: str
    op: str
    rows: int
    cols: int
    is_sustained: bool = False

    @property
    def bytes(self) -> int:
        """What must be read and written once [B]; dropout writes a mask of one byte a value."""
        values = VALUE_BYTES[self.dtype] * {"add": 3, "mul": 3}.get(self.op, 2) + (self.op == "dropout")
        return self.rows * self.cols * values


@dataclass(frozen=True)
class Attention:
    """Scaled dot-product attention over sequences of `length` tokens, forward and backward."""

    dtype: str
    batch: int
    heads: int
    kv_heads: int
    head_dim: int
    length: int
    is_causal: bool
    is_sustained: bool = False

    @property
    def bytes(self) -> int:
        """Queries, keys, values and the output [B]."""
        values = self.batch * self.length * self.head_dim * 2 * (self.heads + self.kv_heads)
        return VALUE_BYTES[self.dtype] * values

    def flops(self, is_backward: bool) -> float:
        """Two products, five backward, of which a causal mask leaves half."""
        square = self.batch * self.heads * self.length**2 * self.head_dim * (0.5 if self.is_causal else 1.0)
        return (10.0 if is_backward else 4.0) * square


Case = Product | Stream | Attention


def kernel_cases(is_quick: bool, capability: tuple[int, int], memory_bytes: float) -> list[Case]:
    """What to measure on a card of this compute capability and memory [B]; any head of the list is balanced."""
    dtypes = ("bf16", "fp32", "tf32", "fp16") if capability >= AMPERE else ("fp16", "fp32")
    lists: list[list[Case]] = [
        [*_merged([_products(dtype, is_quick) for dtype in dtypes])],
        [*_streams(dtypes[0], is_quick)],
        [*_attentions(dtypes[0], is_quick, has_grouped_queries=capability >= AMPERE)],
    ]
    return [case for case in _merged(lists) if case.bytes <= MOST_MEMORY * memory_bytes]


def _products(dtype: str, is_quick: bool) -> list[Product]:
    count = 20 if is_quick else 100
    known = [Product(dtype, n, n, n, is_sustained=n == SQUARES[0]) for n in SQUARES]
    of_layers = [
        product
        for tokens in TOKENS
        for columns, inputs in LAYERS
        for product in (
            Product(dtype, tokens, columns, inputs),
            Product(dtype, tokens, inputs, columns, layout="NN"),
            Product(dtype, columns, inputs, tokens, layout="NT"),
        )
    ]
    step = len(of_layers) // (count // 2)  # some of each
    of_heads = [Product(dtype, s, s, d, batch) for s, d, batch in ((512, 64, 256), (128, 64, 1024), (2048, 128, 64))]
    found = [*known, *_merged([of_layers[::step], _drawn(dtype, count // 2), of_heads])]
    return [product for product in dict.fromkeys(found) if product.flops <= MOST_FLOPS[dtype]]


def _drawn(dtype: str, count: int) -> list[Product]:
    """Shapes drawn evenly on logarithmic axes; one in four has dimensions that no multiple aligns."""
    random = np.random.default_rng(7)
    found = []
    for i in range(count):
        multiple = 1 if i % 4 == 3 else 8
        m, n, k = (int(2.0**exponent) // multiple * multiple for exponent in random.uniform((4, 6, 5), (14.5, 15, 14)))
        found.append(Product(dtype, m, n, k))
    return found


def _streams(dtype: str, is_quick: bool) -> list[Stream]:
    ops = ("add", "layer_norm", "softmax", "gelu", "dropout", "mul", "silu", "copy")[: 5 if is_quick else 8]
    shapes = [(65536, 4096), (8192, 1024), (65536, 512), (1024, 1024), (16384, 768), (512, 4096)]
    if not is_quick:
        shapes += [(4096, 4096), (262144, 128), (32768, 2048), (8192, 50257), (2048, 2048), (131072, 1024), (300, 777)]
    formats = (dtype, "fp32")
    first = [Stream(dtype, "add", 131072, 4096, is_sustained=True)]
    return first + [Stream(form, op, *shape) for shape in shapes for op in ops for form in formats]


def _attentions(dtype: str, is_quick: bool, has_grouped_queries: bool) -> list[Attention]:
    lengths = (1024, 4096, 512) if is_quick else (1024, 4096, 512, 2048, 128, 8192, 256, 384)
    kinds = [(16, 16, 64, True), (16, 16, 64, False), (32, 32, 128, True), (12, 12, 64, True)]
    if has_grouped_queries:
        kinds.append((32, 8, 128, True))
    found = [
        Attention(dtype, max(1, 16384 // length), heads, kv_heads, head_dim, length, is_causal)
        for length in lengths
        for heads, kv_heads, head_dim, is_causal in kinds
    ]
    return [Attention(dtype, 4, 32, 32, 128, 4096, True, is_sustained=True), *found]


def _merged(lists: Sequence[Sequence[T]]) -> list[T]:
    """The lists as one in which each is spread evenly, its own order kept.

    >>> _merged([["a", "b", "c", "d"], [1, 2]])
    ['a', 1, 'b', 'c', 2, 'd']
    """
    placed = [(i / len(one), which, one[i]) for which, one in enumerate(lists) for i in range(len(one))]
    return [item for _, _, item in sorted(placed, key=lambda entry: entry[:2])]
