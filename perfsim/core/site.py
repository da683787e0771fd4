"""Where a job runs, what it may cost and what interrupts it: prices, electricity, limits, start-up and failures."""

from dataclasses import dataclass
from typing import Literal

from perfsim.units import DAY, HOUR, HOURS_PER_YEAR

Price = Literal["rent", "spot", "own", "electricity"]

# Unexpected interruptions of Llama 3 405B: 419 in 54 days of 16,384 H100 (arXiv 2407.21783)
LLAMA_FAILURES_PER_GPU_HOUR = 419.0 / (16_384.0 * 54.0 * DAY / HOUR)


@dataclass(frozen=True)
class Site:
    """Money and energy around a job, and what it loses of its time.

    price: "rent" pays machines whole by their cheapest offer on demand, "spot" by the cheapest that may be taken away;
    "own" spreads the cards' price over `ownership_hours` and adds electricity; "electricity" is for cards that are
    there anyway. host_usd: what the machine around bought cards costs, 0 where that is not counted; use_share: of all
    hours,
    those in which bought cards work (assumed). socket_watts: what one machine may draw. 0 for deadline, budget or
    sockets: no limit. pue and co2_grams_per_kwh are assumed unless given: a machine alone, and the world's mean
    electricity of 2018 (IEA, Global Energy & CO2 Status Report 2019, as mlco2/codecarbon's FAQ quotes it).

    start_up_seconds: from the start of a job to its first step; restart_seconds: from an interruption to the next step,
    what is repeated apart; checkpoint_bytes_per_s: what one machine writes to storage while training waits;
    preemptions_per_hour: how often one machine is taken back. 0 leaves each of them out. Start-up and restart are
    assumed, failures those of Llama 3 405B; its storage wrote 2 TB/s for 2,048 machines, of which 1 GB/s is a share.
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
    start_up_seconds: float = 60.0
    restart_seconds: float = 300.0
    checkpoint_bytes_per_s: float = 1e9
    failures_per_gpu_hour: float = LLAMA_FAILURES_PER_GPU_HOUR
    preemptions_per_hour: float = 0.0


STEPS_ALONE = Site(start_up_seconds=0.0, checkpoint_bytes_per_s=0.0, failures_per_gpu_hour=0.0)  # nothing is lost
