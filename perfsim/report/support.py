"""What software runs on cards, as a line a card or as all that is known of one."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from perfsim.core.support import CURRENT, Fact, Support
from perfsim.units import aligned

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
