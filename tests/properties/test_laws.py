"""The laws of design.md section 1 and the physical ones, over random plans."""

from dataclasses import fields, replace
from functools import cache, reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import perfsim as ps
from perfsim.core.arrays import ravel, stack, take
from perfsim.core.hardware import System
from perfsim.core.plan import Plan, Problem, Schedule
from perfsim.core.results import Estimate, Memory, Parts
from perfsim.estimate import alone_seconds, estimate
from perfsim.formulas.power import Activity, busy_seconds, sustained_clock
from perfsim.formulas.roofline import Kernel, kernel_activity
from perfsim.search.space import Space, filled, grid

powers = st.sampled_from([1, 2, 4, 8])
plans = st.builds(
    Plan, tensor_parallel=powers, pipeline_parallel=st.sampled_from([1, 2, 3, 4, 8]), data_parallel=powers,
    context_parallel=st.sampled_from([1, 2]), micro_batch_size=powers, virtual_stages=st.sampled_from([1, 2, 3]),
    sequence_parallel=st.booleans(), zero_stage=st.integers(0, 3), hybrid_shard=st.sampled_from([0, 4]),
    recompute=st.integers(0, 2), offload=st.integers(0, 3), schedule=st.integers(0, 4),
)  # fmt: skip
whole = plans.map(lambda plan: replace(plan, schedule=plan.schedule % 2))  # gpipe, 1f1b: backward passes are not split
cases = st.sampled_from(
    [
        ("bert-large", "rtx-4090", "pytorch-2-eager", "amp-fp16"),
        ("llama3-8b", "h100-sxm5-80gb", "megatron-core", "bf16-mixed"),
        ("mixtral-8x7b", "b200", "nemo", "fp8"),
        ("t5-base", "gtx-1080-ti", "pytorch-1.11", "fp32"),
        ("deepseek-v3", "h200-sxm-141gb", "megatron-core", "bf16-mixed"),
        ("resnet-50", "rtx-2080-ti", "pytorch-2-eager", "fp32"),
        ("dcgan", "a100-sxm4-80gb", "pytorch-2-eager", "amp-bf16"),
    ]
)


@cache
def prepared(case: tuple[str, str, str, str]):
    model, gpu, software, precision = case
    decoder = 128 if model == "t5-base" else None
    tokens = None if ps.model(model).nets else 512
    keys = {"seq_len": tokens, "global_batch_size": 256, "precision": precision, "decoder_seq_len": decoder}
    workload = ps.workload(ps.model(model), task="pretrain", **keys)
    return workload, ps.catalogue().box(gpu, 8), ps.software(software), ps.catalogue().calibration()


def cost(case: tuple[str, str, str, str], plan: Plan) -> Estimate:
    workload, system, software, calibration = prepared(case)
    return estimate(workload, system, plan, software, calibration)


def figures(found: Estimate) -> dict[str, object]:
    """Every number of an estimate by name."""
    named: dict[str, object] = {}
    for f in fields(found):
        value = getattr(found, f.name)
        if isinstance(value, Parts | Memory):
            named |= {f"{f.name}.{k}": v for k, v in value.parts().items()}
        elif f.name != "operations":
            named[f.name] = value
    return named


@given(cases, st.lists(plans, min_size=1, max_size=12))
def test_a_plan_costs_the_same_alone_and_in_an_array(case, many) -> None:
    together = figures(cost(case, stack(many)))
    for i, plan in enumerate(many):
        for name, alone in figures(cost(case, plan)).items():
            assert np.broadcast_to(together[name], len(many))[i] == alone, name


@given(cases, plans)
def test_exchanges_alone_take_no_less_than_what_of_them_is_exposed(case, plan) -> None:
    workload, system, software, calibration = prepared(case)
    parts = cost(case, plan).time.parts()
    for name, alone in alone_seconds(workload, system, plan, software, calibration).items():
        assert alone >= parts[name] * (1.0 - 1e-9) - 1e-12, name


@pytest.mark.parametrize(
    "model,gpu", [("bert-large", "rtx-3090"), ("llama3-8b", "h100-sxm5-80gb"), ("mixtral-8x7b", "h100-sxm5-80gb")]
)
def test_an_open_grid_equals_the_flat_list(model: str, gpu: str) -> None:
    workload = ps.workload(ps.model(model), task="pretrain", seq_len=512, global_batch_size=64, precision="bf16-mixed")
    system, software = (
        ps.catalogue().box(gpu, 8),
        ps.software("megatron-2022" if model != "llama3-8b" else "megatron-core"),
    )
    calibration = ps.catalogue().calibration()
    plan, _ = grid(filled(Space(counts=(1, 2, 8)), workload, [system]), software)
    shape = np.broadcast_shapes(*(np.shape(getattr(plan, f.name)) for f in fields(plan)))
    opened = figures(estimate(workload, system, plan, software, calibration))
    flat = figures(estimate(workload, system, ravel(plan, shape), software, calibration))
    for name, value in opened.items():
        assert np.array_equal(
            np.broadcast_to(value, shape).ravel(), np.broadcast_to(flat[name], int(np.prod(shape)))
        ), name


@given(cases, plans)
def test_parts_are_finite_not_negative_and_add_up(case, plan) -> None:
    found = cost(case, plan)
    for part, total in (
        (found.time, found.time.total_seconds), (found.memory, found.memory.total_bytes),
        (found.energy, found.energy.total_joules), (found.cost, found.cost.total_usd),
    ):  # fmt: skip
        values = [float(v) for v in part.parts().values()]
        assert all(np.isfinite(v) and v >= 0.0 for v in values)
        assert sum(values) == pytest.approx(float(total), rel=1e-12)


