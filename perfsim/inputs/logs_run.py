"""A measured run from what its logs tell and a scenario that says what ran, and its row in a table of runs."""

import csv
import io
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from perfsim.calibration.readings import Reading
from perfsim.calibration.runs import MeasuredRun
from perfsim.calibration.validate import replay_one
from perfsim.core.hardware import System
from perfsim.core.plan import ContextExchange, Offload, Plan, Recompute, Schedule
from perfsim.core.software import Software
from perfsim.core.workload import Head, Workload
from perfsim.errors import InputError
from perfsim.inputs.catalogue import Catalogue
from perfsim.inputs.files import Document, problem, raise_problems, read_toml
from perfsim.inputs.misfits import Found
from perfsim.inputs.run_records import CHUNKS
from perfsim.inputs.run_row import COLUMNS
from perfsim.inputs.runs import runs_of
from perfsim.inputs.scenario import Scenario
from perfsim.inputs.tables import read_table
from perfsim.search.space import plans
from perfsim.units import GIGA, printable

RATE_TOLERANCE = 0.03  # between a step's seconds and those that tokens a second mean
SAME_REPLAY = 0.02  # a row that predicts another step or memory than the scenario's, by this share, is not its row
_SIMPLEST = {  # of choices that the scenario leaves open, as `perfsim estimate` has them
    "tensor_parallel": 1,
    "pipeline_parallel": 1,
    "context_parallel": 1,
    "expert_parallel": 1,
    "virtual_stages": 1,
    "zero_stage": 0,
    "hybrid_shard": 0,
    "recompute": int(Recompute.NONE),
    "recompute_layers": 0,
    "offload": int(Offload.NONE),
    "schedule": int(Schedule.ONE_F_ONE_B),
    "placement": 0,
    "context_exchange": int(ContextExchange.RING),
}
_SHARDING = {0: "none", 1: "zero1", 2: "zero2", 3: "zero3"}
_OFFLOADS = {int(Offload.OPTIMIZER): "optimizer", int(Offload.PARAMETERS): "params"}


@dataclass(frozen=True)
class Stated:
    """What a scenario with one plan says ran."""

    workload: Workload
    system: System
    plan: Plan
    software: Software


def stated_run(scenario: Scenario) -> Stated:
    """The one system and the one plan of a scenario; what it leaves open is the simplest, as in `perfsim estimate`.

    Raises: InputError that lists every key of [search] with several values, and what is missing.
    """
    document, space, workload = read_toml(scenario.path), scenario.space, scenario.workload
    found: list[Found] = []
    for key, value in document.data["search"].items():
        if isinstance(value, list) and len(value) > 1:
            found.append((("search", key), f"names {len(value)} values, but a run has one", "keep the one that ran"))
    cards = {system.gpu.key for system in scenario.systems}
    if len(cards) > 1 and not found:
        key = "gpus" if "gpus" in document.data["search"] else "systems"
        found.append((("search", key), f"means {len(cards)} cards, but a run has one", "name the card that ran"))
    if not space.micro_batch_size:
        found.append((("search",), "micro_batch_size is missing", "add the sequences that one GPU took at a time"))
    raise_problems(document, found)
    values: dict[str, Any] = {name: next(iter(getattr(space, name)), usual) for name, usual in _SIMPLEST.items()}
    values |= {"micro_batch_size": space.micro_batch_size[0], "counts": space.counts[0]}
    plan = _plain(plans(values, scenario.software))
    _check_counts(document, workload, plan, space.counts[0])
    return Stated(workload, scenario.systems[0], plan, scenario.software)


def measured_run(reading: Reading, stated: Stated, path: Path, name: str = "") -> MeasuredRun:
    """The run that was logged, in the records that replay it; `path` is the scenario's, whose name is the run's.

    A log of tokens a second alone tells the step by the scenario's batch.
    Raises: InputError where log and scenario contradict each other, or nothing is measured.
    """
    workload, plan = stated.workload, stated.plan
    _compare(reading, stated, path)
    seconds = reading.step_seconds
    if reading.tokens_per_s_per_gpu:
        implied = float(workload.tokens_per_step) / (reading.tokens_per_s_per_gpu * int(plan.gpus))
        if seconds and abs(implied / seconds - 1.0) > RATE_TOLERANCE:
            what = (
                f"{reading.source}: its {reading.tokens_per_s_per_gpu:,.0f} tokens/s a GPU mean {implied:.4g} s for"
                f" {workload.global_batch_size:,} sequences of {workload.seq_len:,}, but a step takes {seconds:.4g} s"
            )
            raise InputError(problem(path, None, what, "correct global_batch_size, seq_len or counts"))
        seconds = seconds or implied
    if not seconds and not reading.peak_memory_bytes:
        what = f"{reading.source} tells neither a step's time nor memory"
        raise InputError(problem(path, None, what, "add a log that does"))
    return MeasuredRun(
        run_id=_harmless(name or path.stem),
        source=_harmless(reading.source),
        role="dev",
        quality="b" if reading.is_rough else "a",
        gpu_key=stated.system.gpu.key,
        model_key=workload.model.key,
        stack=reading.software_text,
        software_text=stated.software.key,
        measured_step_seconds=seconds,
        measured_peak_memory_bytes=reading.peak_memory_bytes,
        memory_kind=reading.memory_kind,
        outcome="ok",
        workload=workload,
        system=stated.system,
        plan=plan,
        software=stated.software,
    )


