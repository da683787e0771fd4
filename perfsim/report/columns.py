"""A sweep's plans as tidy columns: one row a plan, SI units in the names; what JSON and CSV hold."""

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from perfsim.core.arrays import take
from perfsim.core.hardware import System
from perfsim.core.plan import ContextExchange, Offload, Placement, Plan, Recompute, Schedule
from perfsim.core.results import Estimate
from perfsim.core.site import Site
from perfsim.core.workload import Workload
from perfsim.formulas.cost import has_price, rented_kind
from perfsim.formulas.fits import fit_probability
from perfsim.formulas.machine import Machine, machine
from perfsim.formulas.pipeline import microbatches_of
from perfsim.formulas.rent import rate

if TYPE_CHECKING:
    from perfsim.search.sweep import Sweep

DEGREES = (
    "tensor_parallel",
    "pipeline_parallel",
    "data_parallel",
    "context_parallel",
    "expert_parallel",
    "micro_batch_size",
    "virtual_stages",
    "sequence_parallel",
    "zero_stage",
    "hybrid_shard",
)
FIGURES = (
    "tokens_per_s",
    "samples_per_s",
    "useful_tokens_per_s",
    "mfu",
    "hfu",
    "watts_per_gpu",
    "clock_ratio",
    "job_hours",
    "job_usd",
    "job_kwh",
    "job_kg_co2",
)


def columns(sweep: "Sweep", rows: Sequence[int]) -> dict[str, list[Any]]:
    """The sweep's `rows` as columns of plain numbers and texts; None where there is no such number (a price)."""
    index = np.asarray(rows, dtype=np.int64)
    shape = np.shape(sweep.system_index)
    plans, estimates = take(sweep.plans, index, shape), take(sweep.estimates, index, shape)
    systems = [sweep.systems[i] for i in sweep.system_index[index]]
    table = _plan_columns(sweep.workload, systems, plans, estimates, sweep.site)
    return table | {"meets_site": _plain(sweep.meets_site[index], len(index))}


def plan_row(workload: Workload, system: System, plan: Plan, estimate: Estimate, site: Site) -> dict[str, Any]:
    """One plan's figures under the same names."""
    return records(_plan_columns(workload, [system], plan, estimate, site))[0]


def _plan_columns(
    workload: Workload, systems: Sequence[System], plans: Plan, estimates: Estimate, site: Site
) -> dict[str, list[Any]]:
    n = len(systems)
    gpus = _plain(plans.gpus, n)
    priced = [bool(has_price(system, count, site)) for system, count in zip(systems, gpus, strict=True)]
    microbatches = microbatches_of(workload, plans)
    figures = _figures(estimates, n) | _machines(systems, plans, estimates, site, n)
    figures["job_usd"] = [usd if known else None for usd, known in zip(figures["job_usd"], priced, strict=True)]
    return {
        "model": [workload.model.key] * n,
        "task": [str(workload.task)] * n,
        "gpu": [system.gpu.key for system in systems],
        "gpu_name": [system.gpu.name for system in systems],
        "gpus": gpus,
        "system": [system.key for system in systems],
        "power_limit_watts": [float(system.gpu.power_limit_watts) for system in systems],
        "board_limit_watts": [float(system.gpu.board_limit_watts) for system in systems],
        **{name: _plain(getattr(plans, name), n) for name in DEGREES},
        "microbatches": _plain(microbatches, n),
        "recompute": [Recompute(r).name.lower() for r in _plain(plans.recompute, n)],
        "offload": [Offload(o).label for o in _plain(plans.offload, n)],
        "schedule": [Schedule(s).label for s in _plain(plans.schedule, n)],
        "recompute_layers": _plain(plans.recompute_layers, n),
        "placement": [Placement(p).label for p in _plain(plans.placement, n)],
        "context_exchange": [ContextExchange(c).label for c in _plain(plans.context_exchange, n)],
        "software_limits": [system.gpu.software_limits for system in systems],
        "price_basis": [price_text(system, count, site) for system, count in zip(systems, gpus, strict=True)],
        **figures,
    }


def records(table: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """The columns as one dict a row."""
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def price_text(system: System, gpus: int, site: Site) -> str:
    """Where the price of so many GPUs of a system comes from, "" when none is known."""
    if not bool(has_price(system, gpus, site)):
        return ""
    if site.price == "electricity":
        return "electricity alone"
    if site.price == "own":
        return system.purchase
    kind = rented_kind(site)
    one = rate(system, gpus, kind)
    machines = -(-gpus // int(one.gpus))
    times, spare = f"{machines} x " if machines > 1 else "", machines * int(one.gpus) - gpus
    unused = f", {spare} of {gpus + spare} GPUs paid and not used" if spare else ""
    return f"{times}{system.offers[int(one.offer)]}{', spot' * (kind == 'spot')}{unused}"


def _figures(estimates: Estimate, n: int) -> dict[str, list[Any]]:
    figures: dict[str, list[Any]] = {
        "step_seconds": _plain(estimates.time.total_seconds, n),
        **{name: _plain(getattr(estimates, name), n) for name in FIGURES},
        "memory_bytes": _plain(estimates.memory.total_bytes, n),
        "host_memory_bytes": _plain(estimates.memory.host_bytes, n),
        "memory_capacity_bytes": _plain(estimates.memory_capacity_bytes, n),
        "fit_probability": _plain(_fit_probability(estimates), n),
    }
    for parts in (estimates.time, estimates.memory, estimates.job):
        figures |= {name: _plain(part, n) for name, part in parts.parts().items()}
    return figures | {"goodput": _plain(estimates.job.goodput, n)}


def _machines(systems: Sequence[System], plans: Plan, estimates: Estimate, site: Site, n: int) -> dict[str, list[Any]]:
    """One machine of each row: cards in use, watts, heat, circuits and power supply."""
    gpus, watts = _plain(plans.gpus, n), _plain(estimates.watts_per_gpu, n)
    each = [machine(system, gpus[i], watts[i], site) for i, system in enumerate(systems)]
    in_use = [min(gpus[i], int(system.gpus_per_node)) for i, system in enumerate(systems)]
    named = {f.name: [np.asarray(getattr(one, f.name)).item() for one in each] for f in fields(Machine)}
    return {"gpus_per_machine": in_use} | named


def _fit_probability(estimates: Estimate) -> Any:
    return fit_probability(estimates.memory.total_bytes, estimates.memory_capacity_bytes, estimates.memory_spread)


def _plain(values: Any, n: int) -> list[Any]:
    """`n` Python numbers; what is not finite is None, because JSON and spreadsheets cannot say it."""
    plain: list[Any] = np.broadcast_to(values, n).tolist()
    return [None if isinstance(value, float) and not math.isfinite(value) else value for value in plain]
