"""What the logs of a run tell, beside what perfsim predicts of it: a table for people and JSON."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from perfsim.calibration.readings import Reading
from perfsim.calibration.runs import MeasuredRun
from perfsim.report.breakdown import verdict
from perfsim.report.case import Case
from perfsim.report.export import json_text
from perfsim.units import GIGA, NO_NUMBER, bytes_text, number_text, percent_text, printable, seconds_text, watts_text


@dataclass(frozen=True)
class _Figure:
    """One line of the table: a figure as measured and predicted, 0 where there is none, and how it is written."""

    name: str
    key: str
    measured: float
    predicted: float
    text: Any

    @property
    def error(self) -> float | None:
        """predicted / measured - 1."""
        return self.predicted / self.measured - 1.0 if self.measured and self.predicted else None


def log_lines(reading: Reading, run: MeasuredRun | None, case: Case | None) -> Iterator[RenderableType]:
    """The logs' figures, of a stated run with the prediction and its error, then what to know of them."""
    source = f"{printable(reading.source)}: {printable(reading.format)}"
    yield Text(f"{source}, {printable(reading.gpu_text)}" if reading.gpu_text else source, style="bold")
    if case:
        yield from (Text(line) for line in verdict(case))
    yield Text("")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for title in ("measured", "predicted", "error") if case else ("measured",):
        table.add_column(title, justify="right")
    for figure in _figures(reading, run, case):
        cells = [figure.text(figure.measured) if figure.measured else NO_NUMBER]
        if case:
            cells += [figure.text(figure.predicted) if figure.predicted else NO_NUMBER, _error_text(figure.error)]
        table.add_row(figure.name, *cells)
    yield table
    yield Text("")
    yield from (Text(line, style="dim") for line in _notes(reading))


def log_json(reading: Reading, run: MeasuredRun | None, case: Case | None) -> str:
    """{"reading": ..., "figures": {name: measured, predicted, error}}; null: not told or not predicted."""
    figures = {
        figure.key: {
            "measured": figure.measured or None,
            "predicted": figure.predicted or None,
            "error": figure.error,
        }
        for figure in _figures(reading, run, case)
    }
    problems = [problem.text for problem in case.problems] if case else []
    record = asdict(reading) | {"missing": list(reading.missing)}
    return json_text({"reading": record, "figures": figures, "problems": problems})


def _figures(reading: Reading, run: MeasuredRun | None, case: Case | None) -> list[_Figure]:
    seconds = run.measured_step_seconds if run else reading.step_seconds
    step = rate = memory = watts = clock = 0.0
    measured_rate = reading.tokens_per_s_per_gpu
    if case:
        found, gpus = case.estimate, float(case.plan.gpus)
        step, rate = float(found.time.total_seconds), float(found.tokens_per_s) / gpus
        watts, clock = float(found.watts_per_gpu), float(found.clock_ratio) * float(case.system.gpu.clock_hz)
        used = found.memory
        kinds = {"allocated": used.allocated_bytes, "reserved": used.reserved_bytes}
        memory = float(kinds.get(reading.memory_kind, used.total_bytes))
        if seconds and not measured_rate:
            measured_rate = float(case.workload.tokens_per_step) / (seconds * gpus)
    kind = f", {reading.memory_kind}" if reading.memory_kind else ""
    return [
        _Figure("step", "step_seconds", seconds, step, seconds_text),
        _Figure("tokens/s a GPU", "tokens_per_s_per_gpu", measured_rate, rate, number_text),
        _Figure(f"peak memory{kind}", "peak_memory_bytes", reading.peak_memory_bytes, memory, bytes_text),
        _Figure("power of a GPU", "watts_per_gpu", reading.watts_per_gpu, watts, watts_text),
        _Figure("clock", "clock_hz", reading.clock_hz, clock, lambda hz: f"{hz / GIGA:.2f} GHz"),
    ]


def _notes(reading: Reading) -> Iterator[str]:
    """How the step's time was had, what else was told, and what was not."""
    if reading.step_seconds:
        spread = f"{seconds_text(reading.shortest_seconds)} to {seconds_text(reading.longest_seconds)}"
        warm = f" after {reading.warm_up_steps:,} of warm-up" if reading.warm_up_steps else ""
        is_spread = reading.shortest_seconds < reading.longest_seconds
        tenths = f"; 10th to 90th percentile {spread}" if is_spread else ""
        yield f"step: median of {reading.steps:,} steps{warm}{tenths}"
    if reading.global_batch_size:
        about = "about " if reading.batch_tolerance else ""
        yield f"global batch: {about}{number_text(reading.global_batch_size)}"
    if reading.busy_share:
        yield f"GPU busy: {percent_text(reading.busy_share)}"
    yield from (printable(remark) for remark in reading.remarks)
    if reading.missing:
        yield f"not told: {', '.join(reading.missing)}"


def _error_text(error: float | None) -> str:
    return NO_NUMBER if error is None else f"{100 * error:+.1f} %"
