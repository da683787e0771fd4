"""Layers on stages: all of them, once, the middle ones fuller where they do not divide."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import perfsim as ps
from perfsim.core.plan import Plan, Problem, Schedule
from perfsim.estimate import estimate
from perfsim.formulas.stages import ends_counted, fullest_stage, layers_on_stage
from perfsim.simulation import simulation


@given(st.integers(1, 200), st.integers(1, 64), st.integers(1, 4), st.integers(0, 200), st.integers(0, 200))
def test_every_layer_lies_on_one_stage(layers: int, stages: int, chunks: int, first: int, count: int) -> None:
    first, count = min(first, layers), min(count, layers - min(first, layers))
    there = layers_on_stage(first, count, layers, np.arange(stages), stages, chunks)
    assert np.all(there >= -1e-9) and np.isclose(np.sum(there), count)
    whole = layers_on_stage(0, layers, layers, np.arange(stages), stages, 1)
    assert np.max(whole) == fullest_stage(layers, stages, 1) and np.ptp(whole) <= 1.0
    assert whole[0] <= np.max(whole[:-1], initial=whole[0]) and whole[-1] == np.min(whole)


@given(st.integers(1, 9), st.integers(2, 16), st.integers(2, 8))
def test_chunks_that_count_the_ends_add_up(run: int, stages: int, chunks: int) -> None:
    """Only the first and the last stage have less, a layer each."""
    layers = run * stages * chunks - 2
    assert ends_counted(layers, stages, chunks) == 1
    there = layers_on_stage(0, layers, layers, np.arange(stages), stages, chunks)
    assert np.allclose(there, run * chunks - np.isin(np.arange(stages), (0, stages - 1)))
    assert np.max(there) == fullest_stage(layers, stages, chunks)
    halves = [layers_on_stage(f, layers // 2, layers, np.arange(stages), stages, chunks) for f in (0, layers // 2)]
    assert np.allclose(np.sum(halves), 2 * (layers // 2))


def test_uneven_stages_cost_between_their_neighbours_and_as_simulated() -> None:
    known = ps.catalogue()
    workload = ps.workload(
        known.model("llama3.1-405b"), task="pretrain", seq_len=8192, global_batch_size=256, precision="bf16-mixed"
    )
    rest = known.system("dgx-h100"), known.software("megatron-core"), known.calibration()

    def cost(stages: int, **more: int):
        plan = Plan(tensor_parallel=8, pipeline_parallel=stages, data_parallel=4, sequence_parallel=True, **more)
        return estimate(workload, rest[0], plan, *rest[1:]), simulation(workload, rest[0], plan, *rest[1:])

    (fewer, _), (uneven, simulated), (more, _) = cost(14), cost(16), cost(18)  # 126 layers: 9, 7 or 8, 7 a stage
    assert fewer.time.total_seconds > uneven.time.total_seconds > more.time.total_seconds
    assert abs(simulated.difference_seconds) < 0.04 * uneven.time.total_seconds
    assert not int(uneven.problems) & Problem.LAYERS


@pytest.mark.parametrize(("stages", "chunks"), [(16, 8), (16, 4), (16, 2), (4, 4), (2, 4)])
def test_llama_405b_interleaves_where_its_ends_count_as_layers(stages: int, chunks: int) -> None:
    """Meta's own plan among them: 126 layers, embedding and head on 16 stages of 8 chunks (arXiv 2407.21783)."""
    known = ps.catalogue()
    workload = ps.workload(
        known.model("llama3.1-405b"), task="pretrain", seq_len=8192, global_batch_size=128, precision="bf16-mixed"
    )
    plan = Plan(tensor_parallel=8, pipeline_parallel=stages, virtual_stages=chunks, sequence_parallel=True)
    rest = known.system("dgx-h100"), plan, known.software("megatron-core"), known.calibration()
    found, simulated = estimate(workload, *rest), simulation(workload, *rest)
    assert not int(found.problems) & Problem.LAYERS
    assert abs(simulated.difference_seconds) < 0.02 * simulated.step_seconds
    mirrored = estimate(workload, rest[0], replace(plan, schedule=Schedule.ZB_V), *rest[2:])
    assert int(mirrored.problems) & Problem.LAYERS


def test_chunks_must_divide() -> None:
    known = ps.catalogue()
    workload = ps.workload(known.model("llama3-8b"), task="pretrain", seq_len=2048, global_batch_size=64)
    plans = (Plan(pipeline_parallel=33), Plan(pipeline_parallel=3, virtual_stages=2), Plan(pipeline_parallel=3))
    found = [
        int(
            estimate(
                workload, known.system("dgx-h100"), plan, known.software("megatron-core"), known.calibration()
            ).problems
        )
        for plan in plans
    ]
    assert [bool(bits & Problem.LAYERS) for bits in found] == [True, True, False]
