"""What stops a plan whatever it needs of memory: divisors, counts, and what the card or the software lacks."""

from collections.abc import Mapping

import numpy as np

from perfsim.core.hardware import Gpu, System
from perfsim.core.numbers import Bools, Ints
from perfsim.core.optimizer import OPTIMIZERS
from perfsim.core.plan import ContextExchange, Offload, Plan, Problem, Schedule
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.formulas.energy import machine_watts
from perfsim.formulas.memory import updates_on_host
from perfsim.formulas.needs import attention_needs, is_older_than, lacks_any, lacks_units, library_needs
from perfsim.formulas.offload import can_update_on_host
from perfsim.formulas.pipeline import microbatches_of
from perfsim.formulas.stages import ends_counted


def problems(workload: Workload, system: System, plan: Plan, software: Software, socket_watts: float = 0.0) -> Ints:
    """Everything that stops a plan but for its memory, as bits of `Problem`; shape: what the numbers broadcast to.

    socket_watts: what one machine may draw; 0: as much as it likes.
    """
    model = workload.model
    t, p, v = (np.asarray(d) for d in (plan.tensor_parallel, plan.pipeline_parallel, plan.virtual_stages))
    layers = model.split_layers
    experts = model.moe.experts if model.moe else 1
    e, ranks = np.asarray(plan.expert_parallel), plan.data_parallel * plan.context_parallel
    schedule, m = np.asarray(plan.schedule), np.asarray(microbatches_of(workload, plan))
    in_turns, is_h1, is_v, is_dual = (
        schedule == one for one in (Schedule.ONE_F_ONE_B, Schedule.ZB_H1, Schedule.ZB_V, Schedule.DUALPIPE)
    )
    too_few = (is_h1 & ((p == 1) | (m < p))) | ((is_v | is_dual) & ((p == 1) | (m < 2 * p)))
    is_uneven = (is_v & (v != 2)) | (is_dual & ((p % 2 != 0) | (m % 2 != 0)))
    known = np.isin(schedule, [one for one in Schedule if one.label in software.schedules])
    known = np.where((v > 1) & in_turns, "interleaved" in software.schedules, known)
    checks = {
        Problem.HYBRID: ranks % np.maximum(plan.hybrid_shard, 1) != 0,
        Problem.CONTEXT_HEADS: (np.asarray(plan.context_exchange) == ContextExchange.ALL_TO_ALL)
        & ((model.heads % (t * plan.context_parallel) != 0) | (model.kv_heads % (t * plan.context_parallel) != 0)),
        Problem.HEADS: (model.split_heads % t != 0) | ((model.kv_heads % t != 0) & (t % model.kv_heads != 0)),
        Problem.LAYERS: (p > layers) | ((v > 1) & (layers % (p * v) != 0) & (is_v | (ends_counted(layers, p, v) == 0))),
        Problem.BATCH: np.asarray(workload.global_batch_size) % (plan.data_parallel * plan.micro_batch_size) != 0,
        Problem.INTERLEAVE: (v > 1) & ((p == 1) | ~(is_v | (in_turns & (m % p == 0)))),
        Problem.SYSTEM: np.asarray(plan.gpus > system.max_gpus),
        Problem.SEQUENCE: np.asarray(workload.seq_len) % plan.context_parallel != 0,
        Problem.EXPERTS: (experts % e != 0) | (ranks % e != 0),
        Problem.NODE: np.asarray(t > system.gpus_per_domain),
        Problem.SCHEDULE: too_few | is_uneven,
        Problem.SOFTWARE_SCHEDULE: ~known & (p > 1),
        Problem.OFFLOAD: _cannot_offload(workload, plan, software),
        Problem.IN_BACKWARD: workload.optimizer_in_backward
        & ((m > 1) | ((ranks > 1) & (np.asarray(plan.zero_stage) < 3)) | updates_on_host(plan)),
    }
    if socket_watts:
        checks[Problem.SOCKET] = np.asarray(machine_watts(system, plan.gpus) > socket_watts)
    return card_problems(workload, system.gpu, software) | _bits(checks)


def card_problems(workload: Workload, gpu: Gpu, software: Software) -> Ints:
    """What stops every plan on a card, as bits of `Problem` [cards]: units, kernels and releases that there are not."""
    no_units = lacks_units(workload, gpu)
    return _bits(
        {
            Problem.PRECISION: no_units,
            Problem.ATTENTION: lacks_any(gpu, attention_needs(workload, software)),
            Problem.LIBRARY: np.logical_not(no_units) & lacks_any(gpu, library_needs(workload, software)),
            Problem.RELEASE: is_older_than(software, gpu),
        }
    )


def _bits(checks: Mapping[Problem, Bools]) -> Ints:
    bits: Ints = 0
    for problem, applies in checks.items():
        bits = bits | np.where(applies, int(problem), 0)
    return bits


def _cannot_offload(workload: Workload, plan: Plan, software: Software) -> Bools:
    """Offloads that the software lacks, parameters that are not gathered, and updates that only GPUs can do."""
    offload = np.asarray(plan.offload)
    known = np.isin(offload, [one for one in Offload if one.label in ("none", *software.offloads)])
    is_whole = (offload == Offload.PARAMETERS) & (np.asarray(plan.zero_stage) < 3)
    is_stuck = updates_on_host(plan) & (not can_update_on_host(OPTIMIZERS[workload.optimizer]))
    refused: Bools = ~known | is_whole | is_stuck
    return refused
