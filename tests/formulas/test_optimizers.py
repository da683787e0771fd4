"""What optimizers keep, move and compute, against counts by hand."""

from dataclasses import replace

import numpy as np
import pytest

import perfsim as ps
from perfsim.core.optimizer import OPTIMIZERS
from perfsim.core.plan import Plan, Problem
from perfsim.formulas.operations import Linear
from perfsim.graphs.updates import orthogonal_kernels

PARAMETERS = 8.030e9  # Llama 3 8B
HIDDEN = 6.979e9  # in the products of its layers


def job(optimizer: str, precision: str = "bf16", **keys: object) -> ps.Workload:
    return ps.workload(
        "llama3-8b", task="finetune", seq_len=512, global_batch_size=8, precision=precision, optimizer=optimizer, **keys
    )


def step(workload: ps.Workload, plan: Plan | None = None, software: str = "pytorch-2-eager") -> ps.Estimate:
    plan = plan or Plan(micro_batch_size=8)
    return ps.estimate(workload, ps.catalogue().box("h100-sxm5-80gb", 8), plan, ps.software(software))


@pytest.mark.parametrize(
    ("optimizer", "state_bytes"),
    [
        ("sgd-plain", 0.0),
        ("sgd", 2.0),
        ("lion", 2.0),
        ("adamw", 4.0),
        ("lamb", 4.0),
        ("adamw8bit", 2 * (1 + 4 / 256)),
        ("adamw4bit", 2 * (0.5 + 4 / 128)),
        ("paged-adamw8bit", 0.0),  # outside the framework's allocator
        ("muon", 4.0 - 2.0 * HIDDEN / PARAMETERS),
    ],
)
def test_state_of_a_parameter(optimizer: str, state_bytes: float) -> None:
    held = step(job(optimizer)).memory.backward.optimizer_bytes
    assert float(held) / PARAMETERS == pytest.approx(state_bytes, rel=1e-3)


def test_adafactor_keeps_rows_and_columns() -> None:
    """Per layer q, o (8,192), k, v (5,120), gate and up as one (4096 + 28672), down, two norms; both ends; fp32."""
    layer = 2 * 8192 + 2 * 5120 + 32768 + 18432 + 2 * 4096
    ends = 2 * (128256 + 4096) + 4096
    assert float(step(job("adafactor")).memory.backward.optimizer_bytes) == 4.0 * (32 * layer + ends)


def test_sharded_state_is_a_share() -> None:
    whole, shard = step(job("adamw8bit")), step(job("adamw8bit"), Plan(data_parallel=8, zero_stage=1))
    assert float(shard.memory.backward.optimizer_bytes) == pytest.approx(
        float(whole.memory.backward.optimizer_bytes) / 8
    )


def test_paged_state_is_the_hosts_and_moves_only_where_it_does_not_fit() -> None:
    roomy = step(job("paged-adamw8bit", optimizer_in_backward=True))
    assert float(roomy.memory.host_bytes) == pytest.approx(2 * (1 + 4 / 256) * PARAMETERS, rel=1e-3)
    assert float(roomy.time.offload_seconds) == 0.0
    box = ps.catalogue().box("rtx-4090", 4)
    tight = ps.estimate(job("paged-adamw8bit", optimizer_in_backward=True), box, Plan(micro_batch_size=8))
    assert float(tight.time.offload_seconds) > 0.1


def test_newton_schulz_is_five_times_three_products() -> None:
    m, n = 1024.0, 4096.0
    kernels = orthogonal_kernels(Linear("up", 2.0, rows=1.0, columns=n, contraction=m))
    assert sum(k.flops * k.launches for k in kernels) == 5 * (4 * m * m * n + 2 * m**3)
    assert not orthogonal_kernels(Linear("up", 2.0, columns=n, contraction=m, is_trained=False))


def test_muon_computes_what_adam_does_not() -> None:
    """Muon's products of Llama 3 8B: about 5 x (4 m^2 n + 2 m^3) a matrix at the card's rate."""
    matrices = 32 * [(4096, 4096), (4096, 4096), (1024, 4096), (1024, 4096), *3 * [(4096, 14336)]]
    flops = sum(5 * (4 * m * m * n + 2 * m**3) for m, n in matrices)
    more = step(job("muon")).time.optimizer_seconds - step(job("adamw")).time.optimizer_seconds
    assert flops / 989e12 < float(more) < 3 * flops / 989e12


def test_an_optimizer_inside_the_backward_pass_keeps_no_gradients() -> None:
    after, inside = step(job("adamw")), step(job("adamw", optimizer_in_backward=True))
    assert float(after.memory.update.gradients_bytes) == pytest.approx(2 * PARAMETERS, rel=1e-3)
    assert float(inside.memory.update.gradients_bytes) == 0.0
    layer_and_end = 218.1e6 + 128256 * 4096
    assert float(inside.memory.reduced.gradients_bytes) == pytest.approx(2 * layer_and_end, rel=1e-2)


@pytest.mark.parametrize(
    ("plan", "is_refused"),
    [
        (Plan(micro_batch_size=8), False),
        (Plan(micro_batch_size=4), True),  # two micro-batches
        (Plan(data_parallel=8), True),  # gradients are summed after the pass
        (Plan(data_parallel=8, zero_stage=3), False),
    ],
)
def test_it_needs_one_micro_batch_and_whole_gradients(plan: Plan, is_refused: bool) -> None:
    found = step(job("adamw", optimizer_in_backward=True), plan)
    assert bool(int(found.problems) & Problem.IN_BACKWARD) is is_refused


def test_every_name_of_a_scenario_is_an_optimizer() -> None:
    from typing import get_args

    from perfsim.inputs.scenario_file import OptimizerName

    assert set(get_args(OptimizerName)) == OPTIMIZERS.keys() - {"none"}


def test_an_unknown_optimizer_is_refused_with_the_nearest() -> None:
    with pytest.raises(ps.InputError, match="optimizer"):
        job("adamw-8bit")
    with pytest.raises(ps.InputError, match="kernels"):
        ps.workload("resnet-50", optimizer="muon", precision="fp32")


def test_arrays_of_plans_are_plans_alone() -> None:
    workload = job("muon", "bf16-mixed")
    many = step(workload, Plan(data_parallel=8, zero_stage=np.array([0, 1, 3])))
    for i, stage in enumerate((0, 1, 3)):
        one = step(workload, replace(Plan(data_parallel=8), zero_stage=stage))
        assert many.time.total_seconds[i] == one.time.total_seconds
