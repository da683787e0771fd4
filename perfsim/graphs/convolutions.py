"""What cuDNN and PyTorch launch for the operations of convolutional nets; everything lies channels-last.

Nothing is counted for changing layouts, and no kernel fuses a norm or an activation with a convolution.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from perfsim.core.numbers import Floats
from perfsim.formulas.convolutions import ChannelNorm, Convolution, Resample
from perfsim.formulas.operations import is_misaligned
from perfsim.formulas.roofline import Kernel
from perfsim.graphs.lowered import Lowered

if TYPE_CHECKING:
    from perfsim.graphs.kernels import Lowering

# F(2x2, 3x3): a tile of 2x2 outputs takes 16 products in place of 4·9 (Lavin and Gray 2015, arXiv 1509.09308), and
# so do 3x3 weight gradients of a 2x2 tile. cuDNN has it for windows of 3x3 without stride (cudnnConvolutionFwdAlgo_t
# CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD and its like for the gradients)
_WINOGRAD, _WINOGRAD_WEIGHTS = (4.0, 1.0, 9.0), (1.0, 9.0, 4.0)


def convolution(lower: "Lowering", op: Convolution) -> Lowered:
    """Implicit products with the bytes of the real tensors; depthwise ones stream.

    Forward: positions x (inputs·kernel²) by outputs. Input gradient: input positions x (outputs·taps) by inputs, taps
    being those of the kernel² that meet a position. Weight gradient: outputs x positions by (inputs·kernel²).
    Source: NVIDIA, "Convolutional Layers User's Guide", table "Translation of convolution parameters to the
    corresponding GEMM parameters".
    """
    return Lowered(tuple(_forward(lower, op)), tuple(_backward(lower, op)))


def _forward(lower: "Lowering", op: Convolution) -> Iterator[Kernel]:
    value = op.activation_bytes
    if lower.is_autocast:
        yield lower.stream(op.weights * 6.0)
    if op.casts_input:
        yield lower.stream(op.input_values * (op.input_bytes + value))
    yield _gathered(lower, op) if op.is_transposed else _spread(lower, op)
    if op.has_bias:
        yield lower.stream(op.output_values * 2.0 * value)


def _backward(lower: "Lowering", op: Convolution) -> Iterator[Kernel]:
    value = op.activation_bytes
    if op.has_input_gradient:
        yield _spread(lower, op) if op.is_transposed else _gathered(lower, op)
        if op.casts_input:
            yield lower.stream(op.input_values * (op.input_bytes + value))
    if op.is_trained:
        yield _weight_gradient(lower, op)
        if lower.is_autocast:
            yield lower.stream(op.weights * 6.0)
        if op.has_bias:
            yield lower.stream(op.output_values * value, "sum")


def _spread(lower: "Lowering", op: Convolution) -> Kernel:
    """One product row for each position on the narrow side (after the stride), a window of the wide side long."""
    here, wide, narrow = _sides(op)
    return _product(lower, op, here, narrow / op.groups, wide / op.groups * op.kernel**2, _WINOGRAD)


def _gathered(lower: "Lowering", op: Convolution) -> Kernel:
    """One product row for each position on the wide side (before the stride), the taps of the window that meet it."""
    here, wide, narrow = _sides(op)
    there = op.positions if op.is_transposed else op.input_positions
    taps = op.kernel**2 * here / there
    return _product(lower, op, there, wide / op.groups, narrow / op.groups * taps, _WINOGRAD)


def _weight_gradient(lower: "Lowering", op: Convolution) -> Kernel:
    here, wide, narrow = _sides(op)
    if op.is_depthwise:
        return lower.stream((op.input_values + op.output_values) * op.activation_bytes, "sum")
    return _product(lower, op, narrow / op.groups, wide / op.groups * op.kernel**2, here, _WINOGRAD_WEIGHTS)


def _sides(op: Convolution) -> tuple[Floats, int, int]:
    """Positions after the stride, channels before it, channels after it; a transposed convolution runs backwards."""
    if op.is_transposed:
        return op.input_positions, op.outputs, op.inputs
    return op.positions, op.inputs, op.outputs


def _product(
    lower: "Lowering", op: Convolution, rows: Floats, columns: Floats, contraction: Floats,
    winograd: tuple[float, float, float],
) -> Kernel:  # fmt: skip
    size = (op.input_values + op.output_values + op.weights) * op.activation_bytes
    if op.is_depthwise:
        return lower.stream(size)
    number_format = lower.wide_format
    if number_format == "fp32" and lower.software.has_tf32_convolutions:
        number_format = "tf32"
    return Kernel(
        "product", number_format, size, flops=2.0 * op.groups * rows * columns * contraction, batch=1.0 * op.groups,
        rows=rows, columns=columns, contraction=contraction, is_misaligned=is_misaligned(op.inputs, op.outputs),
        winograd=winograd if op.has_winograd else None,
    )  # fmt: skip


def channel_norm(lower: "Lowering", op: ChannelNorm) -> Lowered:
    """Moments, then the output; backward the sums over input and gradient, then the input gradient.

    Source: pytorch aten/src/ATen/native/cuda/Normalization.cuh and group_norm_kernel.cu.
    """
    size = op.output_values * op.activation_bytes
    forward = (lower.stream(size), lower.stream(2.0 * size))
    return Lowered(forward, (lower.stream(2.0 * size), lower.stream(3.0 * size)))


def resample(lower: "Lowering", op: Resample) -> Lowered:
    """What arrives is read and what leaves written; backward the other way round."""
    size = op.read_bytes + op.written_bytes + op.saved_bytes
    return Lowered((lower.stream(size),), (lower.stream(size),))