@given(cases, plans)
def test_never_faster_than_the_hardware(case, plan) -> None:
    _, system, _, _ = prepared(case)
    found = cost(case, plan)
    assert 0.0 < found.hfu <= 1.0
    assert found.mfu <= found.hfu
    assert found.watts_per_gpu <= system.gpu.power_limit_watts
    per_step = found.energy.gpu_joules / (plan.gpus * found.time.total_seconds)
    assert per_step == pytest.approx(found.watts_per_gpu, rel=1e-9)


def better(system: System, what: str, factor: float) -> System:
    """The system with `factor` times as much of something."""
    gpu = system.gpu
    if what == "memory":
        gpu = replace(gpu, memory_bandwidth_bytes_per_s=factor * gpu.memory_bandwidth_bytes_per_s)
    elif what == "peak":
        gpu = replace(gpu, peak_flops_per_s={k: factor * v for k, v in gpu.peak_flops_per_s.items()})
    elif what == "limit":
        gpu = replace(gpu, power_limit_watts=factor * gpu.power_limit_watts)
    else:
        within, between = system.within, system.between
        links = within.entries
        names = ("ring_bytes_per_s", "exchange_bytes_per_s", "pair_bytes_per_s")
        within = replace(within, entries=replace(links, **{name: factor * getattr(links, name) for name in names}))
        between = replace(between, bytes_per_s=factor * between.bytes_per_s)
        return replace(system, within=within, between=between)
    return replace(system, gpu=gpu)


def slowdown(case, plan: Plan, what: str, factor: float, limit_share: float) -> float:
    """Step time with `factor` times as much of something over the time without, under a share of the power limit."""
    workload, system, software, calibration = prepared(case)
    system = better(system, "limit", limit_share)
    before = estimate(workload, system, plan, software, calibration).time.total_seconds
    after = estimate(workload, better(system, what, factor), plan, software, calibration).time.total_seconds
    return float(after / before)


factors = st.floats(1.0, 4.0)


@given(cases, whole, st.sampled_from(["memory", "links", "peak"]), factors)
def test_better_hardware_is_never_slower(case, plan, what, factor) -> None:
    assert slowdown(case, plan, what, factor, limit_share=100.0) <= 1.0 + 1e-9


@given(cases, whole, st.sampled_from(["limit", "links"]), factors, st.floats(0.25, 1.0))
def test_a_higher_power_limit_and_faster_links_are_never_slower(case, plan, what, factor, limit_share) -> None:
    assert slowdown(case, plan, what, factor, limit_share) <= 1.0 + 1e-9


@given(cases, whole, st.sampled_from(["memory", "peak"]), factors, st.floats(0.25, 1.0))
def test_better_hardware_under_a_power_limit(case, plan, what, factor, limit_share) -> None:
    """Kernels share one clock: what exchanges hide may grow less idle, draw more, and slow the rest by a little."""
    assert slowdown(case, plan, what, factor, limit_share) <= 1.02


@given(cases, plans, st.sampled_from(["memory", "links", "peak", "limit"]), factors)
def test_split_backward_passes_lose_little_on_better_hardware(case, plan, what, factor) -> None:
    """Quicker weight gradients leave less to fill waits with, while exchanges of the other passes stay as they are."""
    plan = replace(plan, virtual_stages=2 if plan.schedule == Schedule.ZB_V else 1)
    if not int(cost(case, plan).problems) & (Problem.SCHEDULE | Problem.INTERLEAVE):
        assert slowdown(case, plan, what, factor, limit_share=0.5) <= 1.02


@given(cases, plans)
def test_sharding_and_recomputation_never_need_more_memory(case, plan) -> None:
    states = [cost(case, replace(plan, zero_stage=z, hybrid_shard=0)).memory.backward for z in range(4)]
    for less, more in zip(states[1:], states, strict=False):
        for name in ("weights_bytes", "gradients_bytes", "optimizer_bytes"):
            assert getattr(less, name) <= getattr(more, name) * (1 + 1e-12)
    kept = [cost(case, replace(plan, recompute=r)).memory.backward.activations_bytes for r in (0, 1)]
    assert kept[1] <= kept[0]


kernels = st.builds(
    Kernel, st.sampled_from(["product", "attention", "column", "elementwise", "softmax"]), st.just("fp16"),
    st.floats(1e4, 1e10), st.floats(1e6, 1e13), st.sampled_from([1.0, 16.0, 64.0]), st.sampled_from([128.0, 4096.0]),
    st.sampled_from([64.0, 128.0, 5000.0]), st.sampled_from([64.0, 777.0, 8192.0]), row_bytes=st.just(1e4),
)  # fmt: skip


@given(cases, st.lists(kernels, min_size=1, max_size=4), st.sampled_from(["memory", "peak", "limit"]), factors,
       st.floats(0.1, 1.0))  # fmt: skip
def test_kernels_alone_are_never_slower_on_better_hardware_at_any_limit(case, some, what, factor, share) -> None:
    _, system, software, calibration = prepared(case)
    seconds = []
    for gpu in (better(system, "limit", share).gpu, better(better(system, "limit", share), what, factor).gpu):
        work = reduce(Activity.plus, (kernel_activity(kernel, gpu, software, calibration) for kernel in some))
        clock = sustained_clock(work, gpu.power, gpu.power_limit_watts, calibration.control)
        seconds.append(float(busy_seconds(work, clock, calibration.control)))
    assert seconds[1] <= seconds[0] * (1.0 + 1e-9)


@given(cases, plans)
def test_taking_a_row_of_an_estimate_gives_its_numbers(case, plan) -> None:
    found = take(cost(case, stack([plan, plan])), 1, (2,))
    assert found.time.total_seconds == cost(case, plan).time.total_seconds
