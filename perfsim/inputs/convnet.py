"""Convolutional models and GANs in specs/models: lists of layers, and blocks that the lists repeat."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from perfsim.core.convnet import Convnet
from perfsim.core.model import Model
from perfsim.inputs.expand_layers import Expander, WrongLayerError
from perfsim.inputs.files import Line, Sourced, Spec, Texts
from perfsim.inputs.layer_lines import MAX_CHANNELS
from perfsim.inputs.positions import Loc
from perfsim.inputs.published import Published

CONVOLUTIONAL_KINDS = ("convolutional", "gan")

Channels = Annotated[int, Field(ge=1, le=MAX_CHANNELS)]
Pixels = Annotated[int, Field(ge=1, le=2**16)]
Layers = Annotated[Texts, Field(max_length=1000)]


class BlockSpec(Spec):
    """Layers under a name. A residual block adds its input to what they make, through `shortcut` if shapes change."""

    layers: Layers
    is_residual: bool = False
    shortcut: Layers = ()
    after: Layers = ()


class NetSpec(Spec):
    """One net. Its input has the image's size over `downsampling`, or `input_size` pixels a side, whatever the image.

    embedding: layers that a vector of `embedding_channels` passes, which "embed" adds to every channel;
    context_tokens rows of context_channels are what "cross-attention" reads.
    """

    input_channels: Channels
    input_size: Pixels | None = None
    downsampling: Pixels = 1
    layers: Layers
    embedding_channels: Channels | None = None
    embedding: Layers = ()
    context_tokens: Annotated[int, Field(ge=1, le=10**6)] | None = None
    context_channels: Channels | None = None


class ConvnetSpec(Sourced):
    """A file of specs/models of kind convolutional (one net) or gan (generator and discriminator).

    image_size: pixels a side, unless the workload says otherwise; explain says why the count differs from the
    published one.
    """

    name: Line
    family: Line
    aliases: Texts = ()
    kind: Literal["convolutional", "gan"]
    image_size: Pixels
    net: NetSpec | None = None
    generator: NetSpec | None = None
    discriminator: NetSpec | None = None
    block: dict[str, BlockSpec] = Field(default_factory=dict)
    explain: Line | None = None
    published: Published | None = None

    def problems(self) -> Iterator[tuple[Loc, str, str]]:
        """Nets that are missing or too many, layers that do not fit each other."""
        wanted = ("net",) if self.kind == "convolutional" else ("generator", "discriminator")
        for name in ("net", "generator", "discriminator"):
            if (getattr(self, name) is not None) != (name in wanted):
                yield (), f"a model of kind {self.kind} consists of {' and '.join(wanted)}", f"see to [{name}]"
                return
        try:
            nets = [self._net(name) for name in wanted]
        except WrongLayerError as error:
            yield error.loc, error.what, error.todo
            return
        if self.kind == "gan":
            yield from self._misfits(*nets)

    def _misfits(self, generator: Convnet, discriminator: Convnet) -> Iterator[tuple[Loc, str, str]]:
        """A discriminator reads what the generator makes, alone or beside what it is made of."""
        given, made = generator.units[0].steps[0].inputs, generator.units[-1].steps[-1].outputs
        read = discriminator.units[0].steps[0].inputs
        if read not in (made, made + given):
            what = f"{read}, but the generator makes {made} of {given}"
            yield ("discriminator", "input_channels"), what, f"write {made}, or {made + given} if it sees both"
        size = (generator.fixed_size or self.image_size) * self._expanded("generator").scale
        if size != self.image_size:
            yield ("image_size",), f"{self.image_size}, but the generator makes {size} pixels a side", f"write {size}"

    def model(self, key: str) -> Model:
        """The core record of this file, under the name `key`."""
        names = ("net",) if self.kind == "convolutional" else ("generator", "discriminator")
        return Model(
            key=key, name=self.name, kind=self.kind, layers=1, hidden_size=0, heads=1, kv_heads=1, head_dim=1,
            ffn_hidden_size=0, is_gated_mlp=False, activation="", vocab_size=0, has_tied_embeddings=True,
            positions="none", max_positions=1, is_causal=False, norm="none",
            nets=tuple(self._net(name) for name in names), image_size=self.image_size,
        )  # fmt: skip

    def _net(self, name: str) -> Convnet:
        spec = getattr(self, name)
        found = self._expanded(name)
        multiple = spec.downsampling * found.multiple
        return Convnet(
            name, tuple(found.units), spec.downsampling, spec.input_size or 0, tuple(found.embedding),
            spec.context_tokens or 0, multiple,
        )  # fmt: skip

    def _expanded(self, name: str) -> Expander:
        return Expander(name, getattr(self, name), self.block)
