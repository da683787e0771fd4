"""A recommendation in lines for people: the verdict, the best by each criterion, and what would change it."""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from perfsim import __version__
from perfsim.report.columns import columns, price_text, records
from perfsim.report.intervals import causes_text, range_text, reason_lines, record_of
from perfsim.report.job import machine_text
from perfsim.report.ownership import mean_watts, ownership_line
from perfsim.report.plan_options import plan_options
from perfsim.report.table import support_lines
from perfsim.report.text import (
    TASK_TEXTS,
    cards_text,
    hours_text,
    plan_text,
    workload_text,
)
from perfsim.report.text import (
    reason_lines as problem_lines,
)
from perfsim.search.certificate import Certificate
from perfsim.search.recommend import Change, Choice, Criterion, Pool, Recommendation
from perfsim.units import number_text, printable, usd_text

HEADER = ("best by", "GPUs", "plan", "hours", "$", "kWh", "keeps")
TEXT_WIDTHS = {"best by": 8, "GPUs": 17, "plan": 13}
LEGEND = "in brackets: 90 % of measured jobs lie within; keeps: the chance to fit and to keep deadline and budget"


def recommendation_lines(found: Recommendation, is_explained: bool = False) -> Iterator[RenderableType]:
    """The whole answer; is_explained: what every figure rests on."""
    if found:
        yield from _verdict(found)
        yield Text("")
        yield _table(found)
        yield Text("")
        yield Text("What would change it", style="bold")
        yield from (Text(line, overflow="fold") for line in turning_lines(found))
        yield from (Text(line, overflow="fold") for line in _room_lines(found["cheapest"]))
        if is_explained:
            yield from _basis(found)
        yield Text(LEGEND, style="dim")
    else:
        yield from _nothing(found)
    for line in closing_lines(found):
        yield Text(line, style="dim")


def _verdict(found: Recommendation) -> Iterator[Text]:
    best = found["cheapest"]
    *others, last = next(titles for titles, choice, _ in rows(found) if choice is best)
    titles = f"{', '.join(others)} and {last}" if others else last
    doubt = "" if found.is_sure else f", but keeps the limits with a chance of {_chance(best.chance)} only"
    yield Text(f"Take {choice_text(best)}: {titles}{doubt}", style="bold")
    yield Text(workload_text(found.workload))
    yield Text(limits_text(found))


def limits_text(found: Recommendation) -> str:
    """What was asked: the limits, and the cards to choose from."""
    site, limits = found.site, []
    if site.deadline_hours:
        limits.append(f"within {hours_text(site.deadline_hours)}")
    if site.budget_usd:
        limits.append(f"for at most {usd_text(site.budget_usd)}")
    sets = []
    for pool in found.pools[: found.asked]:
        systems, counts = pool.sweep.systems, pool.sweep.space.counts
        cards = {system.gpu.key: system.gpu for system in systems}
        named = [cards_text({"gpus": int(systems[0].max_gpus), "gpu_name": gpu.name}) for gpu in cards.values()]
        kinds = "one kind" if len(cards) == 1 else f"{len(cards)} kinds"
        rented = f"{min(counts):,} to {max(counts):,} cards of {kinds} to rent"
        sets.append(rented if pool.tenure == "rented" else f"{named[0]} owned, which cost electricity alone")
    return f"Asked: {' '.join(limits) or 'no limits'}; {', '.join(sets)}"


def choice_text(choice: Choice) -> str:
    """Cards, plan, hours and dollars with their intervals, in a line."""
    row = row_of(choice)
    hours = f"{hours_text(row['job_hours'])}{range_text(choice.ranges, 'job_hours')}"
    dollars = f"{usd_text(row['job_usd'])}{range_text(choice.ranges, 'job_usd')}"
    return f"{set_text(choice)}, {plan_text(row)}: {hours}, {dollars}"


def set_text(choice: Choice) -> str:
    """The cards, and whether they are one's own."""
    return ("own " if choice.tenure == "owned" else "") + cards_text(row_of(choice))


def row_of(choice: Choice) -> dict[str, Any]:
    """Its figures as a table has them."""
    return records(columns(choice.pool.sweep, [choice.row]))[0]


