"""The plans of a page: which of a sweep's it holds, and each as texts that the page shows as they are.

Columns, one entry a plan; what many plans share is a number into a list. All numbers are written here, so that the
page's script writes none.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

import numpy as np

from perfsim.core.plan import Plan
from perfsim.formulas.cost import rented_kind
from perfsim.formulas.fits import SURE_CHANCE
from perfsim.formulas.rent import usd_per_hour
from perfsim.report.answer import Answer
from perfsim.report.columns import columns, records
from perfsim.report.front import TOLD
from perfsim.report.intervals import reach_text
from perfsim.report.table import cells, header, notes_of, winning_rows
from perfsim.report.text import cards_text, plan_text
from perfsim.report.words import BOUNDS, as_run, part_name, part_words
from perfsim.search.front import contenders, figure
from perfsim.search.intervals import Intervals
from perfsim.units import GIB, HOUR, MILLI, NO_NUMBER, number_text, percent_text, printable, usd_text

if TYPE_CHECKING:
    from perfsim.core.hardware import System
    from perfsim.search.sweep import Sweep

MOST_PLANS, LEAST_PLANS = 600, 150  # of all answers together, and of each; some 500 bytes and 5 ms a plan
MOST_TOLD = 0.75  # of a page's plans, as rows of the table that needs no script
AXES = ("time", "money", "energy", "gpus")
RANGES = (  # figure, size of its unit
    ("step_seconds", MILLI), ("job_hours", 1.0), ("job_usd", 1.0), ("job_kwh", 1.0), ("watts_per_gpu", 1.0),
    ("memory_bytes", GIB),
)  # fmt: skip
LEAST_TICKS = 3  # of an axis
LEAST_PART = 5e-5  # of a total, below which a part is not shown
Row = dict[str, Any]


@dataclass
class Shared:
    """What plans share, each thing once."""

    places: dict[Hashable, int] = field(default_factory=dict)

    def __call__(self, thing: Hashable) -> int:
        """The number of the thing."""
        return self.places.setdefault(thing, len(self.places))

    def things(self) -> list[Hashable]:
        """All of them, in the order of their numbers."""
        return list(self.places)


def rows_of_page(answer: Answer, most: int) -> list[int]:
    """Rows of the sweep for the page, best first.

    Those that the answer tells, the fronts of all pairs of AXES, the best of every card, count and power limit, and
    then the best of the others, `most` in all.
    """
    sweep = answer.sweep
    counts = np.broadcast_to(sweep.plans.gpus, (len(sweep),)).tolist()
    cards = [(system.gpu.key, float(system.gpu.power_limit_watts)) for system in sweep.systems]
    best: dict[tuple[tuple[str, float], int], int] = {}
    for row, (system, count) in enumerate(zip(sweep.system_index.tolist(), counts, strict=True)):
        best.setdefault((cards[system], count), row)
    fronts = (row for pair in combinations(AXES, 2) for row in front_of(sweep, pair))
    wanted = (*rows_told(answer, most), *winning_rows(sweep).values(), *fronts, *best.values(), *range(len(sweep)))
    kept: dict[int, None] = {}
    for row in wanted:
        kept[int(row)] = None
        if len(kept) == most:
            break
    return sorted(kept)


def rows_told(answer: Answer, most: int) -> tuple[int, ...]:
    """Of `most` plans on the page, those that stand in its table without a script."""
    return answer.rows[: int(MOST_TOLD * most)]


def front_of(sweep: "Sweep", pair: Sequence[str]) -> list[int]:
    """Rows of the front over two figures; none where nothing can be compared in them."""
    rows: list[int] = sweep.pareto(*pair).tolist() if len(contenders(sweep, pair)) else []
    return rows


def plan_columns(answer: Answer, rows: Sequence[int], ranges: Sequence[Intervals]) -> dict[str, Any]:
    """The columns of the sweep's `rows`, and what they share; ranges: their intervals, none where they are unknown."""
    sweep, texts, parts = answer.sweep, Shared(), Shared()
    table = records(columns(sweep, rows))
    plans = {
        **_names(sweep, rows, table, texts),
        **_amounts(sweep, table, ranges, texts),
        "axes": _axes(sweep, rows),
        "ranges": [_ends(one, row) for one, row in zip(ranges, table, strict=True)] if ranges else [],
        "bases": [_bases(one, texts) for one in ranges],
        "time": _parts(sweep, rows, sweep.estimates.time.parts(), MILLI, parts),
        "bytes": _parts(sweep, rows, sweep.estimates.memory.parts(), GIB, parts),
    }
    return {"plans": plans, "texts": texts.things(), "parts": parts.things()}


