"""The search against brute force: every plan of the open grid, costed and compared."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import perfsim as ps
from perfsim.core.arrays import ravel, take
from perfsim.core.plan import ContextExchange, Offload, Placement, Plan, Problem, Recompute, Schedule
from perfsim.core.site import Site
from perfsim.estimate import estimate
from perfsim.graphs.stage import stage_costs
from perfsim.search import best, branch
from perfsim.search.best import kept
from perfsim.search.bounds import bounds
from perfsim.search.branch import examine, is_safe, pieces, together
from perfsim.search.certificate import OBJECTIVES
from perfsim.search.pareto import pareto_front
from perfsim.search.question import Question
from perfsim.search.space import AXES, Rows, Space, filled, grid, plans

MODELS = ("gpt2", "bert-large", "llama3.2-1b", "t5-base", "mixtral-8x7b", "llama3-8b")
SOFTWARE = ("megatron-core", "torchtitan", "pytorch-2-eager")
CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
SYSTEMS = ("dgx-h100", "dgx-a100-80gb", "gb200-nvl72", "aws-g5.48xlarge", "pcie-2x-rtx-3090")


def among(*values: int) -> st.SearchStrategy[tuple[int, ...]]:
    """All of the values, or one."""
    return st.one_of(st.just(values), st.sampled_from(values).map(lambda value: (value,)))


@st.composite
def questions(draw: st.DrawFn) -> Question:
    """Small ones on cards that run the kernels, with memories small enough to matter."""
    catalogue = ps.catalogue()
    model = catalogue.model(draw(st.sampled_from(MODELS)))
    workload = ps.workload(
        model, task=draw(st.sampled_from(("finetune", "lora") if model.kind == "decoder" else ("finetune",))),
        seq_len=draw(st.sampled_from((128, 512))), global_batch_size=draw(st.sampled_from((16, 48, 96))), steps=10,
        precision=draw(st.sampled_from(("bf16", "amp-bf16", "bf16-mixed"))),
        **({"decoder_seq_len": 128} if model.encoder_layers else {}),
    )  # fmt: skip
    space = Space(
        counts=draw(st.sampled_from(((4,), (8,), (2, 8), (6, 12), (16,)))), tensor_parallel=draw(among(1, 2, 4)),
        pipeline_parallel=draw(among(1, 2, 5)), context_parallel=draw(among(1, 2)),
        expert_parallel=draw(among(1, 2)) if model.moe else (1,), micro_batch_size=draw(among(1, 4)),
        virtual_stages=draw(among(1, 2, 3)), zero_stage=draw(among(0, 1, 2, 3)), hybrid_shard=draw(among(0, 2)),
        recompute=draw(among(*Recompute)), recompute_layers=draw(among(0, 4)),
        offload=draw(st.sampled_from(((Offload.NONE,), tuple(Offload), (Offload.OPTIMIZER,)))),
        schedule=draw(among(*Schedule)), placement=draw(among(*Placement)),
        context_exchange=draw(among(*ContextExchange)),
    )  # fmt: skip
    systems = [catalogue.system(key) for key in draw(st.sets(st.sampled_from(SYSTEMS), min_size=1, max_size=2))]
    size = draw(st.sampled_from((0.1, 0.5, 3.0)))
    systems = [replace(s, gpu=replace(s.gpu, memory_bytes=size * float(s.gpu.memory_bytes))) for s in systems]
    spot = Site(price="own", pue=1.3, preemptions_per_hour=3.0, start_up_seconds=900.0)
    site = draw(st.sampled_from((Site(), spot, Site(socket_watts=6000.0))))
    software = catalogue.software(draw(st.sampled_from(SOFTWARE)))
    return Question(workload, software, catalogue.calibration(), tuple(systems), space, site, draw(st.booleans()))


def brute_force(question: Question):
    """(figures, groups, safe) of every plan of the grid that can run, and how many there are."""
    plan, count = grid(question.space, question.software)
    shape = np.broadcast_shapes(count.shape, *(np.shape(getattr(plan, f.name)) for f in fields(Plan)))
    flat, gpus = ravel(plan, shape), np.broadcast_to(count, shape).ravel()
    figures, groups, safe = [], [], []
    for i, system in enumerate(question.systems):
        costs = estimate(question.workload, system, flat, question.software, question.calibration, question.site)
        runs = np.broadcast_to((costs.problems == 0) & (flat.gpus == gpus), gpus.shape)
        seconds, joules = costs.time.total_seconds, costs.energy.total_joules
        amounts = (np.broadcast_to(x, gpus.shape)[runs] for x in (seconds, joules, costs.memory.total_bytes))
        figures.append(question.figures(*amounts))
        groups.append(branch.group_of(question, np.full(int(runs.sum()), i), gpus[runs]))
        safe.append(np.broadcast_to(is_safe(costs), gpus.shape)[runs])
    return np.concatenate(figures), np.concatenate(groups), np.concatenate(safe)


def points(figures, groups) -> set[tuple[float, ...]]:
    """Plans as points that do not tell second names of a plan apart, nor last bits."""
    return {(int(g), *(float(f"{x:.9e}") for x in row)) for g, row in zip(groups, figures, strict=True)}


def quick(point: tuple[float, ...]) -> tuple[float, ...]:
    """Group, time and energy: plans without a pipeline stand for those with GPipe, which hold more for nothing."""
    return point[:3]


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds at every step, batches of a few rows, few plans kept: everything that can go wrong does."""
    for name, value in (("FEW", 0), ("FIRST_BATCH", 30), ("ROWS_AT_ONCE", 400)):
        monkeypatch.setattr(branch, name, value)
    monkeypatch.setattr(best, "KEPT_PER_COUNT", 2)


