"""One plan, part by part: does it fit, how long, what for, and in which words each part is told."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from perfsim.core.plan import Problem
from perfsim.formulas.fits import SURE_CHANCE
from perfsim.report.case import Case
from perfsim.report.columns import plan_row, price_text
from perfsim.report.intervals import interval_lines, record_of
from perfsim.report.job import circuits_text, job_table, machine_text
from perfsim.report.ownership import mean_watts, ownership_line, ownership_record
from perfsim.report.text import cards_text, hours_text, memory_text, money_text, plan_text, workload_text
from perfsim.report.words import BOUNDS, as_run, part_name, part_words
from perfsim.units import (
    GIB,
    MILLI,
    count_text,
    number_text,
    percent_text,
    printable,
    seconds_text,
    usd_text,
    watts_text,
)

BAR = 24


def breakdown(case: Case, explain: bool = False) -> Iterator[RenderableType]:
    """The lines of an estimate: verdict, memory parts, time parts with what bounds each, and the basis."""
    yield from (Text(line, style="bold" if i == 0 else "") for i, line in enumerate(verdict(case)))
    yield from case_intervals(case)
    yield Text("")
    yield _parts_table(case, "memory of the fullest GPU", "GiB", case.estimate.memory.parts(), GIB, explain)
    yield Text("")
    yield _parts_table(case, "one step", "ms", case.estimate.time.parts(), MILLI, explain)
    if explain:
        yield Text("")
        yield _operations_table(case)
        yield from _job_lines(case)
    yield Text("")
    yield from (Text(line, style="dim") for line in _basis(case))


def case_record(case: Case) -> dict[str, Any]:
    """The estimate as one flat record, as `perfsim sweep --json` has them, with `problems` in words."""
    record = plan_row(case.workload, case.system, case.plan, case.estimate, case.site)
    record |= record_of(case.intervals) if case.intervals else {}
    if record["job_usd"] is None:
        record |= dict.fromkeys(("job_usd_low", "job_usd_high"))
    return record | {
        "software": case.software.key,
        "precision": case.workload.precision.key,
        "problems": [problem.text for problem in case.problems],
        "ownership": ownership_record(case.system, int(case.plan.gpus), mean_watts(case.estimate), case.site),
        "operations": {
            name: {"forward_seconds": float(forward), "backward_seconds": float(backward)}
            for name, (forward, backward) in case.estimate.operations.items()
        },
    }


def verdict(case: Case) -> Iterator[str]:
    """Whether the plan fits and what it takes, or why it cannot run; the job, its rates and the power."""
    estimate = case.estimate
    row = plan_row(case.workload, case.system, case.plan, estimate, case.site)
    what = f"{cards_text(row)}, {plan_text(row)}"
    for problem in case.problems:
        needs = {Problem.MEMORY: f": needs {memory_text(row)} a GPU", Problem.SOCKET: f": {circuits_text(row)}"}
        need = needs.get(problem, "")
        yield f"Cannot run: {what}: {problem.text}{need}; {problem.remedy}"
    if not case.problems:
        step = f"{seconds_text(row['step_seconds'])} a step, {number_text(row['samples_per_s'])} samples/s"
        chance = row["fit_probability"]
        fits = "Fits" if chance >= SURE_CHANCE else f"May not fit (chance {percent_text(chance)})"
        yield f"{fits}: {what}: {memory_text(row)} a GPU, {step}"
        if row["host_memory_bytes"]:
            yield f"{number_text(row['host_memory_bytes'] / GIB)} GiB of host memory a GPU"
    yield workload_text(case.workload)
    if not case.problems:
        rates = f"MFU {percent_text(row['mfu'])}, HFU {percent_text(row['hfu'])}"
        if float(case.workload.steps) > 1:
            rates = f"{_job_text(row)}; {rates}"
        yield rates
        yield power_text(row)


def case_intervals(case: Case) -> Iterator[RenderableType]:
    """The figures between the ends of their intervals, of a plan that can run."""
    if case.intervals and not case.problems:
        yield Text("")
        row = plan_row(case.workload, case.system, case.plan, case.estimate, case.site)
        yield from interval_lines(row, case.intervals, has_job=float(case.workload.steps) > 1)


def power_text(row: Mapping[str, Any]) -> str:
    """What a board draws and how fast its power limit lets it run.

    >>> row = {"watts_per_gpu": 682.0, "clock_ratio": 0.86, "power_limit_watts": 700.0}
    >>> power_text(row), power_text(row | {"clock_ratio": 1.0})
    ('682 W a GPU, clock 0.86 of full under 700 W', '682 W a GPU, full clock under 700 W')
    """
    clock = f"clock {row['clock_ratio']:.2f} of full" if row["clock_ratio"] < 0.995 else "full clock"
    return f"{watts_text(row['watts_per_gpu'])} a GPU, {clock} under {watts_text(row['power_limit_watts'])}"


def _job_text(row: Mapping[str, Any]) -> str:
    return f"the job: {hours_text(row['job_hours'])}, {money_text(row['job_usd'])}, {number_text(row['job_kwh'])} kWh"


def _job_lines(case: Case) -> Iterator[RenderableType]:
    """What the job's time is made of, where its length is known, and what a machine asks of its room."""
    if case.problems:
        return
    row = plan_row(case.workload, case.system, case.plan, case.estimate, case.site)
    yield Text("")
    if float(case.workload.steps) > 1:
        yield job_table(row, float(case.workload.steps), case.site)
        yield Text("")
    yield Text(machine_text(row), overflow="fold")


