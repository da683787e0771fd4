"""The 90 % intervals of plans' figures, and which uncertain numbers make them wide."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Literal

import numpy as np

from perfsim.core.arrays import rows, shape_of
from perfsim.core.hardware import System
from perfsim.core.results import Estimate
from perfsim.core.spreads import Spreads
from perfsim.search.sensitivity import Inputs, Knob
from perfsim.search.uncertainty import MEMORY_REACH, Range, elasticities, range_around, spread_of
from perfsim.units import JOULES_PER_KWH

Word = Literal["measured", "fitted", "datasheet", "extrapolated"]
RATES = ("tokens_per_s", "samples_per_s", "useful_tokens_per_s", "mfu", "hfu")
ENERGIES = ("job_kwh", "job_kg_co2")
FIGURES = ("step_seconds", *RATES, "job_hours", "job_usd", *ENERGIES, "watts_per_gpu", "memory_bytes")
AT_ONCE = 128  # plans whose numbers are turned in one call of the estimate
LEAST_SHARE = 0.01  # of the variance, below which a number is not named
OF_SOURCE, OF_RUN = "from one publication to the next", "what remains of a run"


@dataclass(frozen=True)
class Basis:
    """What a figure rests on, in one word of docs/glossary.md; reason: why it is no better, "" where measured."""

    word: Word
    reason: str = ""

    @property
    def text(self) -> str:
        """Word and reason.

        >>> Basis("extrapolated", "no measured run on RTX 5090").text, Basis("measured").text
        ('extrapolated: no measured run on RTX 5090', 'measured')
        """
        return f"{self.word}: {self.reason}" if self.reason else self.word


@dataclass(frozen=True)
class Cause:
    """A number that makes the interval of a step wide: its share of the variance, its own spread (of its log)."""

    name: str
    share: float
    spread: float


@dataclass(frozen=True)
class Intervals:
    """One plan's figures, each between the ends of the interval that holds 90 % of what may be measured.

    ranges: by name of the figure, in its unit; bases: likewise, what it rests on; causes: what makes the step's
    interval wide, most first; spread: standard deviation of the log of the step's seconds.
    """

    ranges: Mapping[str, Range]
    causes: tuple[Cause, ...]
    spread: float
    bases: Mapping[str, Basis] = field(default_factory=dict)

    def __getitem__(self, figure: str) -> Range:
        """The range of a figure, one of FIGURES."""
        return self.ranges[figure]

    @property
    def basis(self) -> Basis:
        """Of the step."""
        return self.bases["step_seconds"]

    def columns(self) -> dict[str, float | str]:
        """For tables: `*_low` and `*_high` of every figure, `basis` and its reason, those of joules and bytes too."""
        ends = {f"{k}_{end}": float(getattr(r, end)) for k, r in self.ranges.items() for end in ("low", "high")}
        return ends | basis_columns(self.bases)

    def to_dict(self) -> dict[str, float | str]:
        """The figures themselves, and `columns`: flat, as experiment trackers log."""
        return {name: float(one.middle) for name, one in self.ranges.items()} | self.columns()

    def _repr_html_(self) -> str:
        import perfsim

        return perfsim.html(self)


def basis_columns(bases: Mapping[str, Basis]) -> dict[str, float | str]:
    """The words as columns of a table."""
    named = {"basis": "step_seconds", "energy_basis": "job_kwh", "memory_basis": "memory_bytes"}
    found: dict[str, float | str] = {column: bases[figure].word for column, figure in named.items()}
    reasons = dict.fromkeys(reason for figure in named.values() for reason in bases[figure].reason.split("; "))
    return found | {"basis_reason": "; ".join(filter(None, reasons))}


def intervals(inputs: Inputs, found: Estimate, knobs: Sequence[Sequence[Knob]], known: Spreads) -> Iterator[Intervals]:
    """Of each plan of a flat list, with its own knobs; one call of the estimate for every AT_ONCE of them.

    found: the estimates of the same plans, at the site that they are asked for.
    """
    count = len(knobs)
    for start in range(0, count, AT_ONCE):
        part = slice(start, min(start + AT_ONCE, count))
        own = knobs[part]
        some = Inputs(
            inputs.workload if not shape_of(inputs.workload) else rows(inputs.workload, part, (count,)),
            rows(inputs.system, part, (count,)), rows(inputs.plan, part, (count,)), inputs.software, inputs.calibration,
        )  # fmt: skip
        paths = list(dict.fromkeys(knob.paths for knobs_of_plan in own for knob in knobs_of_plan))
        turned, row_of = elasticities(some, paths), {path: row for row, path in enumerate(paths)}
        for column, knobs_of_plan in enumerate(own):
            chosen = [row_of[knob.paths] for knob in knobs_of_plan]
            figures = _figures(found, inputs.system, start + column, count)
            slopes = turned.seconds[chosen, column], turned.joules[chosen, column]
            yield _of_plan(figures, slopes, knobs_of_plan, known)


def _of_plan(
    figures: Mapping[str, float], slopes: tuple[np.ndarray, np.ndarray], knobs: Sequence[Knob], known: Spreads
) -> Intervals:
    spreads = [knob.spread for knob in knobs]
    of_seconds, of_joules = slopes
    seconds, joules = (float(spread_of(list(slope), spreads, known)) for slope in slopes)
    joules = sqrt(joules**2 + known.energy_noise**2)
    watts = sqrt(sum(((of_joules - of_seconds) * np.array(spreads)) ** 2) + known.energy_noise**2)
    spread_by = dict.fromkeys(FIGURES, seconds) | dict.fromkeys(ENERGIES, joules) | {"watts_per_gpu": watts}
    ranges = {name: range_around(figures[name], spread, known.reach) for name, spread in spread_by.items()}
    drawn = ranges["watts_per_gpu"]
    ranges["watts_per_gpu"] = replace(drawn, high=max(drawn.middle, min(drawn.high, figures["power_limit_watts"])))
    ranges["memory_bytes"] = range_around(figures["memory_bytes"], figures["memory_spread"], MEMORY_REACH)
    ranges["job_hours"] = _beside(ranges["job_hours"], figures["fixed_share"])
    ranges |= {name: _beside(ranges[name], figures["fixed_energy_share"]) for name in ENERGIES}
    ranges["job_usd"] = _dollars(figures, ranges["job_hours"], ranges["job_kwh"])
    return Intervals(ranges, _causes(slopes[0], knobs, known, seconds), seconds)


def _beside(found: Range, fixed_share: float) -> Range:
    """The range where a share of the figure does not depend on the steps, as start-up does not."""
    fixed = fixed_share * found.middle
    return Range(*(fixed + (1.0 - fixed_share) * end for end in (found.low, found.middle, found.high)))


def _dollars(figures: Mapping[str, float], hours: Range, kwh: Range) -> Range:
    """Machines cost by the hour and electricity by the kWh; both are taken to err together."""
    usd, power = figures["job_usd"], figures["job_usd"] * figures["electricity_share"]

    def at(end: str) -> float:
        of_hours, of_kwh = (getattr(one, end) / one.middle for one in (hours, kwh))
        return float((usd - power) * of_hours + power * of_kwh)

    return Range(at("low"), usd, at("high"))


def _causes(slopes: np.ndarray, knobs: Sequence[Knob], known: Spreads, spread: float) -> tuple[Cause, ...]:
    own = [Cause(k.name, float(s * k.spread / spread) ** 2, k.spread) for s, k in zip(slopes, knobs, strict=True)]
    rest = ((OF_SOURCE, known.source), (OF_RUN, known.noise))
    own += [Cause(name, (size / spread) ** 2, size) for name, size in rest]
    return tuple(sorted((c for c in own if c.share >= LEAST_SHARE), key=lambda cause: -cause.share))


def _figures(found: Estimate, system: System, row: int, count: int) -> dict[str, float]:
    """Of one plan, the spread of its memory, shares of its cost, hours and kWh, and what its board may draw."""

    def of_row(values: object) -> float:
        return float(np.broadcast_to(np.asarray(values), (count,))[row])

    named = {name: of_row(getattr(found, name)) for name in FIGURES if name not in ("step_seconds", "memory_bytes")}
    job = found.job
    fixed, waiting = of_row(job.fixed_seconds), of_row(job.waiting_seconds)
    steps = of_row((job.useful_seconds + job.repeated_seconds) / found.time.total_seconds)
    waiting_kwh = named["job_kwh"] - steps * of_row(found.energy.total_joules) / JOULES_PER_KWH
    total = of_row(found.cost.total_usd)
    return named | {
        "fixed_share": fixed / of_row(job.total_seconds),
        "fixed_energy_share": fixed / waiting * waiting_kwh / named["job_kwh"] if waiting else 0.0,
        "step_seconds": of_row(found.time.total_seconds),
        "memory_bytes": of_row(found.memory.total_bytes),
        "memory_spread": of_row(found.memory_spread),
        "power_limit_watts": of_row(system.gpu.power_limit_watts),
        "electricity_share": of_row(found.cost.electricity_usd) / total if total else 0.0,
    }
