"""Pictures that matplotlib draws: one style, and files with the same bytes for the same content.

What a picture says never rests on a colour alone: fillings differ by hatch and lightness, lines by dashes, marks by
shape.
"""

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perfsim.errors import InputError
from perfsim.report.export import write_bytes
from perfsim.units import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
INSTALL = "pip install 'perfsim[report]' (or pip install matplotlib)"
INK, GREY = "#111111", "#8a8a8a"
BLUE, RED, GREEN, VIOLET, TEAL, OLIVE = "#1f5fa8", "#b5451b", "#2d7d46", "#7a3b8f", "#0b7a75", "#6b6b00"
MARKS = (("o", BLUE), ("^", RED), ("s", GREEN), ("D", VIOLET), ("v", OLIVE), ("P", TEAL))
DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)), (0, (1, 1)), (0, (8, 2, 2, 2, 2, 2)))
Fill = tuple[str, str]  # colour and hatch
Box = tuple[float, float, float, float]  # left, low, right, high
_STYLE: Any = {
    "font.family": "DejaVu Sans", "font.size": 9.0, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": "#e4e4e4", "grid.linewidth": 0.6,
    "svg.fonttype": "none", "svg.hashsalt": "perfsim", "path.simplify": False, "hatch.linewidth": 0.6,
    "text.parse_math": False,  # names come from files
}  # fmt: skip


def check_picture(target: str, option: str) -> None:
    """Refuses a picture that could not be written, before anything is computed; `option` asked for it.

    Raises: InputError for a name that ends in neither .png nor .svg, and where matplotlib is missing.
    """
    if Path(target).suffix.lower() not in SUFFIXES:
        raise InputError(f"{option}: {printable(target)}: is no picture perfsim draws; write a name in .png or .svg")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise InputError(f"{option}: needs matplotlib, which is not installed; {INSTALL}") from None


def write_picture(target: str, draw: Callable[[], "Figure"]) -> None:
    """Writes what `draw` makes into `target`, a .png or .svg.

    Raises: InputError when the file cannot be written.
    """
    form = Path(target).suffix.lower().removeprefix(".")
    buffer = io.BytesIO()
    with style():
        nameless = {"Software": None} if form == "png" else {"Date": None, "Creator": "perfsim"}
        draw().savefig(buffer, format=form, dpi=150, metadata=nameless)
    write_bytes(target, buffer.getvalue())


@contextmanager
def style() -> Iterator[None]:
    """matplotlib as it comes, without the user's own settings, and with the few of `_STYLE`."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def blank(width: float, height: float) -> "Figure":
    """An empty figure [inches] that can measure texts."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def drawing_on(axes: "Axes | None", width: float, height: float) -> Iterator["Axes"]:
    """The axes to draw on in perfsim's style: the caller's own, else those of a new figure of pyplot [inches].

    Raises: InputError where matplotlib is missing.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise InputError(f"plot: needs matplotlib, which is not installed; {INSTALL}") from None
    with style():
        yield axes or plt.subplots(figsize=(width, height), layout="constrained", facecolor="white")[1]


def plain_ticks(axis: "Axis") -> None:
    """Numbers on an axis as people write them, on logarithmic ones too."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axis.set_minor_formatter(NullFormatter())


def short_number(value: float) -> str:
    """A number for an axis, millions as such.

    >>> short_number(17_400_000.0), short_number(2_500.0), short_number(0.125)
    ('17.4 M', '2,500', '0.125')
    """
    return f"{value / 1e6:,.6g} M" if abs(value) >= 1e6 else f"{value:,.6g}"


def cut(text: str, most: int = 40) -> str:
    """The text, shortened where it is longer than `most` characters.

    >>> cut("a name without end", 10)
    'a name ...'
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."


def boxes_along(start: Any, end: Any) -> list[Box]:
    """Small boxes along a line, in the unit of its ends (pixels or points)."""
    count = 2 + int(math.dist(start, end) / 6)
    return [(x - 1.0, y - 1.0, x + 1.0, y + 1.0) for x, y in np.linspace(start, end, count)]


def overlap(one: Box, other: Box) -> bool:
    """The boxes have a place in common."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