@given(questions())
@settings(max_examples=120, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=CHECKS)
def test_optimum_and_fronts_are_brute_forces(eager: None, question: Question) -> None:
    found = together(question, [examine(question, piece) for piece in pieces(question, 20_000)])
    figures, groups, safe = brute_force(question)
    keep = kept(figures, groups, safe)
    mine = points(question.figures_of(found.estimates), branch.group_of(question, found.systems, found.plans.gpus))
    assert mine <= points(figures, groups)
    assert set(map(quick, points(figures[keep], groups[keep]))) <= set(map(quick, mine))
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        rows = rows[pareto_front(figures[rows])]
        assert points(figures[rows], groups[rows]) <= mine
    told = found.certificate
    safe = is_safe(found.estimates)
    for name, figure in OBJECTIVES.items():
        best_of_all = np.min(np.asarray(getattr(found.estimates, figure))[safe], initial=np.inf)
        assert name == "money" or best_of_all <= told.least_left[name] or not safe.any()
    assert told.considered == question.space.size * len(question.systems)
    assert told.considered == told.illegal + told.repeated + told.too_large + told.beaten + told.costed


def test_gpt3_on_1024_gpus_is_the_whole_grids() -> None:
    catalogue = ps.catalogue()
    workload = ps.workload(
        catalogue.model("gpt3-175b"), task="pretrain", seq_len=2048, global_batch_size=1536, precision="bf16-mixed"
    )
    systems = (catalogue.system("dgx-a100-80gb"),)
    space = filled(Space(counts=(1024,), context_parallel=(1, 2), schedule=(0, 1)), workload, systems)
    software = catalogue.software("megatron-core")
    question = Question(workload, software, catalogue.calibration(), systems, space, Site())
    found = together(question, [examine(question, piece) for piece in pieces(question)])
    figures, _, safe = brute_force(question)
    assert found.certificate.beaten > 0.5 * (found.certificate.beaten + found.certificate.costed)
    mine, safe_too = question.figures_of(found.estimates), is_safe(found.estimates)
    for ours, all_of_it in ((mine, figures), (mine[safe_too], figures[safe])):
        assert ours[:, 0].min() == pytest.approx(all_of_it[:, 0].min(), rel=1e-12)
        front, whole = (points(x[pareto_front(x)], np.zeros(len(x))[pareto_front(x)]) for x in (ours, all_of_it))
        assert front == whole


@given(questions(), st.booleans(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=CHECKS)
def test_no_completion_is_below_its_bounds(question: Question, has_schedule: bool, random) -> None:
    space, names = question.space, branch.SCHEDULE.names * has_schedule
    decided = Rows(np.arange(len(question.systems)), {})
    for name in (*(n for step in branch.DEGREES for n in step.names), *branch.MICRO_BATCH.names, *names):
        decided = decided.times(space, (name,))
        decided = decided.at(np.array(sorted(random.sample(range(len(decided)), min(len(decided), 40)))))
    whole = decided.times(space, [name for name in AXES if name not in decided.places])
    parents = np.repeat(np.arange(len(decided)), len(whole) // len(decided))

    def stand(rows: Rows):
        plan = plans(rows.values(space), question.software)
        system = take(question.fleet, rows.systems)
        costs = stage_costs(question.workload, system, plan, question.software, question.calibration)
        return system, plan, costs

    least = bounds(question, *stand(decided), space, has_schedule)
    system, plan, costs = stand(whole)
    exact = estimate(question.workload, system, plan, question.software, question.calibration, question.site, costs)
    count = whole.values(space)["counts"]
    legal = ((np.asarray(exact.problems) & ~int(Problem.MEMORY)) == 0) & (plan.gpus == count)
    for bound, value in (
        (least.seconds, exact.time.total_seconds), (least.joules, exact.energy.total_joules),
        (least.job_hours, exact.job_hours), (least.job_usd, exact.job_usd), (least.job_kwh, exact.job_kwh),
        (least.memory_bytes, exact.memory.total_bytes),
    ):  # fmt: skip
        assert np.all((bound[parents] <= np.broadcast_to(value, legal.shape))[legal])


def test_a_v_is_bounded_with_the_two_chunks_that_it_has() -> None:
    """With one chunk all layers and both ends would lie on the first stage."""
    workload = ps.workload("gpt2", task="lora", seq_len=128, global_batch_size=48, steps=10, precision="amp-bf16")
    space = Space(
        counts=(6,), pipeline_parallel=(2,), micro_batch_size=(4,), virtual_stages=(2,), zero_stage=(3,),
        schedule=(Schedule.ZB_V,),
    )  # fmt: skip
    catalogue = ps.catalogue()
    software, calibration = catalogue.software("pytorch-2-eager"), catalogue.calibration()
    question = Question(workload, software, calibration, (catalogue.system("gb200-nvl72"),), space, Site())
    system = take(question.fleet, np.array([0]))
    plan = Plan(pipeline_parallel=np.array([2]), data_parallel=3, micro_batch_size=4, zero_stage=3)
    costs = stage_costs(workload, system, plan, software, calibration)
    least = bounds(question, system, plan, costs, space, has_schedule=False)
    whole = replace(plan, virtual_stages=2, schedule=Schedule.ZB_V)
    exact = estimate(workload, system, whole, software, calibration)
    assert 0.9 * exact.memory.total_bytes < least.memory_bytes <= exact.memory.total_bytes
