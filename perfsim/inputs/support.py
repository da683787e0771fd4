"""specs/support/*.toml: on which cards a library or a number format works, with first and last version."""

import datetime
import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Annotated

from pydantic import Field

from perfsim.core.support import CURRENT, UNKNOWN, Fact, State, Support
from perfsim.inputs.files import Line, Name, Spec
from perfsim.inputs.gpu import GpuSpec
from perfsim.inputs.positions import Loc

Capability = Annotated[str, Field(pattern=r"^\d{1,2}\.\d$")]
Capabilities = Annotated[tuple[Capability, ...], Field(strict=False, max_length=64)]
_PEERS: dict[str, tuple[State, str]] = {
    "yes": ("yes", ""),
    "no": ("no", "GPUs exchange through the host's memory"),
    "nvlink-only": ("partial", "over NVLink alone"),
    "unverified": ("unknown", ""),
}


class Works(Spec):
    """What is known of some compute capabilities, or of single cards, which go first."""

    capabilities: Capabilities = ()
    cards: Annotated[tuple[Name, ...], Field(strict=False, max_length=1000)] = ()
    state: State = "yes"
    first: Line | None = None
    last: Line | None = None
    released: datetime.date | None = None  # of the first version
    detail: Annotated[str, Field(max_length=1000)] = ""
    source: Line
    date: datetime.date


class Build(Spec):
    """Builds of one line, first to last version, and the compute capabilities that they hold code and PTX for."""

    line: Line
    first: Annotated[str, Field(pattern=rf"^(\d+(\.\d+)*|{UNKNOWN})$")]
    last: Annotated[str, Field(pattern=rf"^(\d+(\.\d+)*|{CURRENT})$")]
    kernels: Annotated[Capabilities, Field(min_length=1)]
    ptx: Capability | None = None
    source: Line
    date: datetime.date

    def runs_on(self, capability: str) -> bool:
        """Code runs on later minor versions of its major one, PTX on all later ones."""
        has = _version(capability)
        own = (_version(kernel) for kernel in self.kernels)
        return any(code[0] == has[0] and code <= has for code in own) or bool(self.ptx and _version(self.ptx) <= has)


class SupportSpec(Spec):
    """A library, a format or a driver; what no row covers is unknown."""

    name: Line
    works: Annotated[tuple[Works, ...], Field(strict=False, max_length=200)] = ()
    build: Annotated[tuple[Build, ...], Field(strict=False, max_length=200)] = ()

    def problems(self) -> Iterator[tuple[Loc, str, str]]:
        """Rows about nothing, or that say versions of what never works; builds that end before they begin."""
        if not (self.works or self.build):
            yield (), "says nothing", "add a [[works]] or a [[build]]"
        for i, row in enumerate(self.works):
            if not (row.capabilities or row.cards):
                yield ("works", i), "is about no card", "add capabilities = [...] or cards = [...]"
            if row.state == "no" and (row.first or row.last):
                yield ("works", i, "state"), "no, but versions are given", "remove them, or write another state"
        for i, one in enumerate(self.build):
            if _version(one.last) < _version(one.first):
                yield ("build", i, "last"), f"{one.last} is before first", "exchange the two"

    def fact(self, key: str, card: str, capability: str) -> Fact:
        """What the file says of a card: of itself, else of its compute capability, else of the builds that run."""
        if row := self._row(card, capability):
            is_none = row.state == "no"
            versions = ("", "") if is_none else (row.first or UNKNOWN, row.last or UNKNOWN)
            return Fact(key, self.name, row.state, *versions, (), row.detail, row.source, row.date.isoformat())
        running = sorted(
            (b for b in self.build if b.runs_on(capability)), key=lambda b: (_version(b.last), _version(b.first))
        )
        if not running:
            return Fact(key, self.name, "no" if self.build else "unknown", *self._none())
        first = min(running, key=lambda b: _version(b.first))
        lines = tuple(dict.fromkeys(b.line for b in running))
        return Fact(
            key, self.name, "yes", first.first, running[-1].last, lines, "", running[-1].source,
            running[-1].date.isoformat(),
        )  # fmt: skip

    def _row(self, card: str, capability: str) -> Works | None:
        named = (row for row in self.works if card in row.cards)
        return next(named, next((row for row in self.works if capability in row.capabilities), None))

    def _none(self) -> tuple[str, str, tuple[str, ...], str, str, str]:
        """The rest of a fact about cards that no row and no build covers."""
        if not self.build:
            return UNKNOWN, UNKNOWN, (), "", "", ""
        newest = max(self.build, key=lambda b: b.date)
        return "", "", (), "no build holds code for it", newest.source, newest.date.isoformat()

    def first_code_day(self, capability: str) -> float:
        """Ordinal of the earliest release whose code runs on the compute capability; 0: not known."""
        has = _version(capability)
        days = [
            row.released.toordinal()
            for row in self.works
            if row.released and any((own := _version(c))[0] == has[0] and own <= has for c in row.capabilities)
        ]
        return float(min(days, default=0))


def to_support(key: str, spec: GpuSpec, files: Mapping[str, SupportSpec]) -> Support:
    """What the files and the card's own say of its software."""
    capability = spec.compute_capability
    facts = [file.fact(name, key, capability) for name, file in files.items()]
    facts.append(_peers(key, spec))
    day = files["cuda"].first_code_day(capability) if "cuda" in files else 0.0
    name = spec.name.removeprefix("GeForce ").removeprefix("Tesla ")
    return Support(key, name, capability, tuple(facts), day)


def _peers(key: str, spec: GpuSpec) -> Fact:
    """Whether NCCL's ranks reach each other's memory, which is the card's own property."""
    state, detail = _PEERS[spec.peer_to_peer]
    more = f"its notes say more: perfsim specs show {key}" if "P2P" in spec.notes else ""
    told = spec.sources.get("peer_to_peer", spec.sources.get("*", ""))
    version = "" if state == "no" else UNKNOWN
    return Fact(
        "peer-to-peer", "NCCL peer to peer", state, version, version, (), "; ".join(filter(None, (detail, more))),
        f"specs/gpus/{key}.toml: {told}",
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _version(text: str) -> tuple[float, ...]:
    ends = {CURRENT: (math.inf,), UNKNOWN: (-math.inf,)}
    return ends.get(text) or tuple(float(part) for part in text.split("."))
