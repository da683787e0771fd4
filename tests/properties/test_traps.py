"""Mistakes that other calculators were found with, each as a law that perfsim keeps."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import perfsim as ps
from perfsim.calibration.validate import replay
from perfsim.core.plan import Plan, Recompute
from perfsim.estimate import estimate
from perfsim.formulas.collectives import all_reduce_seconds
from perfsim.formulas.groups import data_group, route
from perfsim.graphs.transformer import blocks, layer_graph
from perfsim.inputs.runs import read_runs
from perfsim.paths import builtin

KNOWN = ps.catalogue()
SYSTEM, CALIBRATION = KNOWN.system("dgx-a100-80gb"), KNOWN.calibration()


def workload(model: str = "gpt3-13b", **keys: object):
    asked = {"task": "pretrain", "seq_len": 2048, "global_batch_size": 512, "precision": "bf16-mixed"} | keys
    return ps.workload(KNOWN.model(model), **asked)


def cost(plan: Plan, software: str = "megatron-2022", model: str = "gpt3-13b", **keys: object):
    return estimate(workload(model, **keys), SYSTEM, plan, KNOWN.software(software), CALIBRATION)


@given(st.sampled_from([2, 8, 64, 512]), st.sampled_from([1, 2, 4]), st.sampled_from(sorted(KNOWN.names("software"))))
def test_no_more_of_a_reduction_is_exposed_than_there_is(ranks: int, micro: int, software: str) -> None:
    plan = Plan(tensor_parallel=8, data_parallel=ranks, micro_batch_size=micro)
    found = cost(plan, software)
    stack = KNOWN.software(software)
    gradients = float(found.memory.update.gradients_bytes)
    bucket = stack.gradient_bucket_bytes + stack.gradient_bucket_rank_bytes * ranks
    pieces = max(1.0, gradients / bucket) if bucket else 1.0
    links = route(SYSTEM, data_group(plan))
    whole = (pieces + 1) * float(all_reduce_seconds(links, gradients / pieces))
    assert float(found.time.gradient_reduce_seconds) <= whole * (1 + 1e-9)


def test_nothing_is_gathered_without_sharding() -> None:
    for zero in (0, 1, 2, 3):
        found = cost(Plan(data_parallel=64, zero_stage=zero), "llm-foundry")
        assert (float(found.time.parameter_gather_seconds) > 0.0) is (zero > 0), zero


def test_selective_recomputation_redoes_attention_once_a_layer() -> None:
    found = cost(Plan(tensor_parallel=8, recompute=Recompute.SELECTIVE, sequence_parallel=True))
    model, b, s = KNOWN.model("gpt3-13b"), 512, 2048
    core = 4.0 * b * s * s * model.hidden_size  # scores and values, over the full square
    assert float(found.hardware_flops - found.model_flops) == pytest.approx(model.layers * core, rel=1e-12)


def test_every_zero_stage_is_what_was_asked_for() -> None:
    held = [cost(Plan(data_parallel=64, zero_stage=zero), "llm-foundry").memory.update for zero in range(4)]
    sharded = [(float(m.optimizer_bytes), float(m.gradients_bytes), float(m.weights_bytes)) for m in held]
    for zero in (1, 2, 3):
        for part in range(3):
            share = 1.0 / 64 if part < zero else 1.0
            assert sharded[zero][part] == pytest.approx(share * sharded[0][part], rel=1e-12), (zero, part)


def test_head_grouped_keys_and_gated_mlps_are_counted() -> None:
    """FLOPs of a Llama against the sum of its matrices: 6 for each weight that a token meets, and attention."""
    model = KNOWN.model("llama3-8b")
    found = cost(Plan(data_parallel=8), "llm-foundry", "llama3-8b", global_batch_size=8)
    h, kv, f = model.hidden_size, model.kv_heads * model.head_dim, model.ffn_hidden_size
    matrices = model.layers * (2 * h * h + 2 * h * kv + 3 * h * f) + h * model.vocab_size
    attention = model.layers * 12 * h * 2048
    assert float(found.model_flops) == pytest.approx(8 * 2048 * (6 * matrices + attention), rel=1e-12)
    graph = layer_graph(workload("llama3-8b"), Plan(), KNOWN.software("megatron-core"), blocks(model)[0], "flash-2")
    assert float(graph.nodes["attention_qkv"]["operation"].columns) == h + 2 * kv


def test_a_prediction_never_reads_what_was_measured() -> None:
    runs = [run for run in read_runs([builtin("scenarios") / "validation" / "runs.csv"], KNOWN) if not run.problem][:40]
    lied = [replace(run, measured_step_seconds=10.0 * run.measured_step_seconds) for run in runs]
    for honest, other in zip(replay(runs, CALIBRATION), replay(lied, CALIBRATION), strict=True):
        assert honest.predicted_step_seconds == other.predicted_step_seconds
        assert honest.predicted_peak_memory_bytes == other.predicted_peak_memory_bytes
