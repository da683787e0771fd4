"""Costs of whole graphs: what unevenly loaded experts and the placement of ranks change."""

from dataclasses import replace

import numpy as np
import pytest

import perfsim as ps
from perfsim.core.plan import Placement, Plan


@pytest.fixture(scope="module")
def mixtral():
    return ps.workload(
        "mixtral-8x7b", task="pretrain", seq_len=4096, global_batch_size=64, precision="bf16-mixed", steps=1
    )


def cost(workload, plan, system="dgx-h100"):
    return ps.estimate(workload, ps.system(system), plan, ps.software("megatron-core"))


def test_the_busiest_expert_rank_decides(mixtral) -> None:
    """Twice the mean load doubles all-to-all's bytes and expert products, not the model's own arithmetic."""
    plan = Plan(tensor_parallel=2, data_parallel=32, expert_parallel=8, zero_stage=1)
    even, uneven = cost(mixtral, plan), cost(replace(mixtral, expert_imbalance=2.0), plan)
    assert uneven.time.forward_seconds > 1.5 * even.time.forward_seconds
    assert 1.3 < uneven.time.expert_parallel_seconds / even.time.expert_parallel_seconds < 2.0
    assert uneven.memory.backward.activations_bytes > even.memory.backward.activations_bytes
    assert uneven.model_flops == even.model_flops


def test_all_experts_on_one_rank_know_no_imbalance(mixtral) -> None:
    plan = Plan(tensor_parallel=8, data_parallel=8, zero_stage=1)
    assert cost(replace(mixtral, expert_imbalance=3.0), plan).time == cost(mixtral, plan).time


def test_pipeline_inner_keeps_hand_overs_in_the_node_and_sends_gradients_out() -> None:
    workload = ps.workload(
        "gpt3-13b", task="pretrain", seq_len=2048, global_batch_size=256, precision="bf16-mixed", steps=1
    )
    plan = Plan(tensor_parallel=2, pipeline_parallel=4, data_parallel=8, sequence_parallel=True)
    data_inner, inner = (cost(workload, replace(plan, placement=place)).time for place in Placement)
    assert inner.pipeline_send_seconds < data_inner.pipeline_send_seconds
    assert inner.gradient_reduce_seconds >= data_inner.gradient_reduce_seconds


def test_placements_in_a_flat_list_equal_each_alone() -> None:
    workload = ps.workload(
        "mixtral-8x7b", task="pretrain", seq_len=4096, global_batch_size=512, precision="bf16-mixed", steps=1
    )
    index = np.arange(256)
    plans = Plan(
        tensor_parallel=2, pipeline_parallel=2 ** (index % 3), data_parallel=32, expert_parallel=2 ** (index // 64),
        zero_stage=1, placement=index % 2,
    )  # fmt: skip
    found = cost(workload, plans).time.total_seconds
    for i in (0, 1, 66, 131, 200, 255):
        alone = Plan(
            tensor_parallel=2, pipeline_parallel=2 ** (i % 3), data_parallel=32, expert_parallel=2 ** (i // 64),
            zero_stage=1, placement=i % 2,
        )  # fmt: skip
        assert found[i] == cost(workload, alone).time.total_seconds


def test_frozen_experts_have_no_gradients_to_reduce(mixtral) -> None:
    """The head alone is trained: 0.13 of 46.7 billion parameters."""
    frozen = ps.workload("mixtral-8x7b", task="freeze", seq_len=2048, global_batch_size=64, precision="bf16", steps=1)
    plan = Plan(tensor_parallel=2, data_parallel=4, expert_parallel=4)
    assert cost(frozen, plan).time.gradient_reduce_seconds < 0.05 * cost(mixtral, plan).time.gradient_reduce_seconds


def test_experts_gradients_are_reduced_by_the_ranks_that_share_them(mixtral) -> None:
    """Split over 8 of 8 ranks, experts have nobody to reduce with; the rest of the model still has."""
    all_split = cost(mixtral, Plan(data_parallel=8, expert_parallel=8)).time.gradient_reduce_seconds
    none_split = cost(mixtral, Plan(data_parallel=8)).time.gradient_reduce_seconds
    assert 0 < all_split < 0.2 * none_split
