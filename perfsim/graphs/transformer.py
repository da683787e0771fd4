"""A transformer's compute graphs: those of its embedding, of one layer of each kind, of its head and of its towers.

A graph's shape is the model's and the software's; the numbers in its operations are the plans', scalars or arrays.
Nodes carry `operation`; an edge means "the output of one is an input of the other".
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from perfsim.core.model import Tower
from perfsim.core.plan import Plan
from perfsim.core.software import Software
from perfsim.core.workload import Head, Task, Workload
from perfsim.graphs.blocks import blocks
from perfsim.graphs.builder import is_autocast
from perfsim.graphs.convnet import convnet_graphs
from perfsim.graphs.ends import embedding_graph, head_graph
from perfsim.graphs.layer import layer_graph

if TYPE_CHECKING:
    import networkx as nx


def step_graphs(
    workload: Workload, plan: Plan, software: Software, attention: str
) -> Iterator[tuple[str, int, "nx.DiGraph[str]"]]:
    """(part, how many of it, its graph) for embedding, every kind of layer, head and towers; a net's for its units.

    `attention` names the kernel that runs ("naive" or a flash generation); it decides what is kept for backward.
    A graph's attribute `has_backward` says whether its weights or what comes before it get gradients.
    """
    model = workload.model
    if model.nets:
        yield from convnet_graphs(workload, plan, is_autocast(workload, software), attention != "naive")
        return
    yield "embedding", 1, embedding_graph(workload, plan, software)
    if model.encoder_layers:
        yield "encoder_embedding", 1, embedding_graph(workload, plan, software, is_encoder=True)
    towers = {tower.name: _of_tower(workload, tower) for tower in model.towers}
    for tower in model.towers:
        own, has_words = towers[tower.name], tower.role != "generator"
        yield f"{tower.name}.embedding", 1, embedding_graph(own, plan, software, has_own_words=has_words)
        yield f"{tower.name}.head", 1, head_graph(own, plan, software, workload.task is not Task.FREEZE)
    for block in blocks(model):
        owner = towers[block.tower.name] if block.tower else workload
        yield block.name, block.count, layer_graph(owner, plan, software, block, attention)
    yield "head", 1, head_graph(workload, plan, software, workload.trains_head)


def _of_tower(workload: Workload, tower: Tower) -> Workload:
    """What a tower does on each of the workload's samples."""
    tokens = tower.tokens or workload.seq_len
    is_generator = tower.role == "generator"
    return replace(
        workload,
        model=tower.model,
        task=Task.FREEZE if tower.is_frozen else workload.task,
        seq_len=tokens,
        decoder_seq_len=0,
        memory_len=0,
        head=Head.LANGUAGE_MODEL if is_generator else Head.NONE,
        head_positions=tower.masked_share * tokens if is_generator else 0,
    )
