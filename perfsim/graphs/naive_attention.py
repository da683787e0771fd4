"""Attention written out: scores and probabilities go through memory, two products forward and four backward.

Between the products, by software (bytes of each kernel are its reads plus its writes):
eager code runs scale, mask, softmax and dropout one after the other; under autocast the mask widens the scores to
fp32 and softmax and dropout stay there (huggingface/transformers BERT, aten/src/ATen/autocast_mode.cpp);
Megatron fuses scale, mask and softmax (megatron/fused_kernels); compilers fuse all four.
"""

from typing import TYPE_CHECKING

from perfsim.core.numbers import Floats
from perfsim.formulas.operations import Attention
from perfsim.formulas.roofline import Kernel
from perfsim.graphs.lowered import Lowered

if TYPE_CHECKING:
    from perfsim.graphs.kernels import Lowering

Kernels = list[Kernel]


def naive_attention(lowering: "Lowering", op: Attention) -> Lowered:
    """The kernels of attention without a fused kernel."""
    a, batch = op.activation_bytes, op.sequences * op.heads
    q, k, d, v = op.query_len, op.key_len, op.qk_dim, op.v_dim
    tokens = op.output_values * a
    product, stream = lowering.product, lowering.stream
    forward = [product(q, k, d, a, batch, wide=True), product(q, v, k, a, batch, wide=True)]
    backward = [
        product(q, k, v, a, batch, wide=True), product(k, v, q, a, batch, wide=True),
        product(q, d, k, a, batch, wide=True), product(k, d, q, a, batch, wide=True),
    ]  # fmt: skip
    between = {"eager": _eager, "fused": _fused, "compiled": _compiled}[lowering.software.fusion]
    between(lowering, op, forward, backward)
    repeat = lowering.repeated_keys(op)
    forward += [*repeat, stream(2.0 * tokens)]
    backward += [*repeat, stream(2.0 * tokens)]
    if lowering.software.has_contiguous_copies:
        forward.append(stream(2.0 * tokens, launches=3.0))
        backward.append(stream(2.0 * tokens, launches=3.0))
    if op.is_relative:
        _relative(lowering, op, forward, backward)
    return Lowered(tuple(forward), tuple(backward))


def _has_wide_softmax(lowering: "Lowering") -> bool:
    return lowering.is_autocast and lowering.software.has_fp32_softmax


def _eager(lowering: "Lowering", op: Attention, forward: Kernels, backward: Kernels) -> None:
    """Scale, mask, softmax, dropout; in fp32 from the mask on under autocast, with a cast on the way out and in."""
    a, scores = op.activation_bytes, op.scores
    stream = lowering.stream
    is_wide = _has_wide_softmax(lowering)
    w = 4.0 if is_wide else a
    rows, keys = scores / op.key_len, 1.0 * op.key_len
    forward += [
        stream(2.0 * a * scores), stream((a + w) * scores),
        lowering.reduction("softmax", 2.0 * w * scores, rows, keys, w * keys),
    ]  # fmt: skip
    backward += [
        lowering.reduction("softmax", 3.0 * w * scores, rows, keys, 2.0 * w * keys, True), stream(2.0 * a * scores)
    ]  # fmt: skip
    if op.has_dropout:
        ahead, back = lowering.dropout_bytes(w)
        forward.append(stream(ahead * scores))
        backward.append(stream(back * scores))
    if is_wide:
        forward.append(stream((w + a) * scores))
        backward.append(stream((w + a) * scores, launches=2.0))


def _fused(lowering: "Lowering", op: Attention, forward: Kernels, backward: Kernels) -> None:
    """Scale, mask and softmax in one kernel that skips half of the square when causal; dropout on its own."""
    a, scores, stream = op.activation_bytes, op.scores, lowering.stream
    half = 0.75 if op.is_causal else 1.0
    forward.append(stream(2.0 * a * half * scores))
    backward.append(stream(3.0 * a * half * scores))
    if op.has_dropout:
        forward.append(stream((2.0 * a + 1.0) * scores))
        backward.append(stream((2.0 * a + 1.0) * scores))


def _compiled(lowering: "Lowering", op: Attention, forward: Kernels, backward: Kernels) -> None:
    """One kernel each way: scores in, probabilities out, and what the backward pass needs besides.

    Dropout keeps its mask and the probabilities before it; an fp32 softmax is kept beside its 16-bit copy (the saved
    tensors of PyTorch 2.0's min-cut partitioner). Row reductions that do not keep their row on the chip read it again.
    """
    a, scores = op.activation_bytes, op.scores
    software = lowering.software
    again = software.reduction_reads - 1.0
    w = 4.0 if _has_wide_softmax(lowering) else a
    ahead, back = 2.0 * a + again * a, 2.0 * a + w + (a + w) * (again > 0)
    if w > a:
        ahead += w
    elif op.has_dropout:
        ahead += a
    if op.has_dropout:
        drawn, again_drawn = lowering.dropout_bytes(a)
        ahead += drawn
        back += again_drawn
    forward.append(lowering.stream(ahead * scores))
    backward.append(lowering.stream(back * scores))


def _relative(lowering: "Lowering", op: Attention, forward: Kernels, backward: Kernels) -> None:
    """Transformer-XL's position scores: one more product, the relative shift and the biases of eager code.

    The memory is put before the tokens of each layer, and each layer's tokens into the next memory.
    """
    a, batch = op.activation_bytes, op.sequences * op.heads
    q, k, d, scores = op.query_len, op.key_len, op.qk_dim, op.scores
    queries: Floats = op.output_values * a
    keys = op.sequences * op.heads * k * d * a
    product, stream = lowering.product, lowering.stream
    forward += [
        product(q, k, d, a, batch, wide=True),
        stream(2.0 * a * scores),
        stream(a * scores),
        stream(2.0 * queries, launches=4.0),
        stream(2.0 * keys, launches=3.0),
        stream(2.0 * queries),
    ]
    backward += [
        product(q, d, k, a, batch, wide=True), product(k, d, q, a, batch, wide=True),
        stream(2.0 * a * scores, launches=2.0), stream(a * scores),
        stream(2.0 * queries, launches=4.0), stream(2.0 * keys, launches=2.0),
        stream(queries, "sum", 2.0), stream(9.0 * keys),
    ]  # fmt: skip
