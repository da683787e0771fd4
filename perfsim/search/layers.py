"""A model's embedding, layers and head as the units that a pipeline's stages share."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.plan import Plan, Recompute, Schedule
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.errors import UnsupportedError
from perfsim.estimate import stage_work
from perfsim.formulas.collectives import send_seconds
from perfsim.formulas.groups import pipeline_group, route
from perfsim.formulas.memory import Held, memory
from perfsim.formulas.pipeline import microbatches_of
from perfsim.formulas.stages import fullest_stage
from perfsim.graphs.holdings import kinds_of_layers, unit_holdings
from perfsim.graphs.stage import kind_seconds, stage_costs
from perfsim.search.partition import Units


def model_units(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration,
    choices: Sequence[Recompute] = (Recompute.NONE,),
) -> Units:  # fmt: skip
    """The units of one plan, each with the recomputations that may be chosen for it.

    Seconds: the estimate's mean layer, in proportion to the kernels of each kind of layer. Bytes: formulas.memory of
    the unit alone, by what it adds; allocations that a stage has once (workspaces, gathered states) are in the base.
    Holds for: stages that hold their layers in one run. A hand-over carries the hidden states of the tokens; behind an
    encoder's last layer its output goes along with them.
    Raises: UnsupportedError for models without layers to share, and ZeRO-3.
    """
    model = workload.model
    if model.nets:
        raise UnsupportedError(f"{model.key}: convolutional models are not cut into stages; share their batch")
    if int(plan.zero_stage) == 3:
        raise UnsupportedError("zero_stage 3 gathers layers that unlike stages do not share; use 0, 1 or 2")
    of_choices = [_unit_costs(workload, system, replace(plan, recompute=c), software, calibration) for c in choices]
    seconds, kept, passing = (np.stack(rows) for rows in zip(*(one[:3] for one in of_choices), strict=True))
    _, _, _, fixed, base = of_choices[0]
    return Units(seconds, fixed, kept, passing, base, _sends(workload, system, plan, len(fixed)))


def _unit_costs(
    workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """(seconds, kept, passing, fixed bytes of every unit, bytes of every stage)."""
    costs = stage_costs(workload, system, plan, software, calibration)
    m = int(microbatches_of(workload, plan))
    work, _, _ = stage_work(workload, system, plan, software, calibration, costs, m)
    mean = float(work.total / fullest_stage(costs.layer_count, plan.pipeline_parallel, plan.virtual_stages))
    shares = np.array(kinds_of_layers(costs)) @ np.array(
        [float(s) for s in kind_seconds(workload, system, plan, software, calibration)]
    )
    embedding, head = float(costs.ends.total - costs.head_seconds), float(costs.head_seconds)
    seconds = np.array([embedding, *(mean * shares / shares.mean()), head])
    alone = replace(plan, pipeline_parallel=1, schedule=Schedule.ONE_F_ONE_B, virtual_stages=1)

    def needed(held: Held) -> float:
        return float(memory(held, held, alone, software, workload, m).total_bytes)

    rows = [_bytes(held, needed) for held in unit_holdings(workload, plan, costs)]
    kept, passing, fixed, base = (np.array(column) for column in zip(*rows, strict=True))
    joined = software.collective_bytes if int(plan.pipeline_parallel) > 1 >= int(alone.gpus) else 0.0
    return seconds, kept, passing, fixed, float(base.max()) + joined


def _bytes(held: Held, needed: Callable[[Held], float]) -> tuple[float, float, float, float]:
    """(kept, passing, fixed, base) bytes of a unit: what each adds to a stage that holds nothing else."""
    lasting = replace(
        held, parameters=np.maximum(held.parameters, 1.0), kept_bytes=0.0, layer_bytes=0.0, passing_bytes=0.0,
        loss_bytes=0.0, unit_parameters=0.0, end_parameters=0.0,
    )  # fmt: skip
    counted = (
        "parameters", "expert_parameters", "trained_parameters", "hidden_parameters", "factors", "embedding_parameters"
    )  # fmt: skip
    twice = replace(lasting, **{name: 2.0 * getattr(lasting, name) for name in counted})
    once = needed(lasting)
    fixed = needed(twice) - once
    kept = needed(replace(lasting, kept_bytes=held.kept_bytes)) - once
    passing = needed(replace(lasting, passing_bytes=held.passing_bytes, loss_bytes=held.loss_bytes)) - once
    return kept, passing, fixed, once - fixed


def _sends(workload: Workload, system: System, plan: Plan, count: int) -> np.ndarray:
    """Seconds of one hand-over behind each unit but the last [s]."""
    model = workload.model
    tokens = np.full(count - 1, float(workload.seq_len))
    if model.encoder_layers:
        tokens[model.encoder_layers + 1 :] += float(workload.decoder_seq_len)
    size = plan.micro_batch_size * tokens / plan.context_parallel / plan.tensor_parallel
    size = size * model.hidden_size * workload.precision.activation_bytes
    return np.asarray(send_seconds(route(system, pipeline_group(plan)), size))