def _table(found: Recommendation) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in HEADER:
        least = TEXT_WIDTHS.get(name)
        table.add_column(
            name,
            justify="left" if least else "right",
            no_wrap=not least,
            min_width=least,
            max_width=least,
            overflow="fold",
        )
    for titles, choice, other in rows(found):
        table.add_row(" ".join(titles), *_cells(choice), style="bold" if "cheapest" in titles else "")
        if other:
            table.add_row("  then", *_cells(other), style="dim")
    return table


def rows(found: Recommendation) -> list[tuple[list[Criterion], Choice, Choice | None]]:
    """(criteria, choice, runner-up by the first of them); criteria that choose the same plan stand together."""
    together: dict[tuple[int, int], tuple[list[Criterion], Choice, Choice | None]] = {}
    for criterion, (choice, other) in found.choices.items():
        together.setdefault((id(choice.pool), choice.row), ([], choice, other))[0].append(criterion)
    return list(together.values())


def _cells(choice: Choice) -> Iterator[str]:
    row, ranges = row_of(choice), choice.ranges
    yield set_text(choice)
    yield plan_text(row)
    yield number_text(row["job_hours"]) + range_text(ranges, "job_hours", is_hours=True)
    yield usd_text(row["job_usd"]).removeprefix("$") + range_text(ranges, "job_usd")
    yield number_text(row["job_kwh"])
    yield _chance(choice.chance)


def turning_lines(found: Recommendation) -> Iterator[str]:
    """What would make another choice the cheapest, or the one chosen another."""
    best, other = found.choices["cheapest"]
    if other:
        yield from _price_lines(best, other, found.overtaken)
    yield from (change_text(change, best) for change in found.changes)


def _price_lines(best: Choice, other: Choice, overtaken: float) -> Iterator[str]:
    ratio = other.figure("job_usd") / best.figure("job_usd")
    what = {"owned": "electricity", "rented": "rent"}
    rise, fall = f"{100 * (ratio - 1):,.0f} %", f"{100 * (1 - 1 / ratio):.0f} %"
    yield (
        f"price: cheapest until its {what[best.tenure]} rises by {rise}, or the {what[other.tenure]} of"
        f" {set_text(other)} falls by {fall}"
    )
    yield f"speed: the chance that {set_text(other)} is the cheaper in truth is {_chance(overtaken)}"


def change_text(change: Change, best: Choice | None = None) -> str:
    """A change and what it leads to; best: what is chosen without it."""
    choice = change.choice
    workload = choice.pool.sweep.workload
    is_more = best is not None and choice.figure("gpus") > best.figure("gpus")
    words = {
        "limits": "",
        "count": f"{'more' if is_more else 'fewer'} of them",
        "rent": "renting",
        "spot": f"spot machines{'' if choice.site.preemptions_per_hour else ', as if none were taken back'}",
        "gpus": "more GPUs",
        "precision": f"numbers in {change.value}, which must suit the training",
        "method": f"{TASK_TEXTS[workload.task]} of rank {workload.lora_rank}, which trains less",
    }
    changed = " and ".join(filter(None, (words[change.kind], *_needs(choice))))
    return f"{changed}: {choice_text(choice)}"


def _needs(choice: Choice) -> Iterator[str]:
    """The limits that would be kept in 95 of 100: the upper ends, where they are beyond what was asked."""
    hours, dollars = choice.ranges["job_hours"].high, choice.ranges["job_usd"].high
    if choice.site.deadline_hours and hours > choice.site.deadline_hours:
        yield f"a deadline from {hours_text(hours)} on"
    if choice.site.budget_usd and dollars > choice.site.budget_usd:
        yield f"a budget from {usd_text(dollars)} on"


def _nothing(found: Recommendation) -> Iterator[Text]:
    yield Text("Nothing keeps the limits", style="bold")
    yield Text(workload_text(found.workload))
    yield Text(limits_text(found))
    yield Text("")
    if found.changes:
        yield Text("What would", style="bold")
        yield from (Text(change_text(change), overflow="fold") for change in found.changes)
    else:
        yield Text("No single change would do: no other limits, number format or method, nor 8 times the GPUs.")
        for line in problem_lines(_certificate(found.pools).problems, most=4):
            yield Text(line, style="dim")


