"""A net's lines as steps whose channels are known: blocks put in, repeats counted, strides and skips checked."""

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, get_args

from perfsim.core.convnet import Action, Step, Unit
from perfsim.inputs.explain import nearest
from perfsim.inputs.layer_lines import LayerLine, LineError, read_line
from perfsim.inputs.positions import Loc

if TYPE_CHECKING:
    from perfsim.inputs.convnet import BlockSpec, NetSpec

MAX_STEPS, MAX_DEPTH = 20_000, 8
DEFAULT_GROUPS = 32
_INTERNAL = ("fork", "shortcut", "add")
WORDS = tuple(word for word in get_args(Action) if word not in _INTERNAL)


class WrongLayerError(ValueError):
    """A line that does not fit: where, what, and what to do."""

    def __init__(self, loc: Loc, what: str, todo: str) -> None:
        super().__init__(what)
        self.loc, self.what, self.todo = loc, what, todo


class Expander:
    """Walks a net's lines once. `scale` is the size over the input's, `multiple` what sizes must be a multiple of.

    Raises: WrongLayerError for the first line that does not fit.
    """

    def __init__(self, name: str, net: "NetSpec", blocks: dict[str, "BlockSpec"]) -> None:
        self._net, self._blocks = net, blocks
        self.units: list[Unit] = []
        self.embedding: list[Step] = []
        self._kept: list[tuple[int, Fraction]] = []
        self.scale, self.multiple, self._count, self._smallest = Fraction(1), 1, 0, Fraction(1)
        self._side = net.embedding_channels or 0
        self.channels = self._side
        if net.embedding:
            self.embedding = self._lines(net.embedding, (name, "embedding"), 0, 1, 0)
            self._side = self.channels
        self.channels = net.input_channels
        self._units(net.layers, (name, "layers"))
        if not self.units:
            raise WrongLayerError((name, "layers"), "is empty", "write the net's layers")

    def _units(self, texts: Sequence[str], loc: Loc) -> None:
        """A unit for each block of the list, and one for the layers between two of them."""
        plain: list[Step] = []
        word = ""
        for i, text in enumerate(texts):
            line = self._read(text, (*loc, i))
            if line.word not in self._blocks:
                word = word if plain else line.word
                plain += self._line(line, texts[i + 1 :], (*loc, i), 0, 1)
                continue
            self._unit(word, plain)
            plain = []
            for number in range(line.repeats):
                stride = line.steps_over(1) if number == 0 else 1
                self._unit(line.word, self._block(line, (*loc, i), 0, stride, 0))
        self._unit(word, plain)

    def _unit(self, word: str, steps: list[Step]) -> None:
        if not steps:
            return
        last = self.units[-1] if self.units else None
        is_still = all(step.stride == 1 and step.action != "mean" for step in steps)
        if last and is_still and last.steps == tuple(steps):
            self.units[-1] = Unit(last.name, last.count + 1, last.steps)
        else:
            self.units.append(Unit(f"{len(self.units) + 1:02d}-{word}", 1, tuple(steps)))

    def _lines(self, texts: Sequence[str], loc: Loc, c: int, s: int, depth: int) -> list[Step]:
        steps: list[Step] = []
        for i, text in enumerate(texts):
            line, here = self._read(text, (*loc, i)), (*loc, i)
            if line.word in self._blocks:
                for number in range(line.repeats):
                    stride = line.steps_over(s) if number == 0 else 1
                    steps += self._block(line, here, c, stride, depth + 1)
            else:
                steps += self._line(line, texts[i + 1 :], here, c, s)
        return steps

    def _block(self, line: LayerLine, loc: Loc, c: int, stride: int, depth: int) -> list[Step]:
        if depth > MAX_DEPTH:
            raise WrongLayerError(loc, f"blocks within blocks, more than {MAX_DEPTH} deep", "let no block hold itself")
        block, place = self._blocks[line.word], ("block", line.word)
        if not block.layers:
            raise WrongLayerError((*place, "layers"), "is empty", "write the block's layers")
        inner = self._value(line, c, "amount", loc) if line.amount else 0
        before = self.channels, self.scale
        steps = [self._same("fork", loc)] if block.is_residual else []
        steps += self._lines(block.layers, (*place, "layers"), inner, stride, depth)
        if block.is_residual:
            main = self.channels, self.scale
            self.channels, self.scale = before
            steps.append(self._same("shortcut", loc))
            if main != before:
                steps += self._lines(block.shortcut, (*place, "shortcut"), inner, stride, depth)
            if (self.channels, self.scale) != main:
                what = f"both ways of {line.word} end in different shapes ({main[0]} and {self.channels} channels)"
                raise WrongLayerError(loc, what, "see to its shortcut")
            steps.append(self._same("add", loc))
        return steps + self._lines(block.after, (*place, "after"), inner, stride, depth)

    def _line(self, line: LayerLine, rest: Sequence[str], loc: Loc, c: int, s: int) -> list[Step]:
        if line.word not in WORDS:
            near = nearest(line.word, [*WORDS, *self._blocks])
            hint = f"did you mean {near[0]}?" if near else f"write one of {', '.join(WORDS[:8])} ... or a [block]"
            raise WrongLayerError(loc, f"{line.word} is no layer and no block", hint)
        if line.repeats > 1:
            raise WrongLayerError(loc, "only blocks can be repeated", "make a [block] of it")
        try:
            return [self._step(line, rest, loc, c, s)]
        except LineError as error:
            raise WrongLayerError(loc, error.what, error.todo) from None

    def _step(self, line: LayerLine, rest: Sequence[str], loc: Loc, c: int, s: int) -> Step:
        """The step of a line that is no block; `rest` are the lines after it."""
        word, inputs, stride = line.word, self.channels, line.steps_over(s)
        if word == "keep":
            self._kept.append((self.channels, self.scale))
            return self._same("keep", loc)
        if word == "join":
            return self._join(loc)
        if word in ("attention", "cross-attention"):
            return self._attention(line, loc, c)
        if word in ("conv", "deconv", "linear"):
            before_norm = bool(rest) and rest[0].split(" ")[0] == "batchnorm"
            outputs, groups = line.value(c, "channels"), line.groups(inputs)
            if inputs % groups or outputs % groups:
                raise LineError(f"{groups} groups do not divide {inputs} and {outputs} channels", "choose a divisor")
            self._resize(Fraction(stride) if word == "deconv" else Fraction(1, stride))
            bias = line.has_bias(not before_norm)
            return self._made(Step(word, inputs, outputs, line.kernel, stride, groups, has_bias=bias), loc)  # type: ignore[arg-type]
        if word == "embed":
            if not self._side:
                raise LineError("embed without an embedding", "add embedding_channels and embedding to the net")
            return self._made(Step("embed", inputs, inputs, side=self._side, has_bias=line.has_bias(True)), loc)
        if word == "groupnorm":
            groups = line.value(c, "groups", DEFAULT_GROUPS)
            if inputs % groups:
                raise LineError(f"{groups} groups do not divide {inputs} channels", "choose a divisor")
            return self._made(Step("groupnorm", inputs, inputs, groups=groups), loc)
        if word == "geglu":
            if inputs % 2:
                raise LineError(f"geglu halves {inputs} channels", "make them even")
            return self._made(Step("geglu", inputs, inputs // 2), loc)
        if word in ("maxpool", "avgpool", "upsample"):
            self._resize(Fraction(stride) if word == "upsample" else Fraction(1, stride))
        return self._made(Step(word, inputs, inputs, line.kernel, stride), loc)  # type: ignore[arg-type]

    def _attention(self, line: LayerLine, loc: Loc, c: int) -> Step:
        heads, inputs = line.value(c, "heads"), self.channels
        if inputs % heads:
            raise LineError(f"{heads} heads do not divide {inputs} channels", "choose a divisor")
        side = self._net.context_channels or 0 if line.word == "cross-attention" else 0
        if line.word == "cross-attention" and not (side and self._net.context_tokens):
            raise LineError("cross-attention without a context", "add context_tokens and context_channels to the net")
        bias = line.has_bias(False)
        return self._made(Step(line.word, inputs, inputs, heads=heads, side=side, has_bias=bias), loc)  # type: ignore[arg-type]

    def _join(self, loc: Loc) -> Step:
        if not self._kept:
            raise LineError("join without a keep before it", "add the keep, or remove the join")
        side, scale = self._kept.pop()
        if scale != self.scale:
            raise LineError("what was kept has another size", "let as many upsamples as strides lie between them")
        self.multiple = max(self.multiple, int(1 / self._smallest))
        return self._made(Step("join", self.channels, self.channels + side, side=side), loc)

    def _same(self, action: Action, loc: Loc) -> Step:
        return self._made(Step(action, self.channels, self.channels), loc)

    def _made(self, step: Step, loc: Loc) -> Step:
        self._count += 1
        if self._count > MAX_STEPS:
            raise WrongLayerError(loc, f"more than {MAX_STEPS:,} layers", "repeat less")
        self.channels = step.outputs
        return step

    def _resize(self, factor: Fraction) -> None:
        self.scale = self.scale * factor
        self._smallest = min(self._smallest, self.scale)

    def _read(self, text: str, loc: Loc) -> LayerLine:
        try:
            return read_line(text)
        except LineError as error:
            raise WrongLayerError(loc, error.what, error.todo) from None

    def _value(self, line: LayerLine, c: int, name: str, loc: Loc) -> int:
        try:
            return line.value(c, name)
        except LineError as error:
            raise WrongLayerError(loc, error.what, error.todo) from None
