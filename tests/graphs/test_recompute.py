"""What recomputation keeps and redoes: parts of a layer, some layers, and the limits between nothing and all."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import perfsim as ps
from perfsim.core.plan import ContextExchange, Plan, Problem, Recompute
from perfsim.estimate import estimate


def cost(plan: Plan, software: str = "torchtitan", model: str = "llama3-8b"):
    known = ps.catalogue()
    workload = ps.workload(
        known.model(model), task="pretrain", seq_len=8192, global_batch_size=8, precision="bf16-mixed"
    )
    return estimate(workload, known.system("dgx-h100"), plan, known.software(software), known.calibration())


@given(st.integers(1, 31))
def test_some_layers_lie_between_none_and_all(some: int) -> None:
    plans = [
        Plan(data_parallel=8, recompute=Recompute.NONE),
        Plan(data_parallel=8, recompute=Recompute.FULL, recompute_layers=some),
        Plan(data_parallel=8, recompute=Recompute.FULL, recompute_layers=some + 1),
        Plan(data_parallel=8, recompute=Recompute.FULL),
    ]
    found = [cost(plan) for plan in plans]
    kept = [float(f.memory.backward.activations_bytes) for f in found]
    redone = [float(f.time.recompute_seconds) for f in found]
    assert kept[0] > kept[1] > kept[2] >= kept[3] * (1 - 1e-12)
    assert redone[0] == 0.0 < redone[1] < redone[2] <= redone[3] * (1 + 1e-12)
    assert redone[1] == pytest.approx(some / 32 * redone[3], rel=2e-3)  # clocks differ


def test_per_op_keeps_every_second_product() -> None:
    """torchtitan: the layer's input, query, value, attention's output, gate and down: 2·T·(4h + kh + f) bytes."""
    found = cost(Plan(data_parallel=8, zero_stage=3, recompute=Recompute.SELECTIVE))
    t, h, f, k, heads, layers = 8192, 4096, 14336, 8 / 32, 32, 32
    kept = layers * (2 * t * (4 * h + k * h + f) + 4 * t * heads)
    assert float(found.memory.backward.activations_bytes) == pytest.approx(kept, rel=1e-9)
    everything = cost(Plan(data_parallel=8, zero_stage=3, recompute=Recompute.FULL))
    assert 0.0 < found.time.recompute_seconds < everything.time.recompute_seconds


def test_heads_for_tokens_keeps_attention_twice_and_needs_heads_to_share() -> None:
    plans = [Plan(context_parallel=8, context_exchange=kind) for kind in ContextExchange]
    ring, swap, gather = (cost(plan, "megatron-core") for plan in plans)
    more = float(swap.memory.backward.activations_bytes - ring.memory.backward.activations_bytes)
    assert more == pytest.approx(32 * 2 * 8192 / 8 * 4096, rel=1e-9)
    assert not (ring.problems | swap.problems | gather.problems) & ~Problem.MEMORY
    assert gather.time.context_parallel_seconds > ring.time.context_parallel_seconds
    assert 0.0 < swap.time.context_parallel_seconds < gather.time.context_parallel_seconds
    too_many = cost(Plan(context_parallel=4, tensor_parallel=4, context_exchange=ContextExchange.ALL_TO_ALL))
    assert int(too_many.problems) & Problem.CONTEXT_HEADS
    both = np.array([0, 1])
    array = cost(Plan(context_parallel=8, context_exchange=both), "megatron-core")
    assert np.array_equal(array.time.total_seconds, [ring.time.total_seconds, swap.time.total_seconds])
    assert np.array_equal(array.memory.total_bytes, [ring.memory.total_bytes, swap.memory.total_bytes])


def test_policies_that_save_more_redo_less() -> None:
    """JAX: with the outputs of all products kept, attention and what moves data are redone."""
    known = ps.catalogue()
    workload = ps.workload(
        known.model("llama3-8b"), task="pretrain", seq_len=8192, global_batch_size=8, precision="amp-bf16"
    )
    redone = []
    for kind in ("qkv", "qkv-output", "products"):
        software = replace(known.software("jax"), selective_recompute=kind)
        plan = Plan(data_parallel=8, zero_stage=3, recompute=Recompute.SELECTIVE)
        redone.append(estimate(workload, known.system("dgx-h100"), plan, software, known.calibration()))
    seconds = [float(found.time.recompute_seconds) for found in redone]
    kept = [float(found.memory.backward.activations_bytes) for found in redone]
    assert seconds[0] > seconds[1] > seconds[2] > 0.0
    assert kept[0] < kept[1] < kept[2]
