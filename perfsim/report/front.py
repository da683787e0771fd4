"""A front in words: which figures it is over, how far they reach, and what it leaves out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from perfsim.search.front import figure
from perfsim.units import GIB, MILLI, number_text, usd_text

if TYPE_CHECKING:
    from perfsim.search.sweep import Sweep


@dataclass(frozen=True)
class Told:
    """How a figure is told: its name, its axis in a picture, its unit's size, an amount of it and the unit in words."""

    noun: str
    axis: str
    size: float
    unit: str
    text: Callable[[float], str] = number_text


TOLD = {
    "step-time": Told("step time", "one step [ms]", MILLI, " ms"),
    "time": Told("time", "the job's time [h]", 1.0, " h"),
    "money": Told("money", "the job's price [USD]", 1.0, "", usd_text),
    "energy": Told("energy", "the job's energy [kWh]", 1.0, " kWh"),
    "gpus": Told("GPUs", "GPUs", 1.0, " GPUs", lambda count: f"{count:,.0f}"),
    "headroom": Told("free memory", "memory left of the fullest GPU [GiB]", GIB, " GiB free"),
}


def nouns(names: Sequence[str]) -> str:
    """The figures in a row.

    >>> nouns(["time", "money", "gpus"])
    'time, money and GPUs'
    """
    *first, last = (TOLD[name].noun for name in names)
    return f"{', '.join(first)} and {last}" if first else last


def front_verdict(sweep: "Sweep", names: Sequence[str]) -> str:
    """How many plans are on the front, and from where to where each figure reaches."""
    rows, ranges = sweep.pareto(*names), []
    for name in names:
        told, amounts = TOLD[name], figure(sweep, name)[rows] / TOLD[name].size
        ends = dict.fromkeys(told.text(float(end)) for end in (amounts.min(), amounts.max()))
        ranges.append(" to ".join(ends) + told.unit)
    plans = "1 plan" if len(rows) == 1 else f"{len(rows):,} plans"
    return f"{plans} that none beats in {nouns(names)}: {', '.join(ranges)}"


def left_out_lines(sweep: "Sweep", names: Sequence[str]) -> Iterator[str]:
    """The cards that a front over money cannot know of."""
    if "money" in names:
        cards = np.array([system.gpu.key for system in sweep.systems])[sweep.system_index]
        unpriced = set(cards) - set(cards[sweep.has_price])
        if unpriced:
            few = len(unpriced) == 1
            yield f"{len(unpriced)} card{'s' * (not few)} without a known price {'is' if few else 'are'} left out"