def _parts_table(case: Case, title: str, unit: str, parts: Mapping[str, Any], scale: float, explain: bool) -> Table:
    """The parts that are not zero, with bars; with `explain` what each is made of."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(title, no_wrap=True)
    table.add_column(unit, justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("made of" if explain else "", no_wrap=not explain)
    is_time = unit == "ms"
    if is_time:
        table.add_column("bound by", no_wrap=True)
    total = sum(float(part) for part in parts.values())
    for name, value in parts.items():
        part = float(value)
        if part <= 0 or part < 5e-5 * total:
            continue
        last = (
            part_words(name, as_run(case.workload, case.software), case.plan)
            if explain
            else "#" * max(1, round(BAR * part / total))
        )
        cells = [part_name(name), number_text(part / scale), percent_text(part / total), last]
        table.add_row(*cells, *([_bound(case, name)] if is_time else []))
    table.add_row(Text("total", style="bold"), number_text(total / scale), "", "", *([""] if is_time else []))
    return table


def _bound(case: Case, part: str) -> str:
    """What bounds a part of the step; for forward and backward what most of a layer's time is bound by."""
    if part in BOUNDS:
        return BOUNDS[part]
    side = 0 if part == "forward_seconds" else 1
    seconds = {"compute": 0.0, "memory": 0.0}
    for name, times in case.estimate.operations.items():
        seconds[case.operation_bounds.get(name, "memory")] += float(times[side])
    total = sum(seconds.values())
    if not total:
        return "compute"
    most = max(seconds, key=lambda bound: seconds[bound])
    return f"{most} {percent_text(seconds[most] / total)}"


def _operations_table(case: Case) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    what = "unit of a kind" if case.workload.model.nets else "layer"
    table.add_column(f"one {what}, one micro-batch", no_wrap=True)
    for header in ("forward ms", "backward ms"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("bound by", no_wrap=True)
    for name, (forward, backward) in case.estimate.operations.items():
        if float(forward) + float(backward) > 0:
            bound = case.operation_bounds.get(name, "")
            table.add_row(Text(printable(name)), *(number_text(float(s) / MILLI) for s in (forward, backward)), bound)
    return table


def _basis(case: Case) -> Iterator[str]:
    gpu = case.system.gpu
    yield (
        f"basis: {printable(gpu.name)} {count_text(float(gpu.multiprocessors))} multiprocessors, efficiency"
        f" {printable(gpu.calibration.basis)}; {printable(case.software.name)}; system {printable(case.system.name)}"
    )
    price = printable(price_text(case.system, int(case.plan.gpus), case.site)) or "none known"
    yield f"price: {price}; electricity {usd_text(case.site.usd_per_kwh)}/kWh, PUE {case.site.pue:g}"
    if bought := ownership_line(case.system, int(case.plan.gpus), mean_watts(case.estimate), case.site):
        yield bought
