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
from perfsim.inputs.knobs import knobs
from perfsim.inputs.power_limit import limit_fault, with_power_limit
from perfsim.inputs.run_models import RunModel, read_gpus, read_models
from perfsim.inputs.run_records import impossible, plan_of, system_of, workload_of
from perfsim.inputs.run_row import COLUMNS, MEASURED, REQUIRED, RunRow, run_row
from perfsim.inputs.run_software import software_of
from perfsim.inputs.run_unstated import completed
from perfsim.inputs.system import to_system
from perfsim.inputs.tables import Cells, Complaints, read_table, tables_in
from perfsim.units import GIGA

if TYPE_CHECKING:
    from perfsim.inputs.catalogue import Catalogue


def read_runs(paths: Sequence[Path], catalogue: "Catalogue") -> list[MeasuredRun]:
    """The runs of these tables, or of a folder's runs.csv, in their order; a run_id names one run of all of them.

    A run_models.csv or missing_gpus.csv in a table's folder defines models (which then count before the specs') and
    cards that the specs lack.
    Raises: InputError with the problems of every table, up to 50 of each.
    """
    runs: list[MeasuredRun] = []
    complaints: list[str] = []
    seen: dict[str, str] = {}
    for path in tables_in(paths, ["runs.csv"]):
        try:
            runs += _Table(path, catalogue).runs(seen)
        except PerfsimError as error:
            complaints.append(str(error))
    if complaints:
        raise InputError("\n".join(complaints))
    return runs


def runs_of(
    path: Path, rows: Sequence[tuple[int, Cells]], catalogue: "Catalogue", must_measure: bool = True
) -> list[MeasuredRun]:
    """The runs that these lines and cells are in the table at `path`.

    must_measure: the measurements stand in a run table's own columns, not in others.
    Raises: InputError with what is wrong with them.
    """
    return _Table(path, catalogue, must_measure).runs_of(rows, {})


class _Table:
    """One table with what its rows refer to; a card, a model or a stack is looked up once."""

    def __init__(self, path: Path, catalogue: "Catalogue", must_measure: bool = True) -> None:
        self._path, self._catalogue, self._must_measure = path, catalogue, must_measure
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
        return self.runs_of(table, seen)

    def runs_of(self, table: Sequence[tuple[int, Cells]], seen: dict[str, str]) -> list[MeasuredRun]:
        complaints = Complaints(self._path)
        rows = []
        for line, cells in table:
            row = run_row(line, completed(cells), complaints, self._must_measure)
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
        if row.system:
            self._check_system(row, complaints)

    def _check_system(self, row: RunRow, complaints: Complaints) -> None:
        """Complain about a system that the specs lack, or that cannot be the row's."""
        try:
            system = self._catalogue.system(row.system)
        except UnknownNameError as error:
            complaints.add(row.line, f"system: {error}", "")
            return
        if row.gpu not in self._own_gpus and system.gpu.key != self._catalogue.find("gpus", row.gpu):
            complaints.add(row.line, f"system: {row.system} holds {system.gpu.key}", "correct system or gpu")
        elif row.n_gpus > system.max_gpus:
            complaints.add(row.line, f"system: {row.system} holds at most {system.max_gpus} GPUs", "correct n_gpus")

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
    if row.system:
        system, spec = catalogue.system(row.system), catalogue.system_spec(row.system)
    else:
        built = system_of(row, gpu.key, card, assumptions)
        if built is None:
            return replace(facts, problem=f"the card has no NVLink, but fabric is {row.fabric}")
        spec, system = built, to_system(f"run-{row.run_id}", built, gpu, card, catalogue.collectives)
    if watts := row.whole("power_limit_w"):
        control = catalogue.calibration().control
        if fault := limit_fault(gpu, watts, control):
            return replace(facts, problem=f"power_limit_w: {fault[0]}")
        system = with_power_limit(system, watts, control)
    plan = plan_of(row, software.framework, model.model.layers + model.model.encoder_layers, assumptions)
    workload = workload_of(row, model, software.framework, assumptions)
    return replace(
        facts,
        system=system,
        plan=plan,
        workload=workload,
        software=software,
        knobs=tuple(knobs(workload, gpu, card, spec, software, catalogue, bool(note), row.attention != "unknown")),
        software_note=note,
        assumptions=tuple(assumptions),
    )
