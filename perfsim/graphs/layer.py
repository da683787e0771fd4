"""One layer's graph: norms, attention, cross attention, MLP and residual sums in the order of the model."""

from typing import TYPE_CHECKING

from perfsim.core.plan import Plan
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.formulas.operations import Pointwise
from perfsim.graphs.attention import attention
from perfsim.graphs.blocks import Block
from perfsim.graphs.builder import Builder
from perfsim.graphs.diffusion import diffusion_layer
from perfsim.graphs.mlp import mlp

if TYPE_CHECKING:
    import networkx as nx


def layer_graph(workload: Workload, plan: Plan, software: Software, block: Block, kernel: str) -> "nx.DiGraph[str]":
    """One layer of a block on one GPU, one micro-batch; `kernel` runs its attention."""
    build = Builder(workload, plan, software, block, kernel)
    if block.is_mtp:
        _joined_tokens(build)
    match workload.model.norm_position:
        case "parallel":
            _parallel_layer(build)
        case "adaLN-zero":
            diffusion_layer(build)
        case _:
            _layer(build)
    return build.graph


def _layer(build: Builder) -> None:
    """Attention, cross attention where the block has it, and MLP, each with its norm and residual sum."""
    pre = build.workload.model.norm_position != "post"
    residual = build.last
    source = build.norm("attention_norm") if pre else residual
    attention(build, "attention", source, None)
    build.sublayer_end("attention", residual)
    if build.block.has_cross_attention and not build.block.is_encoder:
        residual = build.last
        source = build.norm("cross_norm") if pre else residual
        attention(build, "cross_attention", source, build.workload.seq_len)
        build.sublayer_end("cross_attention", residual)
    residual = build.last
    source = build.norm("mlp_norm") if pre else residual
    mlp(build, source)
    build.sublayer_end("mlp", residual)


def _parallel_layer(build: Builder) -> None:
    """One norm feeds attention and MLP, both are added to the residual."""
    residual = build.last
    normed = build.norm("norm")
    attended = attention(build, "attention", normed, None)
    build.last = normed
    mlp(build, normed)
    values = 2.0 * build.rows / build.shard * build.workload.model.hidden_size
    build.add(Pointwise("residual", build.residual, values, "add"), build.last, attended, residual)


def _joined_tokens(build: Builder) -> None:
    """What a layer of multi-token prediction begins with: two norms, the last layer's output beside the next words'.

    Source: DeepSeek-V3 (arXiv 2412.19437), section 2.2, equation 21.
    """
    h = build.workload.model.hidden_size
    words = build.norm("words_norm", "input")
    hidden = build.norm("hidden_norm", "input")
    joined = build.add(Pointwise("joined", build.value, 2.0 * build.rows * h, "copy"), words, hidden)
    build.linear("joined_projection", float(h), 2.0 * h, False, joined)
