"""A convolutional net: its operations in the order they run, told by channels; sizes of images are the workload's."""

from dataclasses import dataclass
from typing import Literal

Action = Literal[
    "conv", "deconv", "linear", "attention", "cross-attention", "embed",
    "batchnorm", "groupnorm", "layernorm",
    "relu", "leakyrelu", "tanh", "sigmoid", "silu", "gelu", "geglu", "dropout",
    "maxpool", "avgpool", "mean", "upsample",
    "keep", "join", "fork", "shortcut", "add",
    "cross-entropy", "squared-error",
]  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One operation on a batch of images of `inputs` channels, which leaves `outputs` channels.

    kernel, stride [pixels] of square windows; groups: of a grouped convolution's channels or of a group norm; side:
    channels of what an "embed" or a "cross-attention" reads besides, or a "join" takes from what was kept. "keep"
    remembers the newest output, "join" appends the one kept last to its channels. "fork" remembers the input of a
    residual block, "shortcut" goes back to it, "add" sums both ways.
    """

    action: Action
    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    heads: int = 1
    side: int = 0
    has_bias: bool = False

    @property
    def weights(self) -> int:
        """Values of the operation's products, without bias."""
        match self.action:
            case "conv" | "deconv" | "linear":
                return self.inputs * self.outputs * self.kernel**2 // self.groups
            case "embed":
                return self.side * self.outputs
            case "attention":
                return 3 * self.inputs * self.outputs
            case "cross-attention":
                return (self.inputs + 2 * self.side) * self.outputs
            case _:
                return 0

    @property
    def parameters(self) -> int:
        """All that is trained: weights, biases, a norm's scale and shift."""
        return self.weights + self.outputs * self.vectors

    @property
    def vectors(self) -> int:
        """Tensors of one value a channel: biases, scales and shifts."""
        if self.action in ("batchnorm", "groupnorm", "layernorm"):
            return 2
        return self.products * self.has_bias

    @property
    def products(self) -> int:
        """How many weight tensors the operation has."""
        return 3 if self.action in ("attention", "cross-attention") else int(self.weights > 0)


@dataclass(frozen=True)
class Unit:
    """Operations that are recomputed and gathered together, such as a residual block; `count` of them in a row."""

    name: str
    count: int
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Convnet:
    """One net. Its images have the workload's size over `downsampling`, or always `fixed_size` pixels a side (0: not).

    embedding: what every image has besides, such as its noise level, goes through these steps, one row an image;
    context_tokens: rows of an image's text that cross-attention reads. multiple: image sizes must be a multiple of it.
    """

    name: str
    units: tuple[Unit, ...]
    downsampling: int = 1
    fixed_size: int = 0
    embedding: tuple[Step, ...] = ()
    context_tokens: int = 0
    multiple: int = 1

    @property
    def parameters(self) -> int:
        """Everything trained [count]."""
        own = sum(unit.count * step.parameters for unit in self.units for step in unit.steps)
        return own + sum(step.parameters for step in self.embedding)

    @property
    def tensors(self) -> int:
        """Tensors of parameters [count]."""
        steps = [(unit.count, step) for unit in self.units for step in unit.steps]
        return sum(n * (step.products + step.vectors) for n, step in [*steps, *((1, step) for step in self.embedding)])
