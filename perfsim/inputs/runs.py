"""Tables of measured runs: the schema of scenarios/validation/runs.csv, which people also write for their own runs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from perfsim.calibration.runs import MeasuredRun
from perfsim.core.hardware import Gpu
from perfsim.core.software import Software
from perfsim.errors import InputError, PerfsimError, UnknownNameError
from perfsim.inputs.gpu import GpuSpec
from perfsim.inputs.power_limit import limit_fault, with_power_limit
from perfsim.inputs.run_models import RunModel, read_gpus, read_models
from perfsim.inputs.run_records import impossible, plan_of, system_of, workload_of
from perfsim.inputs.run_row import COLUMNS, MEASURED, REQUIRED, RunRow, run_row
from perfsim.inputs.run_software import software_of
from perfsim.inputs.run_unstated import completed
from perfsim.inputs.tables import Complaints, read_table
from perfsim.units import GIGA

if TYPE_CHECKING:
    from perfsim.inputs.catalogue import Catalogue


def read_runs(paths: Sequence[Path], catalogue: "Catalogue") -> list[MeasuredRun]:
    """The runs of these tables, in their order; a run_id names one run of all of them.

    A run_models.csv or missing_gpus.csv in a table's folder defines models (which then count before the specs') and
    cards that the specs lack.
    Raises: InputError with the problems of every table, up to 50 of each.
    """
    runs: list[MeasuredRun] = []
    complaints: list[str] = []
    seen: dict[str, str] = {}
    for path in paths:
        try:
            runs += _Table(path, catalogue).runs(seen)
        except PerfsimError as error:
            complaints.append(str(error))
    if complaints:
        raise InputError("\n".join(complaints))
    return runs


class _Table:
    """One table with what its rows refer to; a card, a model or a stack is looked up once."""

    def __init__(self, path: Path, catalogue: "Catalogue") -> None:
        self._path, self._catalogue = path, catalogue
        models, gpus = path.parent / "run_models.csv", path.parent / "missing_gpus.csv"
        self._own_models = read_models(models) if models.is_file() else {}
        self._own_gpus = read_gpus(gpus, catalogue.names("gpus")) if gpus.is_file() else {}
        self._models: dict[str, RunModel] = {}
        self._gpus: dict[str, tuple[Gpu, GpuSpec]] = {}
        self._entries = [catalogue.software(key) for key in catalogue.names("software")]
        self._software: dict[tuple[str, ...], tuple[Software, str]] = {}

    def runs(self, seen: dict[str, str]) -> list[MeasuredRun]:
        complaints = Complaints(self._path)
        table = read_table(self._path, COLUMNS, REQUIRED)
        if table and not any(name in table[0][1] for name in (*MEASURED, "outcome")):
            complaints.add(1, f"no column of measurements: {', '.join(MEASURED)}", "add one, or outcome with oom")
            complaints.stop()
        rows = []
        for line, cells in table:
            row = run_row(line, completed(cells), complaints)
            if row and row.run_id in seen:
                complaints.add(line, f"run_id: {row.run_id} stands in {seen[row.run_id]} too", "give each run its own")
            elif row:
                seen[row.run_id] = f"{self._path}:{line}"
                self._look_up(row, complaints)
                rows.append(row)
        if not table:
            complaints.add(1, "holds no runs", "write a row for each run")
        complaints.stop()
        return [self._run(row) for row in rows]

    def _look_up(self, row: RunRow, complaints: Complaints) -> None:
        """Find the row's card and model, or complain."""
        for column, name, load in (("gpu", row.gpu, self._gpu), ("model", row.model, self._model)):
            try:
                load(name)
            except UnknownNameError as error:
                beside = "missing_gpus.csv" if column == "gpu" else "run_models.csv"
                complaints.add(row.line, f"{column}: {error}", f"or define it in {beside} beside the table")

    def _gpu(self, name: str) -> tuple[Gpu, GpuSpec]:
        if name not in self._gpus:
            self._gpus[name] = self._load_gpu(name)
        return self._gpus[name]

    def _load_gpu(self, name: str) -> tuple[Gpu, GpuSpec]:
        if name in self._own_gpus:
            spec = self._own_gpus[name]
            return self._catalogue.gpu_of(name, spec), spec
        gpu = self._catalogue.gpu(name)
        return gpu, self._catalogue.gpu_spec(gpu.key)

    def _model(self, name: str) -> RunModel:
        if name not in self._models:
            own = self._own_models.get(name)
            self._models[name] = own or RunModel(self._catalogue.model(self._catalogue.find("models", name)))
        return self._models[name]

    def _stack(self, row: RunRow) -> tuple[Software, str]:
        key = (
            row.software, row.stack, row.fusion, row.attention, row.precision, row.optimizer, row.task, row.model,
            row.extras,
        )  # fmt: skip
        if key not in self._software:
            self._software[key] = software_of(row, self._entries)
        return self._software[key]

    def _run(self, row: RunRow) -> MeasuredRun:
        gpu, card = self._gpu(row.gpu)
        is_ok = row.outcome == "ok"
        facts = MeasuredRun(
            run_id=row.run_id,
            source=row.source or self._path.name,
            role=row.role,
            quality=row.quality,
            gpu_key=gpu.key,
            model_key=row.model,
            stack=row.stack,
            software_text=row.software,
            measured_step_seconds=row.step_time_s if is_ok else 0.0,
            measured_peak_memory_bytes=row.peak_memory_gb * GIGA,
            memory_kind=(row.memory_kind or "unknown") if row.peak_memory_gb else "",
            outcome=row.outcome,
        )
        return _with_records(facts, row, gpu, card, self._model(row.model), *self._stack(row), self._catalogue)


def _with_records(
    facts: MeasuredRun,
    row: RunRow,
    gpu: Gpu,
    card: GpuSpec,
    model: RunModel,
    software: Software,
    note: str,
    catalogue: "Catalogue",
) -> MeasuredRun:
    """The run with what replays it, or with the problem that prevents it."""
    assumptions: list[str] = []
    problem = impossible(row)
    if not problem and model.head == "replaced_token" and row.task == "pretrain":
        problem = "a second network is trained beside the model"
    if problem:
        return replace(facts, problem=problem)
    system = system_of(row, gpu.key, gpu, card, catalogue.collectives, assumptions)
    if system is None:
        return replace(facts, problem=f"the card has no NVLink, but fabric is {row.fabric}")
    if watts := row.whole("power_limit_w"):
        control = catalogue.calibration().control
        if fault := limit_fault(gpu, watts, control):
            return replace(facts, problem=f"power_limit_w: {fault[0]}")
        system = with_power_limit(system, watts, control)
    return replace(
        facts,
        system=system,
        plan=plan_of(row, software.framework, model.model.layers + model.model.encoder_layers, assumptions),
        workload=workload_of(row, model, software.framework, assumptions),
        software=software,
        software_note=note,
        assumptions=tuple(assumptions),
    )