def _names(sweep: "Sweep", rows: Sequence[int], table: Sequence[Row], texts: Shared) -> dict[str, list[int]]:
    """Who and what each plan is, where it runs and what that costs."""
    systems = [sweep.systems[int(i)] for i in sweep.system_index[list(rows)]]
    return {
        "cards": [texts(cards_text(row)) for row in table],
        "plan": [texts(plan_text(row)) for row in table],
        "facts": [texts(facts_text(row)) for row in table],
        "note": [texts(text) for text in notes_of(sweep, table)],
        "system": [texts(printable(system.name)) for system in systems],
        "idle": [texts(number_text(float(system.gpu.power.idle_watts))) for system in systems],
        "host": [texts(number_text(float(system.host_watts_per_gpu))) for system in systems],
        "rate": [texts(rate_text(sweep, one, int(row["gpus"]))) for one, row in zip(systems, table, strict=True)],
        "price": [texts(printable(row["price_basis"]) or "none known") for row in table],
        "pipelined": [int(row["pipeline_parallel"] > 1) for row in table],
        "meets": [int(row["meets_site"] and row["fit_probability"] >= SURE_CHANCE) for row in table],
    }


def _amounts(
    sweep: "Sweep", table: Sequence[Row], ranges: Sequence[Intervals], texts: Shared
) -> dict[str, list[str] | list[int]]:
    """The figures of each plan, in the words of the table on a terminal where that has them."""
    shown = cells(sweep, table, (), ranges)
    place = {name: i for i, name in enumerate(header((), bool(ranges)))}

    def cell(name: str) -> list[str]:
        return [line[place[name]] for line in shown]

    return {
        "step": cell("step ms"),
        "reach": [reach_text(one).split()[0] for one in ranges] or [NO_NUMBER] * len(table),
        "samples": cell("samples/s"),
        "hours": cell("hours"),
        "usd": cell("$"),
        "kwh": cell("kWh"),
        "lost": [texts(number_text(row["job_hours"] - row["useful_seconds"] / HOUR)) for row in table],
        "working": [number_text(_working_hours(row)) for row in table],
        "waiting": [texts(number_text(row["job_hours"] - _working_hours(row))) for row in table],
        "co2": [number_text(row["job_kg_co2"]) for row in table],
        "mfu": [number_text(100 * row["mfu"]) for row in table],
        "hfu": [number_text(100 * row["hfu"]) for row in table],
        "watts": [number_text(row["watts_per_gpu"]) for row in table],
        "clock": [texts(f"{row['clock_ratio']:.2f}") for row in table],
        "memory": cell("GiB"),
        "capacity": [texts(number_text(row["memory_capacity_bytes"] / GIB)) for row in table],
        "filled": [round(100 * row["memory_bytes"] / row["memory_capacity_bytes"]) for row in table],
        "chance": [texts(percent_text(row["fit_probability"])) for row in table],
    }


def _working_hours(row: Row) -> float:
    """Hours of a job in which boards compute; in the others they are idle."""
    hours: float = (row["useful_seconds"] + row["repeated_seconds"]) / HOUR
    return hours


def facts_text(row: Row) -> str:
    """A plan in full words.

    >>> row = dict(tensor_parallel=1, pipeline_parallel=1, data_parallel=2, context_parallel=1, expert_parallel=1,
    ...     zero_stage=3, micro_batch_size=8, microbatches=4, virtual_stages=1, recompute="none", schedule="1f1b",
    ...     recompute_layers=0, offload="none", hybrid_shard=0)
    >>> facts_text(row)
    'data parallel 2, ZeRO stage 3, micro-batches of 8, 4 a step, nothing recomputed'
    """
    words = [
        f"{name.replace('_', ' ')} {row[name]}"
        for name in ("tensor_parallel", "context_parallel", "pipeline_parallel", "data_parallel", "expert_parallel")
        if row[name] > 1
    ]
    words += [f"schedule {row['schedule']}"] * (row["pipeline_parallel"] > 1)
    words += [f"{row['virtual_stages']} virtual stages"] * (row["virtual_stages"] > 1)
    words += [f"ZeRO stage {row['zero_stage']}"] * (row["zero_stage"] > 0)
    words += [f"sharded by {row['hybrid_shard']}"] * (row["hybrid_shard"] > 0)
    words.append(f"micro-batches of {row['micro_batch_size']}, {row['microbatches']:,} a step")
    whole = f"{row['recompute_layers']} layers recomputed" if row["recompute_layers"] else "all layers recomputed"
    words.append({"none": "nothing recomputed", "selective": "parts recomputed", "full": whole}[row["recompute"]])
    words += [f"{row['offload']} in host memory"] * (row["offload"] != "none")
    return ", ".join(words)


