"""Where a job runs and what it may cost: prices, electricity, deadline, budget and sockets."""

from dataclasses import dataclass
from typing import Literal

Price = Literal["rent", "own", "electricity"]


@dataclass(frozen=True)
class Site:
    """Money and energy around a job.

    price: "rent" takes the systems' usd_per_gpu_hour; "own" spreads the cards' launch price over
    `ownership_hours` and adds electricity; "electricity" is for cards that are there anyway.
    socket_watts: what one machine may draw. 0 for deadline, budget or sockets: no limit. pue and co2_grams_per_kwh are
    assumed unless given: a machine alone, and the world's mean electricity of 2018 (IEA, Global Energy & CO2 Status
    Report 2019, as mlco2/codecarbon's FAQ quotes it).
    """

    price: Price = "rent"
    usd_per_kwh: float = 0.15
    pue: float = 1.0
    co2_grams_per_kwh: float = 475.0
    ownership_hours: float = 3 * 365 * 24 * 0.5
    deadline_hours: float = 0.0
    budget_usd: float = 0.0
    socket_watts: float = 0.0
