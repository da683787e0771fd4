"""Where a job runs, what it may cost and what interrupts it: prices, electricity, limits, start-up and failures."""

from dataclasses import dataclass
from typing import Literal

from perfsim.units import DAY, HOUR

# Unexpected interruptions of Llama 3 405B: 419 in 54 days of 16,384 H100 (arXiv 2407.21783)
LLAMA_FAILURES_PER_GPU_HOUR = 419.0 / (16_384.0 * 54.0 * DAY / HOUR)


@dataclass(frozen=True)
class Site:
    """Money and energy around a job, and what it loses of its time.

    price: "rent" takes the systems' usd_per_gpu_hour; "own" spreads the cards' launch price over
    `ownership_hours` and adds electricity. socket_watts: what one machine may draw. 0 for deadline, budget or sockets:
    no limit. pue and co2_grams_per_kwh are assumed unless given: a machine alone, and the world's mean electricity of
    2018 (IEA, Global Energy & CO2 Status Report 2019, as mlco2/codecarbon's FAQ quotes it).

    start_up_seconds: from the start of a job to its first step; restart_seconds: from an interruption to the next step,
    what is repeated apart; checkpoint_bytes_per_s: what one machine writes to storage while training waits;
    preemptions_per_hour: how often one machine is taken back. 0 leaves each of them out. Start-up and restart are
    assumed, failures those of Llama 3 405B; its storage wrote 2 TB/s for 2,048 machines, of which 1 GB/s is a share.
    """

    price: Literal["rent", "own"] = "rent"
    usd_per_kwh: float = 0.15
    pue: float = 1.0
    co2_grams_per_kwh: float = 475.0
    ownership_hours: float = 3 * 365 * 24 * 0.5
    deadline_hours: float = 0.0
    budget_usd: float = 0.0
    socket_watts: float = 0.0
    start_up_seconds: float = 60.0
    restart_seconds: float = 300.0
    checkpoint_bytes_per_s: float = 1e9
    failures_per_gpu_hour: float = LLAMA_FAILURES_PER_GPU_HOUR
    preemptions_per_hour: float = 0.0


STEPS_ALONE = Site(start_up_seconds=0.0, checkpoint_bytes_per_s=0.0, failures_per_gpu_hour=0.0)  # nothing is lost
