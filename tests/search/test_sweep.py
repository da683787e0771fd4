from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import perfsim as ps
from perfsim.core.arrays import ravel
from perfsim.core.plan import Plan, Problem
from perfsim.core.site import Site
from perfsim.estimate import estimate
from perfsim.search.branch import is_safe
from perfsim.search.certificate import OBJECTIVES
from perfsim.search.pareto import pareto_front
from perfsim.search.runner import Runner
from perfsim.search.space import AXES, Space, cut, filled, grid
from perfsim.search.sweep import sweep


def job(model: str = "bert-large", batch: int = 64, **keys: object):
    return ps.workload(ps.model(model), seq_len=128, global_batch_size=batch, steps=1000, precision="amp-fp16", **keys)


def search(workload, systems, space, **keys):
    catalogue = ps.catalogue()
    return sweep(workload, catalogue.software("pytorch-2-eager"), catalogue.calibration(), systems, space, **keys)


@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_best_is_brute_forces(objective) -> None:
    catalogue = ps.catalogue()
    workload, software, calibration = job(), catalogue.software("pytorch-2-eager"), catalogue.calibration()
    systems = [catalogue.system("dgx-a100-80gb"), catalogue.system("aws-p5.48xlarge"), catalogue.box("rtx-4090", 4)]
    space = filled(Space(counts=(1, 2, 4, 8)), workload, systems)
    site = Site(price="own")
    found = sweep(workload, software, calibration, systems, space, site, objective)
    least = np.inf
    for system in systems:
        plan, count = grid(space, software)
        shape = np.broadcast_shapes(count.shape, *(np.shape(getattr(plan, f.name)) for f in fields(Plan)))
        flat, gpus = ravel(plan, shape), np.broadcast_to(count, shape).ravel()
        costs = estimate(workload, system, flat, software, calibration, site)
        runs = (costs.problems == 0) & (np.asarray(flat.gpus) == gpus) & is_safe(costs)
        if objective == "money" and system.gpu.price_usd == 0:
            continue
        figure = np.broadcast_to(getattr(costs, OBJECTIVES[objective]), runs.shape)
        least = min(least, figure[runs].min(initial=np.inf))
    assert float(getattr(found.best()[2], OBJECTIVES[objective])) == pytest.approx(least, rel=1e-9)


def test_every_plan_is_counted_once_as_runnable_or_not() -> None:
    found = search(job(), [ps.catalogue().box("gtx-1060-6gb", 2)], Space(counts=(1, 2, 4)))
    told = found.certificate
    assert told.considered == found.space.size
    assert told.considered == told.illegal + told.repeated + told.too_large + told.beaten + told.costed
    assert 0 < told.runnable < told.considered
    assert told.problems[Problem.SYSTEM] > 0 and told.problems[Problem.MEMORY] > 0


def test_kept_rows_run_fit_and_are_in_order() -> None:
    found = search(job(), [ps.catalogue().box("rtx-3090", 4), ps.system("dgx-h100")], Space(counts=(1, 2, 4)))
    hours = np.asarray(found.estimates.job_hours)
    assert np.all(np.asarray(found.estimates.problems) == 0)
    assert np.all(np.asarray(found.estimates.memory.total_bytes) <= np.asarray(found.estimates.memory_capacity_bytes))
    safe = is_safe(found.estimates)
    assert np.all(np.diff(safe.astype(int)) <= 0)
    for rows in (safe, ~safe):
        assert np.all(np.diff(hours[rows]) >= -1e-9 * hours[rows][1:])


def test_rows_that_meet_the_deadline_come_first() -> None:
    systems = [ps.catalogue().box("gtx-1080-ti", 1), ps.system("dgx-h100")]
    free = search(job(), systems, Space(counts=(1, 8)), objective="energy")
    deadline = float(np.median(free.estimates.job_hours))
    bound = search(job(), systems, Space(counts=(1, 8)), site=Site(deadline_hours=deadline), objective="energy")
    meets = bound.meets_site
    assert 0 < meets.sum() < len(meets)
    assert np.all(np.diff(meets.astype(int)) <= 0)


