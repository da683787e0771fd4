"""What whole runs were fitted to say: specs/calibration/runs.toml as text, and a summary."""

from collections.abc import Iterator, Mapping
from itertools import groupby

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from perfsim.calibration.run_fit import RunFit
from perfsim.units import number_text, printable

HEADER = """# Written by `{command}`: numbers of specs/software as whole runs fit them, and how well every number is
# known (standard deviations of logs). As calibration/runs.toml in a folder of --specs it counts before perfsim's.
"""
WORDS = {"source": "source left out", "gpu": "card left out", "software": "software left out"}


def numbers_text(found: RunFit, command: str) -> str:
    """The file; of each software the numbers that its runs identify."""
    s = found.spreads
    blocks = [
        HEADER.format(command=printable(command)),
        f"runs = {s.runs}\nsource_spread = {_figure(s.source)}\nnoise = {_figure(s.noise)}\n"
        f"energy_noise = {_figure(s.energy_noise)}\nreach = {_figure(s.reach)}\n",
        "[kinds]\n" + _table(s.kinds),
        "[numbers]\n" + _table(s.numbers),
    ]
    identified = [one for one in found.moved if one.is_identified]
    for software, moved in groupby(identified, key=lambda one: one.software):
        own = list(moved)
        lines = [f"runs = {own[0].runs}", *(f"{one.name} = {_figure(one.value)}" for one in own)]
        if software in found.memory_spreads:
            lines.append(f"memory_spread = {_figure(found.memory_spreads[software])}")
        blocks.append(f'[software."{software}"]\n' + "\n".join(lines) + "\n")
    blocks.append(f'[sources]\n"*" = "perfsim calibrate runs, {len(found.runs):,} measured runs"\n')
    return "\n".join(blocks)


def _table(spreads: Mapping[str, float]) -> str:
    return "".join(f'"{printable(key)}" = {_figure(value)}\n' for key, value in sorted(spreads.items()))


def _figure(value: float) -> str:
    return repr(float(f"{value:.3g}"))


def fit_lines(found: RunFit) -> Iterator[RenderableType]:
    """How well the runs are predicted, in sample and left out, and what they say of each number."""
    measured = np.array([run.measured_step_seconds for run in found.runs])
    yield Text(
        f"{len(measured):,} runs. Error in %: mean of sizes, median, bias; share inside the 90 % interval", style="bold"
    )
    yield Text(f"  {'in sample':20}{_errors(found.predicted_seconds / measured - 1.0)}")
    for what, left in found.left_out.items():
        inside = np.abs(np.log(measured / left.seconds)) < found.spreads.reach * left.spread
        yield Text(f"  {WORDS[what]:20}{_errors(left.seconds / measured - 1.0)}{100 * inside.mean():8.0f}")
    yield Text("")
    table = Table("software", "runs", "number", "value", "+- %", "was x", box=None, pad_edge=False)
    for one in found.moved:
        if one.is_identified:
            cells = (
                one.software,
                f"{one.runs}",
                one.name,
                number_text(one.value),
                f"{100 * one.error:.0f}",
                f"{1.0 / one.factor:.2f}",
            )
            table.add_row(*map(printable, cells))
    yield table
    unknown = [one for one in found.moved if not one.is_identified]
    if unknown:
        yield Text(f"Not identified and left as they are: {len(unknown)} numbers.", style="dim")
    for software, own in groupby(unknown, key=lambda one: one.software):
        yield Text(f"  {printable(software)}: {', '.join(one.name for one in own)}", style="dim")


def _errors(errors: np.ndarray) -> str:
    size = np.abs(errors)
    return f"{100 * size.mean():7.1f}{100 * np.median(size):7.1f}{100 * errors.mean():+7.1f}"
