"""How sure the choice between two plans is, and what would turn it, in a few lines."""

from collections.abc import Iterator
from math import expm1

from rich.console import RenderableType
from rich.text import Text

from perfsim.search.sensitivity import Lever, Sensitivity
from perfsim.units import number_text, percent_text, printable

SHOWN = 4
SAME = 1e-5  # of the time, what two plans may differ by and still be the same
INSIDE = 2.0  # spreads, within which a number may well lie


def sensitivity_lines(found: Sensitivity) -> Iterator[RenderableType]:
    """Which plan is faster, how likely the other is, and the numbers that would turn it, the likeliest first."""
    yield Text("")
    if abs(found.gap) < SAME:
        yield Text("A and B take the same time.", style="bold")
        return
    best, other = ("A", "B") if found.gap > 0.0 else ("B", "A")
    chance, regret = _share(found.wrong_chance), _share(found.expected_regret)
    risk = f"chance that {other} is: {chance}, expected regret of {best}: {regret}"
    ends = sorted((abs(found.gap) - found.half_width, abs(found.gap) + found.half_width))
    between = " to ".join(_faster(end) if end >= 0.0 else f"{percent_text(-expm1(end))} slower" for end in ends)
    yield Text(f"{best} is {_faster(abs(found.gap))}; {risk}", style="bold")
    yield Text(f"90 % interval: {between}")
    flips = [lever for lever in found.levers if lever.flip is not None]
    likely = [lever for lever in flips if lever.sigmas <= INSIDE]
    for lever in likely[:SHOWN]:
        yield Text(f"would flip if: {_flip(lever)}")
    if not likely:
        yield Text(f"No number alone flips it within {INSIDE:g} times its spread.")
        if flips and flips[0].knob.spread:
            yield Text(f"The nearest to it: {_flip(flips[0])}")
    yield Text(
        "Spreads are those that whole runs have shown; errors that A and B share cancel, what remains of each run does"
        " not.",
        style="dim",
    )


def _faster(gap: float) -> str:
    ratio = expm1(gap)
    return f"{percent_text(ratio)} faster" if ratio < 1.0 else f"{number_text(1.0 + ratio)} times as fast"


def _flip(lever: Lever) -> str:
    assert lever.flip is not None  # noqa: S101  the callers have chosen those that do
    spread = f"known to +-{number_text(100 * lever.knob.spread, 2)} %, {lever.sigmas:.1f} spreads away"
    return f"{printable(lever.knob.name)} were x{lever.flip:.2f} ({spread})"


def _share(share: float) -> str:
    return "below 0.1 %" if share < 0.0005 else percent_text(share)
