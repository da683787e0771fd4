"""Measured runs beside their predictions; `accuracy` says how far apart they are.

Runs that differ only in numbers are stacked and costed in one call of the estimate: a thousand rows take seconds.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from perfsim.calibration.runs import NO_RECOMPUTATION, MeasuredRun
from perfsim.core.arrays import stack
from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.plan import Plan, Problem, Recompute
from perfsim.core.results import Estimate
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.estimate import estimate as perfsim_estimate
from perfsim.formulas.fits import HARDLY_CHANCE, SURE_CHANCE, fit_probability
from perfsim.formulas.roofline import peak_flops_per_s
from perfsim.search.uncertainty import Range

Report = Callable[[int, int], None]
ROWS_AT_ONCE = 4096
TOLERATED = Problem.MEMORY | Problem.LAYERS  # memory is a prediction; uneven chunks are costed as even ones
UNEVEN_STAGES = "layers spread evenly over the pipeline's chunks"
_STACKED = ("seq_len", "global_batch_size", "head_positions", "decoder_seq_len")


class Estimator(Protocol):
    """What predicts: perfsim.estimate.estimate, or something to compare it with."""

    def __call__(  # noqa: D102 (the class says it)
        self, workload: Workload, system: System, plan: Plan, software: Software, calibration: Calibration
    ) -> Estimate: ...


@dataclass(frozen=True)
class Replayed:
    """A run and its prediction; the numbers are 0 where `problem` says why there is none.

    baseline_step_seconds: the step at the mean utilisation of the other runs of the same source and precision; 0 for
    a run without such company.
    low_..., high_...: ends of the interval that holds 90 % of what may be measured; 0 where there is none.
    left_out: the step with the run's "source", "gpu" or "software" left out of every fit.
    """

    run: MeasuredRun
    predicted_step_seconds: float = 0.0
    predicted_peak_memory_bytes: float = 0.0
    fit_probability: float = 1.0
    hardware_flops: float = 0.0  # of one step, all GPUs
    peak_flops_per_s: float = 0.0  # of all GPUs
    baseline_step_seconds: float = 0.0
    assumptions: tuple[str, ...] = ()
    problem: str = ""
    low_step_seconds: float = 0.0
    high_step_seconds: float = 0.0
    low_peak_memory_bytes: float = 0.0
    high_peak_memory_bytes: float = 0.0
    left_out: Mapping[str, Range] = field(default_factory=dict)

    @property
    def time_error(self) -> float | None:
        """predicted / measured - 1 of the step; None without a measurement or prediction."""
        return _error(self.predicted_step_seconds, self.run.measured_step_seconds)

    @property
    def baseline_error(self) -> float | None:
        """The same for the constant-utilisation baseline."""
        return _error(self.baseline_step_seconds, self.run.measured_step_seconds)

    @property
    def memory_error(self) -> float | None:
        """predicted / measured - 1 of the peak memory."""
        return _error(self.predicted_peak_memory_bytes, self.run.measured_peak_memory_bytes)

    def _repr_html_(self) -> str:
        import perfsim

        return perfsim.html(self)

    def left_out_error(self, kind: str) -> float | None:
        """The same of the step with that kind left out of every fit: "source", "gpu" or "software"."""
        found = self.left_out.get(kind)
        return _error(found.middle, self.run.measured_step_seconds) if found else None

    def is_left_out_inside(self, kind: str) -> bool | None:
        """Whether the measured step lies inside the interval of that prediction."""
        found = self.left_out.get(kind)
        return _is_inside(found.low, self.run.measured_step_seconds, found.high) if found else None

    @property
    def is_time_inside(self) -> bool | None:
        """Whether the measured step lies inside its interval; None without one of the two."""
        return _is_inside(self.low_step_seconds, self.run.measured_step_seconds, self.high_step_seconds)

    @property
    def is_memory_inside(self) -> bool | None:
        """The same for the peak memory."""
        return _is_inside(self.low_peak_memory_bytes, self.run.measured_peak_memory_bytes, self.high_peak_memory_bytes)

    @property
    def is_fit_right(self) -> bool | None:
        """Whether the verdict on memory agrees with what happened; None for a run that was not replayed.

        A run that fitted must not be called impossible, one that did not must not be called safe.
        """
        if self.problem:
            return None
        chance = self.fit_probability
        return chance > HARDLY_CHANCE if self.run.outcome == "ok" else chance < SURE_CHANCE


def replay(
    runs: Sequence[MeasuredRun],
    calibration: Calibration,
    estimate: Estimator = perfsim_estimate,
    report: Report | None = None,
) -> list[Replayed]:
    """Predict every run that can be replayed, and its constant-utilisation baseline; the order stays.

    Raises: nothing on runs.
    """
    found: dict[int, Replayed] = {i: Replayed(run, problem=run.problem) for i, run in enumerate(runs) if run.problem}
    for chosen in stacks(runs):
        found |= zip(chosen, _replay_stack([runs[i] for i in chosen], calibration, estimate), strict=True)
        if report:
            report(len(found), len(runs))
    return _with_baseline([found[i] for i in range(len(runs))])


def replay_one(run: MeasuredRun, calibration: Calibration, estimate: Estimator = perfsim_estimate) -> Replayed:
    """Predict one run by itself, without its baseline."""
    if run.problem:
        return Replayed(run, problem=run.problem)
    return _replay_stack([run], calibration, estimate)[0]


def _error(predicted: float, measured: float) -> float | None:
    return predicted / measured - 1.0 if predicted > 0 and measured > 0 else None


def _is_inside(low: float, measured: float, high: float) -> bool | None:
    return low <= measured <= high if measured > 0 and high > 0 else None


def stacks(runs: Sequence[MeasuredRun]) -> list[list[int]]:
    """Indices of runs that may be costed together: alike in all that is no number of a formula."""
    found: dict[Hashable, list[int]] = defaultdict(list)
    for i, run in enumerate(runs):
        if not run.problem and run.workload and run.software and run.system:
            numbers: Any = dict.fromkeys(_STACKED, 0)
            shape = replace(run.workload, **numbers)
            formats = tuple(name for name, peak in run.system.gpu.peak_flops_per_s.items() if peak)
            found[shape, run.software, formats].append(i)
    return [chosen[at : at + ROWS_AT_ONCE] for chosen in found.values() for at in range(0, len(chosen), ROWS_AT_ONCE)]


def stacked(runs: Sequence[MeasuredRun]) -> tuple[Workload, System, Plan, Software]:
    """Runs of one of `stacks` as the records of one estimate, their numbers arrays over runs unless there is one.

    Raises: ValueError for a run that cannot be replayed.
    """
    first: Any = runs[0]
    if first.workload is None or first.software is None:
        raise ValueError(f"{first.run_id} cannot be replayed")
    if len(runs) == 1:
        return first.workload, first.system, first.plan, first.software
    columns: Any = {name: np.array([getattr(run.workload, name) for run in runs]) for name in _STACKED}
    systems: Any = [run.system for run in runs]
    plans: Any = [run.plan for run in runs]
    return replace(first.workload, **columns), stack(systems), stack(plans), first.software


def _replay_stack(runs: Sequence[MeasuredRun], calibration: Calibration, estimate: Estimator) -> list[Replayed]:
    """Predictions of runs that share everything but numbers, from one call."""
    workload, system, plan, software = stacked(runs)
    answer = estimate(workload, system, plan, software, calibration)
    column = partial(_column, count=len(runs))
    memory = answer.memory
    peak = column(plan.gpus * peak_flops_per_s(system.gpu, workload.precision.matmul))
    chance = _fit_probability(answer)
    is_open = np.array([NO_RECOMPUTATION in run.assumptions for run in runs])
    if np.any(is_open):  # a run whose recomputation is unknown may have it
        again = estimate(workload, system, replace(plan, recompute=Recompute.FULL), software, calibration)
        chance = np.where(is_open, _fit_probability(again), chance)
    figures = (
        answer.time.total_seconds, memory.allocated_bytes, memory.total_bytes, memory.reserved_bytes, answer.problems,
        answer.hardware_flops, chance,
    )  # fmt: skip
    by_run = zip(*(column(figure) for figure in figures), peak, strict=True)
    return [_replayed(run, *values) for run, values in zip(runs, by_run, strict=True)]


def _column(values: Any, count: int) -> list[Any]:
    return list(np.broadcast_to(np.asarray(values).reshape(-1), (count,)).tolist())


def _replayed(
    run: MeasuredRun, seconds: float, allocated: float, total: float, reserved: float, problems: int, flops: float,
    chance: float, peak: float,
) -> Replayed:  # fmt: skip
    bits = Problem(problems)
    if blocking := bits & ~TOLERATED:
        return Replayed(run, problem="; ".join(bit.text for bit in blocking))
    memory = {"allocated": allocated, "reserved": reserved}.get(run.memory_kind, total)
    assumptions = (*run.assumptions, UNEVEN_STAGES) if Problem.LAYERS in bits else run.assumptions
    return Replayed(run, seconds, memory, chance, flops, peak, assumptions=assumptions)


def _fit_probability(answer: Estimate) -> Any:
    return fit_probability(answer.memory.total_bytes, answer.memory_capacity_bytes, answer.memory_spread)


def _with_baseline(replayed: list[Replayed]) -> list[Replayed]:
    """Each run with the step that the mean utilisation of its company, itself left out, would give."""
    company: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, one in enumerate(replayed):
        if one.run.workload and one.run.measured_step_seconds > 0 and one.peak_flops_per_s > 0:
            company[one.run.collection, one.run.workload.precision.key].append(i)
    for members in company.values():
        shares = [_utilisation(replayed[i]) for i in members]
        total = sum(shares)
        for i, own in zip(members, shares, strict=True):
            if len(members) > 1:
                one = replayed[i]
                mean = (total - own) / (len(members) - 1)
                seconds = one.hardware_flops / (one.peak_flops_per_s * mean)
                replayed[i] = replace(one, baseline_step_seconds=seconds)
    return replayed


def _utilisation(one: Replayed) -> float:
    return one.hardware_flops / (one.peak_flops_per_s * one.run.measured_step_seconds)
