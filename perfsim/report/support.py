"""What software runs on cards, as a line a card or as all that is known of one."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from perfsim.core.support import CURRENT, Fact, Support
from perfsim.formulas.needs import verdict
from perfsim.report.text import card_text
from perfsim.units import aligned

if TYPE_CHECKING:
    from perfsim.search.sweep import Sweep

NAMED = 3  # cards of a group that cannot run a job

_COLUMNS = {  # of the table of cards: its title, and the fact
    "CUDA": "cuda",
    "PyTorch": "pytorch",
    "driver": "driver",
    "bf16": "bf16",
    "FA1": "flash-attention-1",
    "FA2": "flash-attention-2",
    "FA3": "flash-attention-3",
    "fp8": "fp8",
    "nvfp4": "nvfp4",
    "int8": "bitsandbytes-8bit",
    "nf4": "bitsandbytes-4bit",
    "P2P": "peer-to-peer",
}
_RANGES = ("cuda", "pytorch")
LEGEND = (
    "CUDA, PyTorch: first to last version; driver: the last branch; int8, nf4: bitsandbytes; emul: emulated;"
    " part: partial; ?: not known"
)
_SHORT = {"emulated": "emul", "partial": "part", "unknown": "?"}


def table_lines(found: Sequence[Support]) -> list[str]:
    """A line a card, and what its columns mean."""
    rows = [["card", "sm", *_COLUMNS]]
    rows += [
        [one.key, one.compute_capability.replace(".", ""), *(_cell(one.fact(key)) for key in _COLUMNS.values())]
        for one in found
    ]
    return [*aligned(rows, " "), LEGEND]


def verdict_lines(one: Support) -> list[str]:
    """The verdict of a card, then each fact with its versions, detail and the number of its source."""
    sources: list[str] = []
    rows = [["", "works", "first", "last", "source", ""]]
    for fact in one.facts:
        told = f"{fact.source} ({fact.date})" if fact.date else fact.source
        if told and told not in sources:
            sources.append(told)
        mark = f"[{sources.index(told) + 1}]" if told else "-"
        rows.append([fact.name, fact.state, fact.first or "-", fact.last or "-", mark, _detail(fact)])
    listed = [f"[{number}] {source}" for number, source in enumerate(sources, 1)]
    return [one.sentence, "", *aligned(rows), "", *listed]


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


def record(one: Support) -> dict[str, Any]:
    """The same for JSON."""
    facts = {fact.key: {k: v for k, v in asdict(fact).items() if k != "key"} for fact in one.facts}
    return {
        "gpu": one.key,
        "name": one.name,
        "compute_capability": one.compute_capability,
        "verdict": one.sentence,
        "limits": one.limits,
        "facts": facts,
    }


def _detail(fact: Fact) -> str:
    return "; ".join(filter(None, (", ".join(fact.lines), fact.detail)))


def _last(fact: Fact) -> str:
    return "" if fact.last == CURRENT else _SHORT.get(fact.last, fact.last)


def _cell(fact: Fact) -> str:
    if fact.state in ("no", "unknown"):
        return _SHORT.get(fact.state, fact.state)
    if fact.key in _RANGES:
        return f"{_SHORT.get(fact.first, fact.first)}-{_last(fact)}"
    if fact.key == "driver":
        return _last(fact)
    return _SHORT.get(fact.state, fact.state)
