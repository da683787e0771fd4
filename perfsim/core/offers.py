"""What machines and cards cost: offers as they are listed, and the cheapest ones that hold so many GPUs."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from perfsim.core.numbers import Floats, Ints

OfferKind = Literal["on-demand", "spot", "purchase"]


@dataclass(frozen=True)
class Offer:
    """One price: of a machine with `gpus` cards for an hour, or for good.

    gpus: 0 where the price is that of each card, in machines of any size. gpu, system: keys in the specs; without a
    system any machine of such cards is meant. place: a region or a zone.
    date, source: as told, "" where they are not. file: the table's name, "" for what perfsim ships.
    """

    kind: OfferKind
    gpu: str
    gpus: int
    usd: float  # an hour; purchase: once
    system: str = ""
    instance: str = ""
    place: str = ""
    date: str = ""
    source: str = ""
    file: str = ""

    @property
    def usd_per_gpu(self) -> float:
        """The price by card [USD], an hour or once."""
        return self.usd / max(self.gpus, 1)


@dataclass(frozen=True)
class Rate:
    """The cheapest offer that holds a number of GPUs.

    gpus: how many of them one rented machine takes, which is paid whole. offer: its place among System.offers, -1 for
    none; usd_per_hour of a machine is 0 then.
    """

    gpus: Ints = 1
    usd_per_hour: Floats = 0.0
    offer: Ints = -1


@dataclass(frozen=True)
class PriceTable:
    """What a file gives: the cheapest offer of every machine, and how many rows it has besides.

    unknown, unclear: rows by name of an accelerator that is no card, or could be several (named); unused: by reason.
    """

    path: Path
    offers: tuple[Offer, ...] = ()
    unknown: Counter[str] = field(default_factory=Counter)
    unclear: Counter[tuple[str, tuple[str, ...]]] = field(default_factory=Counter)
    unused: Counter[str] = field(default_factory=Counter)