def test_one_answer_whatever_the_order_of_systems() -> None:
    systems = [ps.catalogue().box("rtx-3090", 4), ps.system("dgx-h100"), ps.system("dgx-a100-80gb")]
    one, other = (search(job(), s, Space(counts=(4,))) for s in (systems, systems[::-1]))
    assert one.best()[0] == other.best()[0]
    assert one.best()[1] == other.best()[1]


def test_when_nothing_fits_the_nearest_change_is_told() -> None:
    model = ps.model("llama3-8b")
    workload = ps.workload(model, task="finetune", seq_len=512, global_batch_size=8, precision="bf16", steps=10)
    found = search(workload, [ps.catalogue().box("rtx-4090", 1)], Space(counts=(1,), recompute=(0,)))
    assert len(found) == 0
    changes = found.nearest_fit()
    assert changes and any("LoRA" in text for text, *_ in changes)
    for _, _, _, costs in changes:
        assert costs.problems == 0


def test_table_has_a_row_a_plan() -> None:
    found = search(job(), [ps.system("dgx-h100")], Space(counts=(1, 2)))
    table = found.to_pandas()
    assert len(table) == len(found)
    assert table["step_seconds"][np.asarray(is_safe(found.estimates))].is_monotonic_increasing


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40))
def test_pareto_front_is_brute_forces(points: list[tuple[int, int, int]]) -> None:
    costs = np.array(points, dtype=float)
    expected = [i for i, a in enumerate(costs) if not any(np.all(b <= a) and np.any(b < a) for b in costs)]
    assert list(pareto_front(costs)) == expected


@given(st.lists(st.integers(1, 5), min_size=3, max_size=3), st.integers(1, 40))
def test_parts_cover_a_space_once(lengths: list[int], most: int) -> None:
    tensor, stages, micro = (tuple(2**i for i in range(n)) for n in lengths)
    space = Space((8,), tensor, stages, micro_batch_size=micro, zero_stage=(0, 1), recompute=(0,), schedule=(1,),
                  expert_parallel=(1,), virtual_stages=(1,))  # fmt: skip
    seen = np.zeros(space.shape, dtype=int)
    names = ("tensor_parallel", "micro_batch_size")
    for first, part in cut(space, names, most):
        assert part.size <= most or all(len(getattr(part, name)) == 1 for name in names)
        where = tuple(slice(at, at + n) for at, n in zip(first, part.shape, strict=True))
        seen[where] += 1
        for name, at, n in zip(AXES, first, part.shape, strict=True):
            assert getattr(part, name) == getattr(space, name)[at : at + n]
    assert np.all(seen == 1)


@pytest.mark.parametrize("at_once", [1, 37, 500])
def test_what_is_found_does_not_depend_on_how_the_space_is_cut(at_once: int) -> None:
    catalogue = ps.catalogue()
    systems = [catalogue.box("rtx-4090", 4), catalogue.system("dgx-h100")]
    space = Space(
        counts=(2, 4), tensor_parallel=(1, 2), pipeline_parallel=(1, 2), micro_batch_size=(1, 4, 8), zero_stage=(0, 3),
        virtual_stages=(1, 2), placement=(0,),
    )  # fmt: skip
    whole = search(job(), systems, space)
    cut = search(job(), systems, space, runner=Runner(plans_a_piece=at_once))
    for count in ("considered", "illegal", "repeated"):
        assert getattr(cut.certificate, count) == getattr(whole.certificate, count)
    assert np.array_equal(cut.system_index, whole.system_index)
    for f in fields(Plan):
        assert np.array_equal(getattr(cut.plans, f.name), getattr(whole.plans, f.name)), f.name
    assert np.array_equal(cut.estimates.job_hours, whole.estimates.job_hours)
