"""FLOPs and bytes of the operations that convolutional nets add: convolutions, norms over positions, resampling.

A position is one pixel of one image. Tensors lie channels-last, so that a convolution is a matrix product over
positions whose operands are the images themselves, never written out patch by patch (implicit GEMM).
Source: Chetlur et al. 2014, "cuDNN" (arXiv 1410.0759); NVIDIA, "Convolutional Layers User's Guide".
"""

from dataclasses import dataclass
from typing import Literal

from perfsim.core.numbers import Floats
from perfsim.formulas.operations import Operation


@dataclass(frozen=True)
class Convolution(Operation):
    """Windows of kernel x kernel pixels over `inputs` channels at `input_positions`, to `outputs` at `positions`.

    A transposed one spreads each input position over a window of the output. `input_bytes` is the input's format where
    autocast casts it (0: it is the product's); the first of a net has no input gradient.
    """

    input_positions: Floats = 1.0
    positions: Floats = 1.0
    inputs: int = 1
    outputs: int = 1
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    has_bias: bool = False
    is_trained: bool = True
    has_input_gradient: bool = True
    is_transposed: bool = False
    input_bytes: float = 0.0

    @property
    def saves(self) -> str:  # type: ignore[override]
        """The input, or the cast copy of it that `saved_bytes` counts."""
        return "none" if self.casts_input else "input"

    @property
    def casts_input(self) -> bool:
        """The input is wider than the product's operands."""
        return self.input_bytes > self.activation_bytes

    @property
    def is_depthwise(self) -> bool:
        """Every channel is filtered alone: nothing is left to multiply, the images stream through."""
        return self.groups > 1 and self.groups == self.inputs

    @property
    def has_winograd(self) -> bool:
        """Vector units may use Winograd's way: all channels through 3x3 windows at every position."""
        return self.kernel == 3 and self.groups == 1 and self.stride == 1

    @property
    def input_values(self) -> Floats:
        """Elements of the input."""
        return self.input_positions * self.inputs

    @property
    def output_values(self) -> Floats:
        """Elements of the output."""
        return self.positions * self.outputs

    @property
    def weights(self) -> float:
        """Parameters without bias."""
        return 1.0 * self.inputs * self.outputs * self.kernel**2 / self.groups

    @property
    def forward_flops(self) -> Floats:
        """2·positions·weights, over the input's positions where they are spread."""
        return 2.0 * self.weights * (self.input_positions if self.is_transposed else self.positions)

    @property
    def backward_flops(self) -> Floats:
        """As many for the weight gradient and for the input gradient, where they are computed."""
        return self.forward_flops * (float(self.is_trained) + float(self.has_input_gradient))

    @property
    def read_bytes(self) -> Floats:
        """The images and the weights."""
        return (self.input_values + self.weights) * self.activation_bytes

    @property
    def saved_bytes(self) -> Floats:
        """The cast copy of the input."""
        return self.input_values * self.activation_bytes if self.casts_input else 0.0


@dataclass(frozen=True)
class ChannelNorm(Operation):
    """Batch normalisation, or group normalisation over `groups` of the channels of each image; keeps its input."""

    positions: Floats = 1.0
    channels: int = 1
    images: Floats = 1.0
    groups: int = 0  # 0: over the batch, channel by channel
    is_trained: bool = True
    saves = "input"

    @property
    def read_bytes(self) -> Floats:
        """The input."""
        return self.output_values * self.activation_bytes

    @property
    def output_values(self) -> Floats:
        """Elements of the output."""
        return self.positions * self.channels

    @property
    def saved_bytes(self) -> Floats:
        """Mean and deviation of each channel, or of each group of each image, in fp32."""
        return 8.0 * (self.images * self.groups if self.groups else self.channels)


@dataclass(frozen=True)
class Resample(Operation):
    """Pooling, up-sampling by repetition, the mean of an image, or channels joined: what arrives and what leaves."""

    input_values: Floats = 1.0
    values: Floats = 1.0
    action: Literal["maxpool", "avgpool", "mean", "upsample", "join"] = "maxpool"

    @property
    def saves(self) -> str:  # type: ignore[override]
        """PyTorch's pooling keeps its input."""
        return "input" if self.action in ("maxpool", "avgpool") else "none"

    @property
    def read_bytes(self) -> Floats:
        """The input."""
        return self.input_values * self.activation_bytes

    @property
    def output_values(self) -> Floats:
        """Elements of the output."""
        return self.values

    @property
    def saved_bytes(self) -> Floats:
        """Where each maximum was found, in 8 bytes."""
        return 8.0 * self.values if self.action == "maxpool" else 0.0
