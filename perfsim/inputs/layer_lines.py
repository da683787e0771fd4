"""One line of a net's list, such as "3 bottleneck/2 128" or "conv 3x3 64 nobias", read into what it says.

    [repeats] word [KxK][/stride] [amount] [flags]

amount: channels that leave a convolution or a linear, heads of an attention, groups of a norm; in a block "c" is the
block's own amount ("4c" four times it) and "/s" the block's stride.
"""

import re
from dataclasses import dataclass

MAX_REPEATS, MAX_WINDOW, MAX_CHANNELS = 1000, 64, 2**20

_LINE = re.compile(
    r"(?:(?P<repeats>\d{1,4}) )?(?P<word>[a-z][a-z0-9-]{0,31})(?: (?P<kernel>\d{1,2})x(?P<other>\d{1,2}))?"
    r"(?:/(?P<stride>\d{1,2}|s))?(?: (?P<amount>\d{0,7}c|\d{1,7}))?"
    r"(?P<flags>(?: (?:nobias|bias|depthwise|groups=\d{1,6}))*)",
    re.ASCII,
)
HINT = 'write it like "conv 3x3/2 64 nobias", "groupnorm 32", or "3 bottleneck/2 128" for a block'


class LineError(ValueError):
    """What is wrong with a line, and what to do."""

    def __init__(self, what: str, todo: str) -> None:
        super().__init__(what)
        self.what, self.todo = what, todo


@dataclass(frozen=True)
class LayerLine:
    """A line's parts as they are written; 0 or "" where it says nothing."""

    repeats: int
    word: str
    kernel: int
    stride: str
    amount: str
    flags: tuple[str, ...]

    def value(self, c: int, name: str, default: int = 0) -> int:
        """The amount, "c" being a block's own.

        Raises: LineError where it is missing, too large or speaks of a block's outside one.
        """
        text = self.amount
        if not text:
            if not default:
                raise LineError(f"{self.word} lacks its {name}", HINT)
            return default
        if text.endswith("c") and not c:
            raise LineError(f"{text} outside a block, or in one that is used without an amount", "write a number")
        found = int(text[:-1] or 1) * c if text.endswith("c") else int(text)
        if not 1 <= found <= MAX_CHANNELS:
            raise LineError(f"{found} {name}", f"write at most {MAX_CHANNELS:,}")
        return found

    def steps_over(self, s: int) -> int:
        """The stride, "s" being a block's own."""
        return s if self.stride == "s" else int(self.stride or 1)

    def groups(self, inputs: int) -> int:
        """Groups of a convolution's channels."""
        named = next((flag for flag in self.flags if flag.startswith("groups=")), "groups=1")
        return inputs if "depthwise" in self.flags else int(named.removeprefix("groups="))

    def has_bias(self, default: bool) -> bool:
        """Whether its products have a bias, `default` unless the line says so."""
        return ("bias" in self.flags) if {"bias", "nobias"} & {*self.flags} else default


def read_line(text: str) -> LayerLine:
    """The parts of a line.

    Raises: LineError.

    >>> line = read_line("3 bottleneck/2 128")
    >>> line.repeats, line.word, line.stride, line.amount
    (3, 'bottleneck', '2', '128')
    """
    found = _LINE.fullmatch(text)
    if not found:
        raise LineError("is no layer", HINT)
    repeats, kernel, stride = int(found["repeats"] or 1), int(found["kernel"] or 1), found["stride"] or ""
    if found["kernel"] != found["other"]:
        raise LineError(f"a window of {found['kernel']}x{found['other']}", "perfsim knows square windows only")
    if not 1 <= repeats <= MAX_REPEATS:
        raise LineError(f"{repeats} repeats", f"write 1 to {MAX_REPEATS:,}")
    if not 1 <= kernel <= MAX_WINDOW or stride == "0":
        raise LineError("a window or stride of 0, or too large", f"write 1 to {MAX_WINDOW}")
    return LayerLine(repeats, found["word"], kernel, stride, found["amount"] or "", tuple(found["flags"].split()))
