"""A plan's step in closed form and simulated; what schedules ask of a plan and of the software."""

import numpy as np
import pytest

import perfsim as ps
from perfsim.core.plan import Plan, Problem, Schedule
from perfsim.estimate import estimate
from perfsim.search.space import Space, filled
from perfsim.search.sweep import sweep
from perfsim.simulation import simulation

GPIPE, ONE, H1, V, DUAL = Schedule
COMBINATIONS = Problem.INTERLEAVE | Problem.SCHEDULE | Problem.SOFTWARE_SCHEDULE


def job(model: str = "llama3-8b", batch: int = 64) -> ps.Workload:
    return ps.workload(ps.model(model), task="pretrain", seq_len=1024, global_batch_size=batch, precision="bf16-mixed")


def costed(plan: Plan, software: str = "megatron-core", model: str = "llama3-8b") -> ps.Estimate:
    catalogue = ps.catalogue()
    node = catalogue.box("h100-sxm5-80gb", 8)
    return estimate(job(model), node, plan, catalogue.software(software), catalogue.calibration())


@pytest.mark.parametrize("model", ["llama3-8b", "gemma-2-9b", "bert-large", "mixtral-8x7b"])
@pytest.mark.parametrize(("schedule", "virtual"), [(GPIPE, 1), (ONE, 1), (ONE, 2), (H1, 1), (V, 2), (DUAL, 1)])
def test_simulation_of_real_plans_is_near_the_closed_form(model: str, schedule: Schedule, virtual: int) -> None:
    """Heads of big vocabularies make stages unequal; gemma's weighs as much as five of its layers."""
    layers = ps.model(model).layers
    stages = next(p for p in (8, 7, 6, 4, 2) if layers % (p * virtual) == 0 and (p % 2 == 0 or schedule is not DUAL))
    plan = Plan(pipeline_parallel=stages, virtual_stages=virtual, schedule=schedule)
    catalogue, batch = ps.catalogue(), 16 * stages
    node, software = catalogue.box("h100-sxm5-80gb", 8), catalogue.software("megatron-core")
    workload = ps.workload(ps.model(model), task="pretrain", seq_len=512, global_batch_size=batch)
    found = simulation(workload, node, plan, software, catalogue.calibration())
    assert abs(found.difference_seconds) < 0.02 * found.step_seconds


@pytest.mark.parametrize(
    ("plan", "software", "problems"),
    [
        (Plan(pipeline_parallel=4, schedule=H1), "megatron-core", Problem(0)),
        (Plan(pipeline_parallel=4, schedule=H1), "nemo", Problem.SOFTWARE_SCHEDULE),
        (Plan(pipeline_parallel=4, schedule=H1, virtual_stages=2), "megatron-core", Problem.INTERLEAVE),
        (Plan(pipeline_parallel=4, schedule=H1, micro_batch_size=32), "megatron-core", Problem.SCHEDULE),
        (Plan(pipeline_parallel=4, schedule=V, virtual_stages=2), "torchtitan-eager", Problem(0)),
        (Plan(pipeline_parallel=4, schedule=V, virtual_stages=2), "torchtitan", Problem.SOFTWARE_SCHEDULE),
        (Plan(pipeline_parallel=4, schedule=V), "megatron-core", Problem.SCHEDULE),
        (
            Plan(pipeline_parallel=4, schedule=V, virtual_stages=2, micro_batch_size=16),
            "megatron-core",
            Problem.SCHEDULE,
        ),
        (Plan(pipeline_parallel=4, schedule=DUAL), "pytorch-2-eager", Problem(0)),
        (Plan(pipeline_parallel=4, schedule=DUAL, micro_batch_size=16), "pytorch-2-eager", Problem.SCHEDULE),
        (Plan(pipeline_parallel=1, schedule=DUAL), "pytorch-2-eager", Problem.SCHEDULE),
        (Plan(pipeline_parallel=4, virtual_stages=2), "megatron-core", Problem(0)),
        (Plan(pipeline_parallel=4, virtual_stages=2), "deepspeed-2020", Problem.SOFTWARE_SCHEDULE),
        (Plan(pipeline_parallel=4, virtual_stages=2, micro_batch_size=32), "megatron-core", Problem.INTERLEAVE),
        (Plan(pipeline_parallel=4), "llm-c", Problem.SOFTWARE_SCHEDULE),
        (Plan(data_parallel=4), "llm-c", Problem(0)),
    ],
)
def test_what_schedules_ask_for(plan: Plan, software: str, problems: Problem) -> None:
    assert Problem(int(costed(plan, software).problems)) & COMBINATIONS == problems


def test_dualpipe_holds_two_stages_and_waits_less() -> None:
    plans = [Plan(pipeline_parallel=4, schedule=schedule) for schedule in (ONE, DUAL)]
    one, dual = (costed(plan, "pytorch-2-eager") for plan in plans)
    assert dual.memory.backward.weights_bytes > 1.8 * one.memory.backward.weights_bytes
    assert dual.time.pipeline_bubble_seconds < one.time.pipeline_bubble_seconds


def test_dualpipes_pairs_hide_the_way_to_the_experts() -> None:
    plans = [
        Plan(pipeline_parallel=4, data_parallel=2, expert_parallel=2, schedule=schedule) for schedule in (ONE, DUAL)
    ]
    one, dual = (costed(plan, "pytorch-2-eager", "mixtral-8x7b") for plan in plans)
    assert 0.0 <= dual.time.expert_parallel_seconds < 0.8 * one.time.expert_parallel_seconds


def test_a_sweep_over_schedules_keeps_what_can_run() -> None:
    catalogue = ps.catalogue()
    systems = [catalogue.box("h100-sxm5-80gb", 8)]
    space = filled(Space(counts=(8,), schedule=tuple(Schedule), tensor_parallel=(1,)), job(), systems)
    found = sweep(job(), catalogue.software("megatron-core"), catalogue.calibration(), systems, space)
    names, stages = (np.asarray(getattr(found.plans, name)) for name in ("schedule", "pipeline_parallel"))
    problems = found.certificate.problems
    assert problems[Problem.SCHEDULE] > 0 and problems[Problem.SOFTWARE_SCHEDULE] > 0
    assert {ONE, H1, V} <= set(names[stages > 1]) and not {GPIPE, DUAL} & set(names[stages > 1])
