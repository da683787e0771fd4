"""Where a job runs and what it may cost: prices, electricity, deadline, budget and sockets."""

from dataclasses import dataclass
from typing import Literal

from perfsim.units import HOURS_PER_YEAR

Price = Literal["rent", "spot", "own", "electricity"]


@dataclass(frozen=True)
class Site:
    """Money and energy around a job.

    price: "rent" pays machines whole by their cheapest offer on demand, "spot" by the cheapest that may be taken away;
    "own" spreads the cards' price over `ownership_hours` and adds electricity; "electricity" is for cards that are there
    anyway. host_usd: what the machine around bought cards costs, 0 where that is not counted; use_share: of all hours,
    those in which bought cards work (assumed). socket_watts: what one machine may draw. 0 for deadline, budget or
    sockets: no limit. pue and co2_grams_per_kwh are assumed unless given: a machine alone, and the world's mean
    electricity of 2018 (IEA, Global Energy & CO2 Status Report 2019, as mlco2/codecarbon's FAQ quotes it).
    """

    price: Price = "rent"
    usd_per_kwh: float = 0.15
    pue: float = 1.0
    co2_grams_per_kwh: float = 475.0
    ownership_hours: float = 3 * HOURS_PER_YEAR * 0.5
    use_share: float = 0.5
    host_usd: float = 0.0
    deadline_hours: float = 0.0
    budget_usd: float = 0.0
    socket_watts: float = 0.0