def runs_table(target: Path, run: MeasuredRun, stated: Stated, reading: Reading, catalogue: Catalogue) -> str:
    """The text of the table `target` with the run's row added to those it has; a run of the same name is replaced.

    Raises: InputError for a table that cannot be read, and for a run that a row cannot say.
    """
    row = _row(run, stated, reading, catalogue)
    _check_row(target, row, run, catalogue)
    rows: list[dict[str, str]] = []
    header = list(row)
    if target.exists():
        rows = [cells for _, cells in read_table(target, COLUMNS, ())]
        header = [name for name in COLUMNS if name in row or any(name in cells for cells in rows)]
    kept = [cells for cells in rows if cells.get("run_id") != run.run_id]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, header, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows([*kept, row])
    return buffer.getvalue()


def _harmless(text: str) -> str:
    """A name as a cell that no spreadsheet takes for a formula."""
    plain = printable(text)[:1000].strip()
    return f"./{plain}" if plain.startswith(("=", "+", "-", "@")) else plain


def _check_counts(document: Document, workload: Workload, plan: Plan, count: int) -> None:
    """Refuse degrees that do not multiply to the GPUs, or micro-batches that do not make up the batch."""
    found: list[Found] = []
    if plan.gpus != count:
        found.append((("search", "counts"), f"the degrees multiply to {plan.gpus}, not {count}", "correct one of them"))
    sequences, batch = int(plan.micro_batch_size) * int(plan.data_parallel), int(workload.global_batch_size)
    if batch % sequences:
        what = f"{batch} sequences are not made up of {plan.data_parallel} ranks' micro-batches of"
        found.append((("workload", "global_batch_size"), f"{what} {plan.micro_batch_size}", "correct one of them"))
    raise_problems(document, found)


def _compare(reading: Reading, stated: Stated, path: Path) -> None:
    """Refuse a scenario that says another batch, length or degree than the log."""
    plan, workload = stated.plan, stated.workload
    said: dict[str, Any] = {f.name: getattr(plan, f.name) for f in fields(plan)}
    said |= {"gpus": plan.gpus, "seq_len": workload.seq_len}
    keys = {"gpus": "counts"}
    lines = [
        problem(path, None, f"{keys.get(name, name)} is {said[name]}, but {value} in {reading.source}", "correct it")
        for name, value in reading.stated.items()
        if name in said and said[name] != value
    ]
    batch = float(workload.global_batch_size)
    if reading.global_batch_size and abs(reading.global_batch_size / batch - 1.0) > reading.batch_tolerance + 1e-9:
        about = "about " if reading.batch_tolerance else ""
        what = f"global_batch_size is {batch:g}, but {about}{reading.global_batch_size:.4g} in {reading.source}"
        lines.append(problem(path, None, what, "correct it"))
    if lines:
        raise InputError("\n".join(lines))


