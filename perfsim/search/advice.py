"""What would change a recommendation, and what would make one possible: each a change with the plan it leads to."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from perfsim.core.site import Site
from perfsim.core.workload import DEFAULT_LORA_RANK, PRECISIONS, Task, Workload
from perfsim.formulas.parameters import base_bytes, with_adapters
from perfsim.search.branch import is_safe
from perfsim.search.question import Question
from perfsim.search.recommend import (
    Change,
    Choice,
    Criterion,
    Forecast,
    Kind,
    Pool,
    Recommendation,
    candidates,
    in_order,
    swept,
)

QUICKER = {"fp32": ("tf32", "amp-fp16", "bf16"), "tf32": ("amp-fp16", "bf16"), "bf16": ("fp8",)}  # formats to try
OTHERWISE = ("bf16", "fp8")
MORE = (2, 4, 8)  # times as many GPUs as were looked at
MACHINES = 8  # on which other formats and methods are tried where nothing keeps the limits: the first


def turning(found: Recommendation, forecast: Forecast) -> Iterator[Change]:
    """What would change the cheapest choice: other limits, one step in the number of GPUs, number format, method."""
    best, site = found["cheapest"], found.site
    for limits in (replace(site, deadline_hours=0.0), replace(site, budget_usd=0.0)):
        for choice in _best(found.pools, limits, forecast) if limits != site else ():
            if choice.cards != best.cards:
                yield Change("limits", "", choice)
    yield from _neighbours(best, forecast)
    for change in _variants(found, site, forecast):
        if in_order([change.choice, best], "cheapest")[0] is not best:
            yield change


def enabling(
    found: Recommendation, rented: Callable[[], Pool] | None, wider: Callable[[int], Pool | None], forecast: Forecast
) -> Iterator[Change]:
    """Changes after which something runs and keeps the limits where nothing does, each with its price.

    rented: what could be rented, where nothing was to be; wider(times): a pool of so many times the GPUs. Of a change
    that is not enough alone the cheapest plan is told: its hours and dollars are what the limits would have to be.
    """
    site, unlimited = found.site, replace(found.site, deadline_hours=0.0, budget_usd=0.0)
    later = _best(found.pools, replace(site, deadline_hours=0.0), forecast, "fastest")
    dearer = _best(found.pools, replace(site, budget_usd=0.0), forecast)
    alone = later + [choice for choice in dearer if not later or choice.cards != later[0].cards]
    for choice in alone or _best(found.pools, unlimited, forecast):
        yield Change("limits", "", choice)
    if rented:
        pools = [rented()]
        yield from (Change("rent", "", c) for c in _best(pools, site, forecast) or _best(pools, unlimited, forecast))
    more = [[pool] for pool in map(wider, MORE) if pool]
    for limits in (site, unlimited):
        enough = [choice for pools in more for choice in _best(pools, limits, forecast)]
        if enough:
            yield Change("gpus", "", enough[0])
            break
    yield from list(_variants(found, site, forecast)) or _variants(found, unlimited, forecast)


def _best(pools: Sequence[Pool], limits: Site, forecast: Forecast, criterion: Criterion = "cheapest") -> list[Choice]:
    """The best within limits by prediction, if there is one."""
    return candidates(pools, limits, forecast, (criterion,), most=1)


def _neighbours(best: Choice, forecast: Forecast) -> Iterator[Change]:
    """The same cards, the next fewer and the next more of them that run: the cheapest plan of each."""
    sweep = best.pool.sweep
    gpus = np.broadcast_to(sweep.plans.gpus, len(sweep))
    is_alike = (sweep.system_index == sweep.system_index[best.row]) & is_safe(sweep.estimates)
    own = int(gpus[best.row])
    for side, nearest in ((gpus < own, np.max), (gpus > own, np.min)):
        if np.any(side & is_alike):
            count = int(nearest(gpus[side & is_alike]))
            row = int(np.flatnonzero(is_alike & (gpus == count))[0])  # rows are in order of money
            yield Change("count", "", Choice(best.pool, row, forecast([(best.pool, row)])[0]))


def _variants(found: Recommendation, limits: Site, forecast: Forecast) -> Iterator[Change]:
    """Of spot prices, other number formats and other methods each the one that is cheapest on the cards in question."""
    workload = found.pools[0].sweep.workload
    kinds: tuple[tuple[Kind, Iterator[tuple[str, Workload]]], ...]
    kinds = ("spot", iter([("", workload)])), ("precision", _precisions(workload)), ("method", _methods(workload))
    for kind, workloads in kinds:
        changes: list[Change] = []
        for value, other in workloads:
            pools = [*_varied(found, other, is_spot=kind == "spot")]
            changes += [Change(kind, value, one) for one in _best(pools, limits, forecast)]
        yield from sorted(changes, key=lambda change: change.choice.figure("job_usd"))[:1]


def _varied(found: Recommendation, workload: Workload, is_spot: bool) -> Iterator[Pool]:
    """The sets of cards that matter, otherwise used: the cheapest and its runner-up, else the first few.

    is_spot: those that are rented, at spot prices.
    """
    for pool in found.pools:
        sweep, site = pool.sweep, pool.sweep.site
        if is_spot:
            if site.price != "rent":
                continue
            site = replace(site, price="spot")
        pair = [choice.parts for choice in found.choices.get("cheapest", ()) if choice and choice.pool is pool]
        keys, counts = {system.key for system, _, _ in pair}, sorted({int(plan.gpus) for _, plan, _ in pair})
        systems = tuple(system for system in sweep.systems if system.key in keys) if found else sweep.systems[:MACHINES]
        if systems:
            space = replace(sweep.space, counts=tuple(counts)) if found else sweep.space
            asked = Question(workload, sweep.software, sweep.calibration, systems, space, site)
            yield swept(pool.tenure, asked)


def _precisions(workload: Workload) -> Iterator[tuple[str, Workload]]:
    for key in QUICKER.get(workload.precision.key, OTHERWISE):
        other = PRECISIONS[key]
        yield key, replace(workload, precision=other, base_bytes=base_bytes(workload.task, other, workload.model))


def _methods(workload: Workload) -> Iterator[tuple[str, Workload]]:
    """Adapters instead of all weights; nothing stands in for training from scratch."""
    if workload.model.nets or workload.task is Task.PRETRAIN:
        return
    rank = workload.lora_rank or DEFAULT_LORA_RANK
    if not workload.is_adapter:
        yield "lora", with_adapters(workload, Task.LORA, rank)
    if workload.task is not Task.QLORA:
        yield "qlora", with_adapters(workload, Task.QLORA, rank)
