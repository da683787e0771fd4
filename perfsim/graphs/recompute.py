"""What selective recomputation keeps of a layer, and what it does again."""

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from perfsim.core.numbers import Floats
from perfsim.core.plan import Plan, Recompute
from perfsim.core.software import Software
from perfsim.formulas.operations import Attention, Linear
from perfsim.formulas.power import NOTHING, Activity
from perfsim.graphs.costs import LAST_PRODUCTS, Cost

if TYPE_CHECKING:
    import networkx as nx

Work = Mapping[str, tuple[Activity, Activity]]


def recomputed_share(plan: Plan, layers: int) -> Floats:
    """The share of the layers whose forward pass is done again whole [-]."""
    some = np.asarray(plan.recompute_layers)
    share = np.where(some > 0, np.minimum(some, layers) / layers, 1.0)
    return np.where(np.asarray(plan.recompute) == Recompute.FULL, share, 0.0)


def with_selection(cost: Cost, graph: "nx.DiGraph[str]", work: Work, software: Software) -> Cost:
    """The layer's cost with what the software's selective recomputation keeps and does again.

    "core": attention between its products is redone (Korthikanti et al. 2022, arXiv 2205.05198); what it keeps beside
    its output is gone, which is much where scores are written out. "per-op": the outputs of attention and of every
    second product stay, all else is redone (pytorch/torchtitan torchtitan/distributed/activation_checkpoint.py). The
    others are names that JAX's policies save: the outputs of these products stay, and attention is redone; the last
    product's output is not needed again (google/maxtext MaxText/layers/models.py: remat_policy).
    """
    cores = [name for name in graph if isinstance(graph.nodes[name]["operation"], Attention)]
    if software.selective_recompute == "core":
        freed = sum(graph.nodes[n]["operation"].saved_bytes for n in cores if not graph.nodes[n]["operation"].is_flash)
        again = reduce(Activity.plus, (work[name][0] for name in cores), NOTHING)
        flops = sum(graph.nodes[name]["operation"].forward_flops for name in cores)
        return replace(cost, selected_kept_bytes=cost.kept_bytes - freed, selected=again, selected_flops=flops)
    kept: Floats = cost.input_bytes
    again, flops = cost.forward, cost.forward_flops
    if software.selective_recompute == "per-op":
        stays = _every_second_product(graph) | dict.fromkeys(cores, 1.0)
    else:
        stays = dict.fromkeys(_products_named(graph, _SAVED[software.selective_recompute]), 1.0)
        again = again.plus(cost.tail.times(-1.0))
        flops = flops - sum(graph.nodes[name]["operation"].forward_flops for name in graph if name in LAST_PRODUCTS)
        stays = {name: share for name, share in stays.items() if name not in LAST_PRODUCTS}
    for name, share in stays.items():
        node = graph.nodes[name]
        operation = node["operation"]
        kept = kept + share * node["values"] * operation.activation_bytes
        kept = kept + (operation.saved_bytes - operation.copied_bytes if name in cores else 0.0)
        again = again.plus(work[name][0].times(-share))
        flops = flops - share * operation.forward_flops
    return replace(cost, selected_kept_bytes=kept, selected=again, selected_flops=flops)


# ends of the names of products whose outputs a policy saves
_SAVED = {
    "qkv": ("qkv", "query", "key", "value"),
    "qkv-output": ("qkv", "query", "key", "value", "attention_output"),
    "products": ("",),
}


def _products_named(graph: "nx.DiGraph[str]", ends: tuple[str, ...]) -> list[str]:
    """Products whose names end in one of these."""
    return [name for name in graph if isinstance(graph.nodes[name]["operation"], Linear) and name.endswith(ends)]


def _every_second_product(graph: "nx.DiGraph[str]") -> dict[str, float]:
    """Which share of each product's output stays: the first, the third ... of the products as PyTorch runs them.

    A gated MLP's gate and up are two products in one operation here.
    """
    stays: dict[str, float] = {}
    count = 0
    for name in graph:
        if isinstance(graph.nodes[name]["operation"], Linear) and not name.startswith("experts_"):
            pieces = 2 if graph.nodes[name].get("is_pair") else 1
            stays[name] = sum((count + piece) % 2 == 0 for piece in range(pieces)) / pieces
            count += pieces
    return stays