def _row(run: MeasuredRun, stated: Stated, reading: Reading, catalogue: Catalogue) -> dict[str, str]:
    """The run's cells."""
    workload, plan, system = stated.workload, stated.plan, stated.system
    gpus = int(plan.gpus)
    ranks = int(plan.micro_batch_size) * int(plan.data_parallel)
    adapter = {"lora_rank": workload.lora_rank} if workload.is_adapter else {}
    shards = plan.hybrid_shard and plan.hybrid_shard == system.gpus_per_node
    keys, extras = _precision_and_extras(stated)
    cells: dict[str, Any] = {
        "run_id": run.run_id,
        "source": run.source,
        "system": system.key if system.key in catalogue.names("systems") else "",
        "gpu": run.gpu_key,
        "n_gpus": gpus,
        "gpus_per_node": system.gpus_per_node,
        "fabric": "single" if gpus == 1 else "unknown",
        "model": run.model_key,
        "task": str(workload.task),
        "seq_len": workload.seq_len,
        "micro_batch": plan.micro_batch_size,
        "grad_accum": int(workload.global_batch_size) // ranks,
        "global_batch": workload.global_batch_size,
        "dp": plan.data_parallel,
        "tp": plan.tensor_parallel,
        "pp": plan.pipeline_parallel,
        "vpp": plan.virtual_stages,
        "cp": plan.context_parallel,
        "ep": plan.expert_parallel,
        "sharding": "hsdp" if shards else _SHARDING[int(plan.zero_stage)],
        "sequence_parallel": "y" if plan.sequence_parallel else "n",
        "recompute": Recompute(int(plan.recompute)).name.lower(),
        "offload": _OFFLOADS.get(int(plan.offload), "none"),
        **keys,
        **adapter,
        "optimizer": workload.optimizer,
        "extras": ";".join(f"{key}={value}" for key, value in extras.items()),
        "stack": run.stack,
        "software": run.software_text,
        "step_time_s": f"{run.measured_step_seconds:.6g}" if run.measured_step_seconds else "",
        "peak_memory_gb": f"{run.measured_peak_memory_bytes / GIGA:.6g}" if run.measured_peak_memory_bytes else "",
        "memory_kind": run.memory_kind,
        "quality": run.quality,
        "notes": f"{reading.watts_per_gpu:.0f} W a GPU" if reading.watts_per_gpu else "",
    }
    return {name: str(cells[name]) for name in COLUMNS if name in cells}


def _precision_and_extras(stated: Stated) -> tuple[dict[str, str], dict[str, Any]]:
    """The columns of number formats, and what the column `extras` says besides."""
    workload, plan, gpu = stated.workload, stated.plan, stated.system.gpu
    key = workload.precision.key
    extras: dict[str, Any] = {"dropout": workload.dropout}
    if key in ("amp-bf16", "bf16-mixed"):
        extras["params"] = "fp32" if key == "amp-bf16" else "bf16"
    said = {
        "decoder_seq": workload.decoder_seq_len,
        "mlm_positions": workload.head_positions if workload.head is Head.LANGUAGE_MODEL else 0,
        "optimizer_in_backward": "y" if workload.optimizer_in_backward else "",
        "chunked_ce": "y" if workload.loss_chunks == CHUNKS else "",
        "double_quant": "y" if workload.task == "qlora" else "",
        "activation_offload": "y" if plan.offload == Offload.ACTIVATIONS else "",
        "cp_comm": "a2a" if plan.context_exchange == ContextExchange.ALL_TO_ALL else "",
        "power_limit_w": round(float(gpu.power_limit_watts)) if gpu.power_limit_watts < gpu.board_limit_watts else 0,
    }
    precision = {"precision": "bf16-mixed" if key == "amp-bf16" else key}
    if workload.task == "qlora":
        precision["base_quant"] = "nf4"
    return precision, extras | {name: value for name, value in said.items() if value}


def _check_row(target: Path, row: dict[str, str], run: MeasuredRun, catalogue: Catalogue) -> None:
    """Refuse a row that does not replay as the run."""
    todo = "leave out the table: the comparison stands without it"
    if run.workload is not None and run.workload.model.nets:
        raise InputError(problem(target, None, "has no columns for models of images", todo))
    (again,), calibration = runs_of(target, [(0, row)], catalogue), catalogue.calibration()
    here, there = replay_one(run, calibration), replay_one(again, calibration)
    if reason := here.problem or there.problem:
        raise InputError(problem(target, None, f"cannot hold the run: {reason}", todo))
    pairs = (
        (there.predicted_step_seconds, here.predicted_step_seconds),
        (there.predicted_peak_memory_bytes, here.predicted_peak_memory_bytes),
    )
    if any(abs(a / b - 1.0) > SAME_REPLAY for a, b in pairs):
        names = ", ".join(_differences(run, again)) or "its software or system"
        raise InputError(problem(target, None, f"has no columns for what the scenario says: {names}", todo))


def _differences(run: MeasuredRun, again: MeasuredRun) -> list[str]:
    """The names of what the two runs train or plan otherwise, the job's length aside."""
    found = []
    for one, other in ((run.workload, again.workload), (run.plan, again.plan)):
        if one is not None and other is not None:
            names = (f.name for f in fields(one) if f.name != "steps")
            found += [name for name in names if getattr(one, name) != getattr(other, name)]
    return found


def _plain(plan: Plan) -> Plan:
    """The plan with plain numbers in place of arrays of one."""
    return replace(plan, **{f.name: np.asarray(getattr(plan, f.name)).item() for f in fields(plan)})
