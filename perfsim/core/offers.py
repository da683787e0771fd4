"""What machines and cards cost: offers as they are listed, and the cheapest ones that hold so many GPUs."""

from dataclasses import dataclass
from typing import Literal

from perfsim.core.numbers import Floats, Ints

OfferKind = Literal["on-demand", "spot", "purchase"]


@dataclass(frozen=True)
class Offer:
    """One price: of a machine with `gpus` cards for an hour, or for good.

    gpu, system: keys in the specs; without a system any machine of such cards is meant. place: a region or a zone.
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
        return self.usd / self.gpus


@dataclass(frozen=True)
class Rate:
    """The cheapest offer that holds a number of GPUs.

    gpus: how many of them one rented machine takes, which is paid whole. offer: its place among System.offers, -1 for
    none; usd_per_hour of a machine is 0 then.
    """

    gpus: Ints = 1
    usd_per_hour: Floats = 0.0
    offer: Ints = -1
