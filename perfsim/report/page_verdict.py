"""The verdict of a page: the best plan, its figures with their intervals, and why it is the best."""

from collections.abc import Mapping, Sequence
from typing import Any

from perfsim.core.site import Site
from perfsim.formulas.fits import SURE_CHANCE
from perfsim.report.answer import Answer
from perfsim.report.columns import columns, records
from perfsim.report.front import front_verdict
from perfsim.report.intervals import range_text
from perfsim.report.table import BEST, WINNERS, winning_rows
from perfsim.report.text import cards_text, hours_text, miss_text, money_text, plan_text
from perfsim.search.certificate import OBJECTIVES
from perfsim.search.intervals import Intervals
from perfsim.units import GIB, number_text, percent_text, usd_text

Row = dict[str, Any]


def verdict_record(answer: Answer, place: Mapping[int, int], ranges: Sequence[Intervals]) -> dict[str, Any]:
    """What the template says first; place: of a sweep's row on the page; ranges: of the page's rows."""
    sweep, first = answer.sweep, answer.rows[0]
    best, *others = records(columns(sweep, answer.rows[:2]))
    one = ranges[place[first]] if ranges else None
    miss = miss_text(best, sweep.site)
    return {
        "head": f"Nothing meets the limits; the first {miss}" if miss else _head(answer),
        "is_met": not miss,
        "limits": limits_text(sweep.site),
        "front": front_verdict(sweep, answer.figures) if answer.figures else "",
        "cards": cards_text(best),
        "plan": plan_text(best),
        "place": place[first],
        "figures": _figures(best, one),
        "why": [*_next(answer, best, others, place, ranges), _fits(best)],
        "others": _others(answer, place),
    }


def limits_text(site: Site) -> str:
    """Deadline and budget in words, "" where there is neither.

    >>> limits_text(Site(deadline_hours=2.0, budget_usd=50.0))
    'within 2.00 h and $50.00'
    """
    limits = [hours_text(site.deadline_hours)] * (site.deadline_hours > 0)
    limits += [usd_text(site.budget_usd)] * (site.budget_usd > 0)
    return f"within {' and '.join(limits)}" if limits else ""


def _head(answer: Answer) -> str:
    if answer.figures:
        return "First of the front"
    return BEST[answer.sweep.objective]


def _figures(row: Row, one: Intervals | None) -> list[dict[str, str]]:
    """Time, money, energy and memory, each with its interval and the word of what it rests on."""
    told = (
        ("Time", hours_text(row["job_hours"]), "job_hours"),
        ("Cost", money_text(row["job_usd"]), "job_usd"),
        ("Energy", f"{number_text(row['job_kwh'])} kWh", "job_kwh"),
    )
    found = [
        {
            "label": label,
            "text": text,
            "range": range_text(one, key).strip(" ()").replace("-", " – ") if row[key] is not None else "",
            "basis": one.bases[key].word if one else "",
        }
        for label, text, key in told
    ]
    capacity = f"of {number_text(row['memory_capacity_bytes'] / GIB)} GiB"
    memory = {"label": "Memory a GPU", "text": f"{number_text(row['memory_bytes'] / GIB)} GiB", "range": capacity}
    return [*found, {**memory, "basis": one.bases["memory_bytes"].word if one else ""}]


def _next(
    answer: Answer, best: Row, others: Sequence[Row], place: Mapping[int, int], ranges: Sequence[Intervals]
) -> list[str]:
    """How far the next row of the answer is behind in what counts, and whether that is more than the intervals."""
    key = OBJECTIVES[answer.sweep.objective]
    if answer.figures or not others or not best[key] or not others[0][key]:
        return []
    _, text_of = WINNERS[key]
    more = others[0][key] / best[key] - 1.0
    words = f"Next is {cards_text(others[0])} with {text_of(others[0])}, {percent_text(more)} more"
    if ranges:
        mine, theirs = (ranges[place[row]] for row in answer.rows[:2])
        overlap = mine.ranges and theirs.ranges and theirs[key].low <= mine[key].high
        words += ": their intervals overlap" if overlap else ": their intervals do not overlap"
    return [words]


def _fits(row: Row) -> str:
    chance = row["fit_probability"]
    left = number_text((row["memory_capacity_bytes"] - row["memory_bytes"]) / GIB)
    if chance >= SURE_CHANCE:
        return f"It fits, with {left} GiB of a GPU to spare"
    return f"It may not fit: the chance is {percent_text(chance)}"


def _others(answer: Answer, place: Mapping[int, int]) -> list[dict[str, Any]]:
    """Who wins in the other figures."""
    found = []
    for key, row in winning_rows(answer.sweep).items():
        if key != OBJECTIVES[answer.sweep.objective] or answer.figures:
            (told,) = records(columns(answer.sweep, [row]))
            name, text_of = WINNERS[key]
            amount = text_of(told)
            found.append({"name": name, "cards": cards_text(told), "text": amount, "place": place[row]})
    return found
