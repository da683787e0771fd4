"""Fronts against brute force: over what the sweep kept, and over every plan of the space."""

from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import perfsim as ps
from perfsim.core.arrays import ravel, take
from perfsim.core.plan import Plan
from perfsim.core.site import Site
from perfsim.errors import InputError, UnknownNameError
from perfsim.estimate import estimate
from perfsim.formulas.cost import has_price
from perfsim.formulas.rent import NO_RATES
from perfsim.inputs.prices import with_prices
from perfsim.search.branch import is_safe
from perfsim.search.front import FIGURES, figure, rounded
from perfsim.search.space import Space, filled, grid
from perfsim.search.sweep import Sweep, sweep

SITES = (Site(), Site(price="own", pue=1.3), Site(deadline_hours=0.05), Site(budget_usd=0.5), Site(deadline_hours=1e-9))
NAMES = st.lists(st.sampled_from(sorted(FIGURES)), min_size=1, max_size=6, unique=True)


@cache
def swept(site: Site) -> Sweep:
    """Cards with and without a price, in counts and with memory to spare or not."""
    known = ps.catalogue()
    workload = ps.workload("bert-large", seq_len=128, global_batch_size=64, steps=1000, precision="amp-fp16")
    priced = [with_prices(system, known) for system in (known.system("dgx-a100-80gb"), known.box("t4", 2))]
    systems = [known.system("dgx-h100"), priced[0], known.box("rtx-3090", 4), priced[1]]
    space = filled(Space(counts=(1, 2, 4), tensor_parallel=(1, 2), pipeline_parallel=(1, 2)), workload, systems)
    software, calibration = known.software("pytorch-2-eager"), known.calibration()
    return sweep(workload, software, calibration, systems, space, site, has_headroom=True)


def points(amounts: list[np.ndarray], names: list[str]) -> np.ndarray:
    """Amounts as costs [plans, figures], without their last bits."""
    signed = [-x if name == "headroom" else x for x, name in zip(amounts, names, strict=True)]
    return np.column_stack([rounded(x) for x in signed])


def unbeaten(costs: np.ndarray, is_priced: np.ndarray, meets: np.ndarray, safe: np.ndarray) -> set[tuple[float, ...]]:
    """Points that none beats, of the first of these that has any: inside the limits and safe, inside, safe, all."""
    for chosen in (meets & safe, meets, safe, np.ones(len(costs), dtype=bool)):
        some = np.unique(costs[chosen & is_priced], axis=0)
        if len(some):
            return {tuple(one) for one in some if not np.any(np.all(some <= one, axis=1) & np.any(some < one, axis=1))}
    return set()


@given(st.sampled_from(SITES), NAMES)
def test_fronts_of_kept_plans_are_brute_forces(site: Site, names: list[str]) -> None:
    found = swept(site)
    rows = found.pareto(*names)
    costs = points([figure(found, name) for name in names], names)
    is_priced = found.has_price if "money" in names else np.ones(len(found), dtype=bool)
    mine = [tuple(costs[row]) for row in rows]
    assert mine == sorted(set(mine))  # by the first figure, each point once
    assert set(mine) == unbeaten(costs, is_priced, found.meets_site, is_safe(found.estimates))


@given(st.data(), NAMES)
def test_of_plans_alike_the_cheapest_stands_for_all_then_the_best_ranked(data: st.DataObject, names: list[str]) -> None:
    found = swept(Site())
    n = 30
    amounts = {
        name: np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), dtype=float)
        for name in ("job_hours", "job_usd", "job_kwh")
    }
    few = replace(
        found, system_index=found.system_index[:n], plans=take(found.plans, np.arange(n)),
        estimates=replace(take(found.estimates, np.arange(n)), **amounts), meets_site=np.ones(n, dtype=bool),
    )  # fmt: skip
    costs = points([figure(few, name) for name in names], names)
    for row in few.pareto(*names):
        alike = np.flatnonzero(np.all(costs == costs[row], axis=1) & is_safe(few.estimates))
        assert row == min(alike, key=lambda i: (not few.has_price[i], amounts["job_usd"][i], i))


