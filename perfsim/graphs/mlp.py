"""The MLP in a layer's graph, or its experts."""

import numpy as np

from perfsim.core.numbers import Floats
from perfsim.formulas.operations import Exchange, Route
from perfsim.graphs.builder import Builder


def mlp(build: Builder, source: str) -> str:
    """The block's MLP or its experts."""
    model, t = build.workload.model, build.plan.tensor_parallel
    moe = model.moe if build.block.is_moe else None
    if moe is None:
        return dense_mlp(build, "mlp", source, model.ffn_hidden_size / t, build.rows, 1.0)
    e = build.plan.expert_parallel
    chosen = build.rows * moe.experts_per_token
    local = moe.experts / e
    own = build.rows / build.shard  # with sequence parallelism a rank routes its own rows
    build.linear("router", float(moe.experts), model.hidden_size, moe.has_router_bias, source, adapter_rank=0, rows=own)
    arrived = np.where((np.asarray(e) > 1) & (local > 1), chosen, 0.0) * model.hidden_size
    values = own * moe.experts_per_token * model.hidden_size
    build.add(Route("dispatch", build.value, values, own * moe.experts, arrived), source, "router")
    size = chosen / build.shard * model.hidden_size * build.value  # with sequence parallelism each rank sends its rows
    build.add(Exchange("dispatch_exchange", build.value, "all-to-all", "expert", size, e))
    build.graph.nodes["dispatch_exchange"]["values"] = chosen * model.hidden_size
    dense_mlp(build, "experts", build.last, moe.expert_ffn_hidden_size / t, chosen / local, local, reduce=False)
    build.reduce("experts_reduce", chosen)
    build.graph.nodes["experts_reduce"]["values"] = build.rows / build.shard * model.hidden_size  # summed per token
    build.add(Exchange("combine_exchange", build.value, "all-to-all", "expert", size, e))
    if moe.shared_ffn_hidden_size:
        combined = build.last
        dense_mlp(build, "shared_expert", source, moe.shared_ffn_hidden_size / t, build.rows, 1.0)
        build.pointwise("experts_sum", "add", build.rows * model.hidden_size, combined, build.last)
    return build.last


def dense_mlp(
    build: Builder, name: str, source: str, width: Floats, rows: Floats, count: Floats, reduce: bool = True
) -> str:
    """Up (and gate), activation, down, and the tensor-parallel exchange."""
    model = build.workload.model
    columns = width * (2.0 if model.is_gated_mlp else 1.0)
    more = {"rows": rows, "count": count}
    is_split = model.is_gated_mlp and not build.software.has_fused_qkv  # gate and up are products of their own
    build.linear(f"{name}_up", columns, model.hidden_size, model.has_mlp_bias, source, adds_gradient=is_split, **more)
    build.graph.nodes[f"{name}_up"]["is_pair"] = is_split
    action = "gate" if model.is_gated_mlp else "activation"
    build.pointwise(f"{name}_activation", action, rows * count * width)
    if model.positions == "relative" and build.workload.dropout > 0:
        build.pointwise(f"{name}_activation_dropout", "dropout", rows * count * width)
    build.linear(f"{name}_down", model.hidden_size, width, model.has_mlp_bias, **more)
    if reduce:
        build.reduce(f"{name}_reduce")
    return build.last
