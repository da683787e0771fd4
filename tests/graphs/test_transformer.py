"""Counts of whole graphs against published formulas."""

import networkx as nx
import numpy as np
import pytest

import perfsim as ps
from perfsim.core.plan import Plan
from perfsim.estimate import estimate
from perfsim.graphs.blocks import blocks
from perfsim.graphs.layer import layer_graph
from perfsim.graphs.lifetimes import lifetimes
from perfsim.graphs.transformer import step_graphs


def flops(model: str, seq_len: int, batch: int, software: str = "megatron-2021", **keys: object):
    workload = ps.workload(
        ps.model(model), task="pretrain", seq_len=seq_len, global_batch_size=batch, precision="bf16-mixed"
    )
    found = estimate(
        workload,
        ps.system("dgx-a100-80gb"),
        Plan(**keys),
        ps.software(software),
        ps.catalogue().calibration(),  # type: ignore[arg-type]
    )
    return workload.model, found


@pytest.mark.parametrize("recompute,factor", [(0, 72.0), (2, 96.0)])
def test_gpt3_flops_are_narayanans(recompute: int, factor: float) -> None:
    """Narayanan et al. 2021 (arXiv 2104.04473): 96·B·s·L·h²·(1 + s/6h + V/16Lh), 72 without recomputation."""
    m, found = flops("gpt3-175b", 2048, 64, recompute=recompute, data_parallel=8, micro_batch_size=1)
    b, s, n, h, v = 64, 2048, m.layers, m.hidden_size, 50304  # Megatron pads 50257 words to a multiple of 128
    head = v / (16 * n * h) if recompute else v / (12 * n * h)
    assert found.hardware_flops == pytest.approx(factor * b * s * n * h**2 * (1 + s / (6 * h) + head), rel=1e-12)


def test_llama_flops_are_palms() -> None:
    """Chowdhery et al. 2022 (arXiv 2204.02311) appendix B: 6·N + 12·L·H·Q·T FLOPs a token, N without embeddings."""
    m, found = flops("llama3-8b", 4096, 8, data_parallel=8)
    matmul = (
        m.layers * (m.hidden_size * m.head_dim * (2 * m.heads + 2 * m.kv_heads) + 3 * m.hidden_size * m.ffn_hidden_size)
        + m.vocab_size * m.hidden_size
    )
    per_token = 6 * matmul + 12 * m.layers * m.heads * m.head_dim * 4096
    assert found.model_flops == pytest.approx(per_token * 8 * 4096, rel=1e-12)


@pytest.mark.parametrize("tensor_parallel", [1, 2, 4, 8])
def test_flops_do_not_depend_on_the_split(tensor_parallel: int) -> None:
    more = {"software": "llm-foundry"}  # which does not pad the vocabulary
    _, whole = flops("llama3-8b", 2048, 16, **more)
    _, split = flops(
        "llama3-8b", 2048, 16, tensor_parallel=tensor_parallel, pipeline_parallel=4, micro_batch_size=2, **more
    )
    assert split.model_flops == pytest.approx(whole.model_flops, rel=1e-12)


def test_bert_layer_keeps_korthikantis_bytes() -> None:
    """Korthikanti et al. 2022 (arXiv 2205.05198) table 2: s·b·h·(34 + 5·a·s/h), norms' statistics aside."""
    model = ps.model("bert-large")
    workload = ps.workload(model, task="pretrain", seq_len=512, global_batch_size=4, precision="fp16-o2", dropout=0.1)
    software = ps.software("megatron-2021")
    graph = layer_graph(workload, Plan(micro_batch_size=4), software, blocks(model)[0], "naive")
    s, b, h, a = 512, 4, model.hidden_size, model.heads
    statistics = 2 * 8 * s * b
    assert lifetimes(graph).kept_bytes == pytest.approx(s * b * h * (34 + 5 * a * s / h) + statistics, rel=1e-12)


def test_llama_layer_keeps_every_tensor_once() -> None:
    """bf16, flash, fused: s·b·h·(12 + 4k + 8f/h) less the unfused gate's 2f/h, and the log-sum-exp."""
    model = ps.model("llama3-8b")
    workload = ps.workload(model, task="pretrain", seq_len=2048, global_batch_size=1, precision="bf16-mixed")
    graph = layer_graph(workload, Plan(), ps.software("megatron-core"), blocks(model)[0], "flash-2")
    s, h, k, r = 2048, model.hidden_size, model.kv_heads / model.heads, model.ffn_hidden_size / model.hidden_size
    extras = 4 * s * model.heads + 2 * 8 * s
    assert lifetimes(graph).kept_bytes == pytest.approx(s * h * (12 + 4 * k + 6 * r) + extras, rel=1e-12)


@pytest.mark.parametrize(
    "name",
    [
        "bert-base",
        "gpt2",
        "llama3-8b",
        "t5-base",
        "mixtral-8x7b",
        "deepseek-v3",
        "falcon-7b",
        "gemma2-9b",
        "electra-base",
    ],
)
def test_graphs_are_acyclic_and_weigh_what_the_model_weighs(name: str) -> None:
    model = ps.model(name)
    decoder = 128 if model.encoder_layers else None
    workload = ps.workload(
        model, task="pretrain", seq_len=512, global_batch_size=8, precision="bf16-mixed", decoder_seq_len=decoder
    )
    layers = 0
    for part, count, graph in step_graphs(workload, Plan(), ps.software("pytorch-2-eager"), "sdpa"):
        assert nx.is_directed_acyclic_graph(graph)
        assert all("operation" in data for _, data in graph.nodes(data=True))
        layers += count if part.rpartition(".")[2] not in ("embedding", "encoder_embedding", "head") else 0
    assert layers == model.depth + model.mtp_layers


def test_every_shipped_model_is_costed() -> None:
    catalogue = ps.catalogue()
    calibration, software = catalogue.calibration(), ps.software("pytorch-2-eager")
    for name in catalogue.names("models"):
        model = catalogue.model(name)
        decoder = 64 if model.encoder_layers else None
        is_fixed = model.nets or model.encoder_tokens or model.towers
        tokens = None if is_fixed else 48
        workload = ps.workload(
            model, seq_len=tokens, global_batch_size=8, precision="amp-bf16", decoder_seq_len=decoder
        )
        found = estimate(workload, ps.system("dgx-h100"), Plan(data_parallel=8), software, calibration)
        assert np.isfinite(found.time.total_seconds) and found.time.total_seconds > 0, name
        assert np.isfinite(found.memory.total_bytes) and found.memory.total_bytes > 0, name
