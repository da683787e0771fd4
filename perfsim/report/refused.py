"""The cards of a sweep that cannot run its job, whatever the plan."""

from typing import TYPE_CHECKING

from perfsim.formulas.needs import verdict
from perfsim.report.text import card_text

if TYPE_CHECKING:
    from perfsim.search.sweep import Sweep

NAMED = 3  # cards of a group


def refused_cards(sweep: "Sweep") -> dict[str, tuple[str, ...]]:
    """Names of the cards that cannot run the sweep's job, whatever the plan, and what each lacks."""
    cards = {system.gpu.key: system.gpu for system in sweep.systems}
    lacking = {gpu.name: verdict(gpu, sweep.workload, sweep.software).lacking for gpu in cards.values()}
    return {name: lacks for name, lacks in lacking.items() if lacks}


def refused_lines(sweep: "Sweep") -> list[str]:
    """How many cards cannot run the job, and what those lack; nothing where all can."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, lacks in refused_cards(sweep).items():
        groups.setdefault(lacks, []).append(card_text(name))
    if not groups:
        return []
    told = []
    for lacks, names in groups.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        told.append(f"no {' and no '.join(lacks)} on {', '.join(names[:NAMED])}{more}")
    count, total = sum(map(len, groups.values())), len({system.gpu.key for system in sweep.systems})
    return [f"refused: {count} of {total} cards, whatever the plan: {'; '.join(told)}"]