def rate_text(sweep: "Sweep", system: "System", gpus: int) -> str:
    """What an hour of one GPU costs, electricity beside an own card's price apart; "" where no price is known."""
    site = sweep.site
    if site.price in ("rent", "spot"):
        dollars = float(usd_per_hour(system, gpus, rented_kind(site)))
        return usd_text(dollars / gpus) if dollars else ""
    price = float(system.gpu.price_usd)
    return f"{usd_text(price)} / {number_text(site.ownership_hours)} h" if price and site.price == "own" else ""


def _axes(sweep: "Sweep", rows: Sequence[int]) -> list[list[float | None]]:
    """Of each of AXES the figure of every row, None where no price is known."""
    found: list[list[float | None]] = []
    priced = sweep.has_price[list(rows)]
    for name in AXES:
        figures = [float(f"{value:.4g}") for value in figure(sweep, name)[list(rows)]]
        has = priced if name == "money" else np.ones(len(rows), dtype=bool)
        found.append([value if known else None for value, known in zip(figures, has, strict=True)])
    return found


def axis_records(axes: Sequence[Sequence[float | None]]) -> list[dict[str, Any]]:
    """Of each axis its title, its noun and ticks with their texts."""
    found = []
    for name, values in zip(AXES, axes, strict=True):
        known = [value for value in values if value]
        marks = ticks(min(known), max(known)) if known else []
        told = TOLD[name]
        found.append({"title": told.axis, "noun": told.noun, "ticks": [[mark, told.text(mark)] for mark in marks]})
    return found


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`: 1, 2 and 5 times powers of ten, of a narrow range steps of such a number.

    >>> ticks(0.3, 9.0), ticks(18.3e6, 20.1e6)
    ([0.5, 1.0, 2.0, 5.0], [18500000.0, 19000000.0, 19500000.0, 20000000.0])
    """
    powers = range(floor(log10(low)), floor(log10(high)) + 1)
    marks = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    inside = [mark for mark in marks if low <= mark <= high]
    if len(inside) > LEAST_TICKS or low == high:
        return inside or [low]
    power = floor(log10((high - low) / LEAST_TICKS))
    steps = [float(f"{digit}e{power}") for digit in (1, 2, 5, 10)]
    step = max((one for one in steps if one * LEAST_TICKS <= high - low), default=steps[0])
    return [float(f"{count * step:.6g}") for count in range(ceil(low / step), floor(high / step) + 1)]


def _ends(one: Intervals, row: Row) -> list[str]:
    """Low and high of each of RANGES, one after another; empty where no interval is known."""
    if not one.ranges:
        return []
    found = []
    for name, size in RANGES:
        is_known = row.get(name) is not None
        found += [number_text(end / size) if is_known else NO_NUMBER for end in (one[name].low, one[name].high)]
    return found


def _bases(one: Intervals, texts: Shared) -> list[int]:
    """Word of step, energy, power and memory, then the reasons of all."""
    names = ("step_seconds", "job_kwh", "watts_per_gpu", "memory_bytes")
    reasons = dict.fromkeys(one.bases[name].reason for name in ("step_seconds", "watts_per_gpu", "memory_bytes"))
    return [*(texts(one.bases[name].word) for name in names), texts(printable("; ".join(filter(None, reasons))))]


def _parts(
    sweep: "Sweep", rows: Sequence[int], parts: Mapping[str, Any], size: float, shared: Shared
) -> list[list[int | str]]:
    """Of each row its parts in one list: (name, what it is made of, what bounds it) as one number, amount, the next."""
    workload, shape = as_run(sweep.workload, sweep.software), (len(sweep),)
    values = np.stack([np.broadcast_to(np.asarray(part, dtype=float), shape)[list(rows)] for part in parts.values()])
    least = LEAST_PART * values.sum(axis=0)
    found = []
    for i, row in enumerate(rows):
        plan: Plan = sweep.row(row)[1]
        one: list[int | str] = []
        for name, value in zip(parts, values[:, i].tolist(), strict=True):
            if value > least[i]:
                told = (part_name(name), part_words(name, workload, plan), BOUNDS.get(name, "kernels"))
                one += [shared(told), number_text(value / size)]
        found.append(one)
    return found
