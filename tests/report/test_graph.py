"""A compute graph in every form parses back to the same nodes and edges."""

import io
import json

import networkx as nx
import pytest

from perfsim.core.plan import Plan
from perfsim.graphs.transformer import step_graphs
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.workload import make_workload
from perfsim.report.graph import Parts, graph_dot, graph_graphml, graph_json, graph_table, joined
from perfsim.report.table import plain_text


def parts_of(name: str, **keys: object) -> Parts:
    known = catalogue()
    software = known.software("pytorch-2-eager")
    workload = make_workload(known.model(name), task="pretrain", seq_len=64, **keys)
    return list(step_graphs(workload, Plan(), software, software.attention))


@pytest.fixture(params=["bert-large", "llama3-8b", "mixtral-8x7b", "deepseek-v3", "t5-base", "vit-b-16"])
def parts(request: pytest.FixtureRequest) -> Parts:
    keys = {"decoder_seq_len": 32} if request.param == "t5-base" else {}
    return parts_of(request.param, **keys)


def test_table_totals_all_layers(parts: Parts) -> None:
    text = plain_text(graph_table("title", parts), 120)
    total = sum(
        count * float(graph.nodes[node]["operation"].forward_flops) for _, count, graph in parts for node in graph.nodes
    )
    last = text.splitlines()[-1].split()
    assert last[:2] == ["all", "layers"] and float(last[2].replace(",", "")) == pytest.approx(total / 1e9, rel=1e-2)


def test_joined_graph_is_one_acyclic_whole(parts: Parts) -> None:
    whole = joined(parts)
    assert nx.is_directed_acyclic_graph(whole) and nx.is_weakly_connected(whole)
    assert len(whole) == sum(len(graph) for _, _, graph in parts)


def test_graphml_reads_back(parts: Parts) -> None:
    read = nx.read_graphml(io.BytesIO(graph_graphml('<"&\x1b>', parts).encode()))
    whole = joined(parts)
    assert set(read.nodes) == set(whole.nodes) and set(read.edges) == set(whole.edges)


def test_json_and_dot_name_every_operation(parts: Parts) -> None:
    answer = json.loads(graph_json("t", parts))
    dot = graph_dot('quote " and \\', parts)
    assert dot.startswith('digraph "quote \\" and \\\\" {') and dot.count("{") == 1
    for part in answer["parts"]:
        for operation in part["operations"]:
            assert f'"{part["name"]}/{operation["name"]}" [' in dot
            assert operation["forward_flops"] >= 0 and operation["read_bytes"] >= 0
