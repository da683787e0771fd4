"""How well the shared constants of a step carry over: fitted on one collection of single-GPU steps, tried on the rest.

Run: python benchmarks/step_constants.py [RUNS.csv] [--quick]

Fits seven numbers that all cards share on the steps of lambdal/deeplearning-benchmark, and prints the error in sample,
with one card, one workload or one period of software left out, and on the collections that the fit never saw. A period
left out takes the memory efficiency of the nearest.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import perfsim as ps
from perfsim.calibration.fit import Parameter, Values, fit
from perfsim.calibration.runs import MeasuredRun
from perfsim.calibration.validate import replay
from perfsim.core.calibration import Calibration
from perfsim.inputs.runs import read_runs

PERIODS = {"1.4": ("pytorch-1.4",), "1.7": ("pytorch-1.7",), "1.11": ("pytorch-1.11", "pytorch-2-")}
NEAREST = {"1.4": "1.7", "1.7": "1.11", "1.11": "1.7"}  # whose memory efficiency a period without rows takes
PARAMETERS = (
    Parameter("gemm_efficiency", 0.8, 0.4, 1.2),
    Parameter("memory_efficiency_1.4", 0.60, 0.3, 1.5),
    Parameter("memory_efficiency_1.7", 0.85, 0.3, 1.5),
    Parameter("memory_efficiency_1.11", 0.92, 0.3, 1.5),
    Parameter("column_seconds_per_row", 20e-9, 1e-9, 60e-9),
    Parameter("misaligned_flops_per_clock", 446.0, 100.0, 2000.0),
    Parameter("kernel_seconds", 4.5e-6, 0.5e-6, 15e-6),
)


def period(run: MeasuredRun) -> str:
    """The key of PERIODS that the run's software belongs to, or ""."""
    key = run.software.key if run.software else ""
    return next((name for name, starts in PERIODS.items() if key.startswith(starts)), "")


def predicted(runs: Sequence[MeasuredRun], values: Values, calibration: Calibration) -> np.ndarray:
    """Seconds of each run with these numbers in place of the shipped ones."""
    shared = replace(
        calibration,
        **{p.name: values[p.name] for p in PARAMETERS if hasattr(calibration, p.name)},  # type: ignore[arg-type]
    )
    changed = []
    for run in runs:
        card = replace(run.system.gpu.calibration, kernel_seconds=values["kernel_seconds"])
        gpu = replace(run.system.gpu, calibration=card)
        efficiency = values.get(f"memory_efficiency_{period(run)}", run.software.memory_efficiency)
        software = replace(run.software, gemm_efficiency=values["gemm_efficiency"], memory_efficiency=efficiency)
        changed.append(replace(run, system=replace(run.system, gpu=gpu), software=software))
    return np.array([one.predicted_step_seconds for one in replay(changed, shared)])


def cell_weights(runs: Sequence[MeasuredRun]) -> np.ndarray:
    """Each (card, collection, precision) weighs the same, however often it was measured."""
    cells = [(run.gpu_key, run.collection, run.workload.precision.key) for run in runs]
    return np.array([1.0 / np.sqrt(cells.count(cell)) for cell in cells])


def fitted(runs: Sequence[MeasuredRun], calibration: Calibration, start: Values | None = None) -> dict[str, float]:
    """The seven numbers that these runs give; `start` says where to begin."""
    known = {f"memory_efficiency_{period(run)}" for run in runs}
    begin = [
        replace(p, start=start[p.name]) if start else p
        for p in PARAMETERS
        if p.name in known or not p.name.startswith("memory_efficiency_")
    ]
    measured = np.array([run.measured_step_seconds for run in runs])
    found = fit(begin, lambda values: predicted(runs, values, calibration), measured, cell_weights(runs))
    if start is None:
        for name, value in found.values.items():
            bound = "  at its bound" if name in found.at_bound else ""
            print(f"  {name:28s} {value:10.4g} +- {100 * found.errors[name] / value:.0f} %{bound}")
        print(
            "  correlated:", {f"{a}, {b}": round(c, 2) for (a, b), c in found.correlations.items()} or "none above 0.9"
        )
    missing = {
        name: f"memory_efficiency_{NEAREST[name]}" for name in PERIODS if f"memory_efficiency_{name}" not in known
    }
    return found.values | {f"memory_efficiency_{name}": found.values[other] for name, other in missing.items()}


def left_out(
    runs: Sequence[MeasuredRun], calibration: Calibration, start: Values, key: Callable[[MeasuredRun], str]
) -> np.ndarray:
    """Errors with each group of runs predicted from the others."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, run in enumerate(runs):
        groups[key(run)].append(i)
    errors = np.zeros(len(runs))
    for members in groups.values():
        others = [run for i, run in enumerate(runs) if i not in set(members)]
        mine = [runs[i] for i in members]
        values = fitted(others, calibration, start)
        errors[members] = predicted(mine, values, calibration) / [run.measured_step_seconds for run in mine] - 1.0
    return errors


def say(what: str, errors: np.ndarray, runs: Sequence[MeasuredRun]) -> None:
    """One line: MAPE, median, 90th percentile and bias over cells of equal weight."""
    weights = cell_weights(runs) ** 2
    size = np.abs(errors)
    mean, bias = np.average(size, weights=weights), np.average(errors, weights=weights)
    print(
        f"{what:44s} {len(runs):4d} rows  MAPE {100 * mean:5.1f}  median {100 * np.median(size):5.1f}"
        f"  p90 {100 * np.quantile(size, 0.9):5.1f}  bias {100 * bias:+5.1f}",
        flush=True,
    )


def main() -> None:
    """Fit, leave out, carry over."""
    arguments = [a for a in sys.argv[1:] if not a.startswith("--")]
    known = ps.catalogue()
    path = Path(arguments[0]) if arguments else Path("scenarios/validation/runs.csv")
    calibration = known.calibration()
    runs = [
        run
        for run in read_runs([path], known)
        if run.quality in "ab" and run.plan is not None and run.measured_step_seconds > 0.0 and int(run.plan.gpus) == 1
    ]
    runs = [one.run for one in replay(runs, calibration) if not one.problem]
    mine = [run for run in runs if run.collection.startswith("lambda-")]
    print(f"fitted on {len(mine)} steps of lambdal/deeplearning-benchmark:")
    values = fitted(mine, calibration)
    measured = np.array([run.measured_step_seconds for run in mine])
    say("in sample", predicted(mine, values, calibration) / measured - 1.0, mine)
    if "--quick" not in sys.argv:
        for what, key in (
            ("one card left out", lambda run: run.gpu_key),
            ("one workload left out", lambda run: f"{run.collection} {run.workload.precision.key}"),
            ("one period of software left out", period),
        ):
            say(what, left_out(mine, calibration, values, key), mine)
    others: dict[str, list[MeasuredRun]] = defaultdict(list)
    for run in runs:
        if not run.collection.startswith("lambda-"):
            others[run.collection].append(run)
    for collection, rows in sorted(others.items(), key=lambda item: -len(item[1])):
        errors = predicted(rows, values, calibration) / [run.measured_step_seconds for run in rows] - 1.0
        say(collection, errors, rows)


if __name__ == "__main__":
    main()