def closing_lines(found: Recommendation) -> Iterator[str]:
    """How many plans were looked at, and what prices and times rest on."""
    sweep, told = found.pools[0].sweep, _certificate(found.pools)
    power = f"electricity {usd_text(sweep.site.usd_per_kwh)}/kWh, PUE {sweep.site.pue:g}"
    yield f"{told.considered:,} plans on {printable(sweep.software.name)}; {power}"
    yield from support_lines([row_of(choice) for choice in distinct(found)])
    if found:
        best = found["cheapest"]
        price, basis = _price_text(best), best.ranges.basis.text
        yield f"to start the first: {start_text(best)}"
        yield f"price of the first: {printable(price)}; its time {printable(basis)}; every basis: --explain"


def _basis(found: Recommendation) -> Iterator[Text]:
    yield Text("")
    yield Text("What the figures rest on", style="bold")
    for choice in distinct(found):
        yield Text(f"{set_text(choice)}: price {printable(_price_text(choice))}")
        for line in (*reason_lines(choice.ranges), causes_text(choice.ranges.causes)):
            yield Text(f"  {line}", overflow="fold")


def _room_lines(choice: Choice) -> Iterator[str]:
    """Of the cheapest: after how long it would better be bought, or what it asks of one's own room."""
    system, plan, estimate = choice.parts
    if choice.tenure == "owned":
        yield machine_text(row_of(choice))
        return
    line = ownership_line(system, int(plan.gpus), mean_watts(estimate), choice.site)
    if line.startswith("buying"):
        yield line


def start_text(choice: Choice) -> str:
    """The command that writes its launch file."""
    return f"perfsim launch {shlex.join(options_of(choice))}"


def options_of(choice: Choice) -> list[str]:
    """Its plan as the options of the commands that take one."""
    system, plan, _ = choice.parts
    sweep = choice.pool.sweep
    return plan_options(sweep.workload, system, plan, sweep.software, choice.site)


def _price_text(choice: Choice) -> str:
    system, plan, _ = choice.parts
    return price_text(system, int(plan.gpus), choice.site)


def distinct(found: Recommendation) -> Sequence[Choice]:
    """Every set of cards that is told, once."""
    told = {one.cards: one for _, choice, other in reversed(rows(found)) for one in (other, choice) if one}
    return list(reversed(told.values()))


def recommendation_record(found: Recommendation) -> dict[str, Any]:
    """For JSON: every choice, runner-up and change with all figures, their ends and bases."""
    return {
        "perfsim": __version__,
        "task": str(found.workload.task),
        "model": found.workload.model.key,
        "software": found.pools[0].sweep.software.key,
        "deadline_hours": found.site.deadline_hours or None,
        "budget_usd": found.site.budget_usd or None,
        "is_sure": found.is_sure,
        "choices": [
            {"criterion": criterion, "place": place, **choice_record(choice)}
            for criterion, pair in found.choices.items()
            for place, choice in enumerate(pair, 1)
            if choice
        ],
        "runner_up_is_cheaper_chance": found.overtaken if found else None,
        "changes": [{"change": c.kind, "value": c.value or None, **choice_record(c.choice)} for c in found.changes],
    }


def choice_record(choice: Choice) -> dict[str, Any]:
    """One choice for JSON."""
    told = {"tenure": choice.tenure, "chance": choice.chance, "options": options_of(choice)}
    return {**told, **row_of(choice), **record_of(choice.ranges)}


def _certificate(pools: Sequence[Pool]) -> Certificate:
    total = Certificate()
    for pool in pools:
        total = total.plus(pool.sweep.certificate)
    return total


def _chance(chance: float) -> str:
    """A chance in per cent, never 0 or 100.

    >>> _chance(0.999), _chance(0.42), _chance(0.001)
    ('>99 %', '42 %', '<1 %')
    """
    if chance > 0.99:
        return ">99 %"
    return "<1 %" if chance < 0.01 else f"{100 * chance:.0f} %"