@pytest.mark.parametrize("site", SITES[:3])
@given(names=NAMES)
@settings(max_examples=15, deadline=None)
def test_fronts_are_those_of_every_plan_of_the_space(site: Site, names: list[str]) -> None:
    found, costs, classes = swept(site), [], []
    for system, plans, every in everything(site):
        told = {
            "step-time": every.time.total_seconds, "time": every.job_hours, "money": every.job_usd,
            "energy": every.job_kwh, "gpus": plans.gpus,
            "headroom": every.memory_capacity_bytes - every.memory.total_bytes,
        }  # fmt: skip
        number = len(np.asarray(every.job_hours))
        costs.append(points([np.broadcast_to(told[name], number).astype(float) for name in names], names))
        is_priced = np.broadcast_to(has_price(system, plans.gpus, site) | ("money" not in names), number)
        meets = np.asarray(every.job_hours) <= (site.deadline_hours or np.inf)
        classes.append((is_priced, meets, np.broadcast_to(is_safe(every), number)))
    expected = unbeaten(np.concatenate(costs), *(np.concatenate(one) for one in zip(*classes, strict=True)))
    assert set(map(tuple, points([figure(found, name) for name in names], names)[found.pareto(*names)])) == expected


@cache
def everything(site: Site) -> list[tuple[ps.System, Plan, ps.Estimate]]:
    """Every plan of the space that runs, system by system, costed by itself."""
    found, costed = swept(site), []
    plan, count = grid(found.space, found.software)
    shape = np.broadcast_shapes(count.shape, *(np.shape(getattr(plan, f.name)) for f in fields(Plan)))
    flat, gpus = ravel(plan, shape), np.broadcast_to(count, shape).ravel()
    for system in found.systems:
        every = replace(estimate(found.workload, system, flat, found.software, found.calibration, site), operations={})
        runs = np.flatnonzero((np.broadcast_to(every.problems, gpus.shape) == 0) & (flat.gpus == gpus))
        costed.append((system, take(flat, runs, gpus.shape), take(every, runs, gpus.shape)))
    return costed


def test_a_card_without_a_price_is_on_no_front_over_money() -> None:
    found = swept(Site())
    systems = tuple(system if system.gpu.key == "t4" else replace(system, rates=NO_RATES) for system in found.systems)
    only = replace(found, systems=systems)
    rows = only.pareto("money", "time")
    assert len(rows) and {systems[i].gpu.key for i in only.system_index[rows]} == {"t4"}
    none = replace(found, systems=tuple(replace(system, rates=NO_RATES) for system in found.systems))
    assert len(none.pareto("money", "time")) == 0 and len(none.pareto("time", "energy")) > 0


def test_a_plan_that_may_not_fit_beats_none_that_surely_fits() -> None:
    found = swept(Site())
    safe = is_safe(found.estimates)
    fastest_but_risky = replace(found.estimates, job_hours=np.where(safe, found.estimates.job_hours, 0.0))
    assert np.all(safe[replace(found, estimates=fastest_but_risky).pareto("time", "gpus")])


def test_names_are_checked() -> None:
    found = swept(Site())
    with pytest.raises(UnknownNameError, match="'mony': no such figure; did you mean money"):
        found.pareto("time", "mony")
    with pytest.raises(UnknownNameError, match="there are step-time, time, money, energy, gpus, headroom"):
        found.pareto("xyz")
    with pytest.raises(InputError, match="has_headroom"):
        replace(found, has_headroom=False).pareto("headroom")
    assert list(found.pareto()) == list(found.pareto("time", "money", "energy"))


def test_power_limits_are_a_dimension(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'workload = { model = "bert-large", seq_len = 128, global_batch_size = 64, steps = 10 }\n'
        'search = { gpus = ["RTX 4090"], counts = [1, 2], power_limit_watts = [200, 300, 450] }\n'
    )
    found = ps.sweep(path)
    rows = found.pareto("time", "energy")
    limits = [float(found.systems[i].gpu.power_limit_watts) for i in found.system_index[rows]]
    assert len(set(limits)) >= 2
    assert np.all(np.diff(found.estimates.job_hours[rows]) > 0) and np.all(np.diff(found.estimates.job_kwh[rows]) < 0)
