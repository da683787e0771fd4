"""Which ranks exchange what: groups of a plan in the order of its placement, and what a system gives them to send over.

A group is ranks at equal distances: tensor-parallel ranks are neighbours, and either the data-parallel ranks come next
(Megatron's default order) or the pipeline's stages do (its --use-tp-pp-dp-mapping), which puts stages into one node
and lets gradients cross the network. Source: NVIDIA/Megatron-LM megatron/core/parallel_state.py (RankGenerator).
"""

from dataclasses import replace

import numpy as np

from perfsim.core.fabric import Group, Route
from perfsim.core.hardware import System
from perfsim.core.numbers import Ints
from perfsim.core.plan import Placement, Plan
from perfsim.formulas.contention import exchange_contention, ring_contention


def tensor_group(plan: Plan) -> Group:
    """Neighbouring ranks."""
    return Group(plan.tensor_parallel, 1)


def context_group(plan: Plan) -> Group:
    """Ranks that share a sequence."""
    return Group(plan.context_parallel, _data_stride(plan))


def data_group(plan: Plan) -> Group:
    """Ranks that hold the same weights and see other samples; context-parallel ranks reduce gradients with them."""
    return Group(plan.data_parallel * plan.context_parallel, _data_stride(plan))


def expert_group(plan: Plan) -> Group:
    """Ranks that split a layer's experts, inside the data-parallel group."""
    return Group(plan.expert_parallel, _data_stride(plan))


def expert_data_group(plan: Plan) -> Group:
    """Data-parallel ranks that hold the same experts, and reduce their gradients."""
    group = data_group(plan)
    return Group(np.maximum(1, group.ranks // plan.expert_parallel), group.stride * plan.expert_parallel)


def pipeline_group(plan: Plan) -> Group:
    """Ranks that hold a model's stages."""
    is_inner = np.asarray(plan.placement) == Placement.PIPELINE_INNER
    outer = plan.tensor_parallel * plan.context_parallel * plan.data_parallel
    return Group(plan.pipeline_parallel, np.where(is_inner, plan.tensor_parallel, outer))


def shard_group(plan: Plan) -> Group:
    """Data-parallel ranks that ZeRO splits states over: all, or `hybrid_shard` neighbours."""
    group, hybrid = data_group(plan), np.asarray(plan.hybrid_shard)
    return Group(np.where(hybrid > 0, np.minimum(group.ranks, hybrid), group.ranks), group.stride)


def replica_group(plan: Plan) -> Group:
    """Data-parallel ranks that hold the same shard of a hybrid shard."""
    group, shard = data_group(plan), shard_group(plan)
    return Group(np.maximum(1, group.ranks // shard.ranks), group.stride * shard.ranks)


def route(system: System, group: Group) -> Route:
    """What the group communicates over: its ranks inside one domain, and their share of the network beyond it."""
    domain, network = system.gpus_per_domain, system.between
    members = np.minimum(group.ranks, np.maximum(1, domain // np.maximum(group.stride, 1)))
    exchange = network.bytes_per_s
    if np.any(np.maximum(network.leaf_oversubscription, network.pod_oversubscription) > 1.0):
        domains = -(-group.ranks // members)  # each node of a domain exchanges with the same node of the others
        stride = np.maximum(1, group.stride // domain) * (domain // system.gpus_per_node)
        exchange = network.bytes_per_s / exchange_contention(network, domains, stride)
        slower = ring_contention(network, domains, stride)
        network = replace(
            network, bytes_per_s=network.bytes_per_s / slower, head_bytes_per_s=network.head_bytes_per_s / slower
        )
    return Route(group.ranks, members, system.within.at(members, group.stride), network, exchange)


def single_nic(route: Route) -> Route:
    """The same, for software that drives one NIC of a node at a time."""
    is_inside = np.asarray(route.ranks <= route.members)
    return replace(route, members=np.where(is_inside, route.members, 1))


def _data_stride(plan: Plan) -> Ints:
    is_inner = np.asarray(plan.placement) == Placement.PIPELINE_INNER
    return plan.tensor_parallel * np.where(is_inner, plan.pipeline_parallel, 1)
