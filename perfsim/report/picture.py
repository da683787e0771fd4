"""Pictures that matplotlib draws: one style, and files with the same bytes for the same content."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfsim.errors import InputError
from perfsim.report.export import write_bytes
from perfsim.units import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
INSTALL = "pip install 'perfsim[report]' (or pip install matplotlib)"
INK, GREY = "#111111", "#8a8a8a"
_STYLE: Any = {
    "font.family": "DejaVu Sans", "font.size": 9.0, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": "#e4e4e4", "grid.linewidth": 0.6,
    "svg.fonttype": "none", "svg.hashsalt": "perfsim", "path.simplify": False,
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
