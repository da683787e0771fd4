"""Which Nvidia GPU, how many, split how: time, memory, energy and cost of training transformers.

>>> import perfsim as ps
>>> ps.gpu("RTX 4090").multiprocessors
128

Everything here is loaded when it is first used: `import perfsim` alone imports no numpy.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from perfsim.errors import InputError, PerfsimError, UnknownNameError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfsim.calibration.accuracy import summary
    from perfsim.calibration.validate import Replayed, replay
    from perfsim.core.calibration import Calibration
    from perfsim.core.hardware import Gpu, System
    from perfsim.core.model import Model
    from perfsim.core.numbers import Floats
    from perfsim.core.plan import Plan, Problem, Recompute, Schedule
    from perfsim.core.results import Estimate
    from perfsim.core.site import Site
    from perfsim.core.software import Software
    from perfsim.core.support import Support
    from perfsim.core.workload import Head, Precision, Task, Workload
    from perfsim.formulas.needs import Verdict, verdict
    from perfsim.inputs.catalogue import Catalogue, catalogue
    from perfsim.inputs.scenario import Scenario
    from perfsim.report.notebook import html
    from perfsim.report.plots import plot_front, plot_memory, plot_runs, plot_scaling, plot_schedule, plot_time
    from perfsim.search.fit import Fit
    from perfsim.search.intervals import Intervals
    from perfsim.search.recommend import Recommendation
    from perfsim.search.space import Space
    from perfsim.search.sweep import Sweep
    from perfsim.simulation import Simulation

__version__ = "0.1.0"

_HOMES = {
    "perfsim.calibration.accuracy": ("summary",),
    "perfsim.calibration.validate": ("Replayed", "replay"),
    "perfsim.core.calibration": ("Calibration",),
    "perfsim.core.hardware": ("Gpu", "System"),
    "perfsim.core.model": ("Model",),
    "perfsim.core.plan": ("Plan", "Problem", "Recompute", "Schedule"),
    "perfsim.core.results": ("Estimate",),
    "perfsim.core.site": ("Site",),
    "perfsim.core.software": ("Software",),
    "perfsim.core.support": ("Support",),
    "perfsim.core.workload": ("Head", "Precision", "Task", "Workload"),
    "perfsim.formulas.needs": ("Verdict", "verdict"),
    "perfsim.inputs.catalogue": ("Catalogue", "catalogue"),
    "perfsim.inputs.scenario": ("Scenario",),
    "perfsim.report.notebook": ("html",),
    "perfsim.report.plots": ("plot_front", "plot_memory", "plot_runs", "plot_scaling", "plot_schedule", "plot_time"),
    "perfsim.search.fit": ("Fit",),
    "perfsim.search.intervals": ("Intervals",),
    "perfsim.search.recommend": ("Recommendation",),
    "perfsim.search.space": ("Space",),
    "perfsim.search.sweep": ("Sweep",),
    "perfsim.simulation": ("Simulation",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022  in the order of use
    "gpu", "model", "system", "with_power_limit", "software", "support", "verdict", "workload", "scenario", "catalogue",
    "estimate", "intervals", "alone_seconds", "sweep", "sweep_intervals", "recommend", "fit", "simulate", "validate",
    "replay", "summary", "html", "plot_memory", "plot_time", "plot_front", "plot_scaling", "plot_schedule", "plot_runs",
    "Workload", "Task", "Head", "Precision", "Model", "Plan", "Problem", "Recompute", "Schedule",
    "Gpu", "System", "Software", "Calibration", "Site", "Space", "Scenario", "Catalogue",
    "Estimate", "Intervals", "Sweep", "Recommendation", "Fit", "Simulation", "Replayed", "Support", "Verdict",
    "PerfsimError", "InputError", "UnknownNameError", "UnsupportedError",
]  # fmt: skip


def gpu(name: str) -> Gpu:
    """The card that people call `name`, such as "RTX 4090" or "a100 80gb".

    Raises:
        UnknownNameError: no card, or more than one, is called so.
    """
    from perfsim.inputs.catalogue import catalogue

    return catalogue().gpu(name)


def model(name: str | Path) -> Model:
    """The model called `name`, or the one that a Hugging Face config.json (or a folder holding one) describes.

    Raises:
        UnknownNameError: no model is called so.
        InputError: the file cannot be used.
    """
    from perfsim.inputs.catalogue import catalogue

    return catalogue().model(name)


def system(name: str) -> System:
    """The server, cloud instance or workstation called `name`.

    Raises:
        UnknownNameError: no system is called so.
    """
    from perfsim.inputs.catalogue import catalogue

    return catalogue().system(name)


def with_power_limit(system: System, watts: Floats) -> System:
    """The system, its boards limited to `watts`, a number or an array of them that broadcasts with plans.

    Raises:
        InputError: the card cannot hold such a limit; it says which ones it can.
    """
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.power_limit import with_power_limit as limited

    return limited(system, watts, catalogue().calibration().control)


def software(key: str) -> Software:
    """The software stack with the key `key`, such as "pytorch-2-eager".

    Raises:
        UnknownNameError: no stack has this key.
    """
    from perfsim.inputs.catalogue import catalogue

    return catalogue().software(key)


def support(card: str) -> Support:
    """What is known of the software of a card: CUDA, drivers, wheels, number formats, libraries, with sources.

    Raises:
        UnknownNameError: no card, or more than one, is called so.
    """
    from perfsim.inputs.catalogue import catalogue

    return catalogue().support(card)


def workload(model: Model | str | Path, **options: Any) -> Workload:
    """The job of training `model`; `options` are the keys of a scenario's [workload] table.

    Raises:
        InputError: an option cannot be used.
    """
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.workload import make_workload

    named = catalogue().model(model) if isinstance(model, str | Path) else model
    return make_workload(named, **options)


def scenario(source: str | Path) -> Scenario:
    """The scenario of a TOML file, or the built-in one called `source`.

    Raises:
        InputError: the file cannot be used; every problem has a line.
    """
    from perfsim import paths
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.scenario import scenario as read

    return read(paths.find_scenario(str(source)), catalogue())


def estimate(
    workload: Workload,
    system: System,
    plan: Plan,
    software: Software | None = None,
    calibration: Calibration | None = None,
    site: Site | None = None,
) -> Estimate:
    """Time, memory, energy and cost of one plan, or of all the plans in the records' arrays.

    Software is current eager PyTorch and the calibration the built-in one unless given.
    """
    from perfsim.core.site import Site
    from perfsim.estimate import estimate as compute
    from perfsim.inputs.catalogue import catalogue

    known = catalogue()
    return compute(
        workload,
        system,
        plan,
        software or known.software("pytorch-2-eager"),
        calibration or known.calibration(),
        site or Site(),
    )


def intervals(
    workload: Workload,
    system: System,
    plan: Plan,
    software: Software | None = None,
    calibration: Calibration | None = None,
    site: Site | None = None,
) -> list[Intervals]:
    """What 90 % of measurements lie in and what each figure rests on, of one plan or of each in the records' arrays.

    `one["step_seconds"]` has low, middle and high [s]; so have the other figures, in the units of `Estimate`, and
    `memory_bytes` [B]. `one.basis.text` says what the step rests on, `one.causes` what makes its interval wide.
    Cards, system and software are looked up by their keys.

    Raises:
        UnknownNameError: the specs do not have the system or the software.
    """
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.intervals import of_plans
    from perfsim.search.sensitivity import Inputs

    known = catalogue()
    stack, shared = software or known.software("pytorch-2-eager"), calibration or known.calibration()
    found = estimate(workload, system, plan, stack, shared, site)
    return of_plans(Inputs(workload, system, plan, stack, shared), found, known)


def sweep_intervals(sweep: Sweep, rows: Sequence[int]) -> list[Intervals]:
    """The same of some rows of a sweep; beyond 1,024 of them the bases alone."""
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.intervals import of_sweep

    return of_sweep(sweep, rows, catalogue())


def sweep(source: Scenario | Workload | Model | str | Path, has_headroom: bool = False, **search: Any) -> Sweep:
    """Every plan of a scenario, best first.

    source: a Scenario, a TOML file or a built-in scenario's name; or a workload or model with `search`, the keys of a
    scenario's [search] table, such as gpus=["RTX 4090"], counts=[1, 2]. has_headroom: plans that no other beats in
    memory to spare are kept too, for `Sweep.pareto("headroom", ...)`.

    Raises:
        InputError: the file or a key cannot be used; every problem of a file has a line.
    """
    from perfsim.core.model import Model
    from perfsim.core.workload import Workload
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.scenario import scenario_of
    from perfsim.search.sweep import sweep as search_all

    if isinstance(source, Model):
        source = workload(source)
    if isinstance(source, Workload):
        s = scenario_of(source, catalogue(), **search)
    elif search:
        raise InputError(f"{', '.join(search)}: a scenario says so itself; change it there, or sweep a workload")
    else:
        s = scenario(source) if isinstance(source, str | Path) else source
    return search_all(
        s.workload, s.software, s.calibration, s.systems, s.space, s.site, s.objective, has_headroom=has_headroom
    )  # fmt: skip


def recommend(
    job: Workload | Scenario | str | Path,
    own: Sequence[str] = (),
    rent: Sequence[str] | None = (),
    max_gpus: int | None = None,
    software: str | None = None,
    prices: Sequence[str | Path] = (),
    **limits: float,
) -> Recommendation:
    """The cheapest, smallest, greenest and fastest set of cards for a job, and what would change the answer.

    job: a workload, or a scenario, its file or the name of a built-in one. own: such as "2x RTX 3090". rent: cards or
    series to rent, () for all, None for none. prices: files of your own, or a public catalogue's. limits:
    deadline_hours [h], budget_usd [USD] and the other numbers of a scenario's [site].
    `found["cheapest"].figure("job_hours")` is a figure, `.ranges` has its interval, `.chance` is that of keeping the
    limits; nothing keeps them where `not found`, and `found.changes` are what would help.

    Raises:
        InputError: a wish cannot be used.
        UnknownNameError: no card, system or software is called so.
    """
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.recommend import ask_of, recommended

    known = catalogue()
    asked = scenario(job) if isinstance(job, str | Path) else job
    return recommended(ask_of(asked, known, software, own, rent, max_gpus, [Path(p) for p in prices], **limits), known)


def fit(model: Model | str | Path, gpus: Sequence[str] = (), **asked: Any) -> Fit:
    """What of a model fits on which cards, trained whole, by LoRA and by QLoRA; it has `to_pandas()`.

    gpus: cards or series, () for all. asked: count (GPUs), micro_batch_size, zero_stage, recompute ("auto", "none" or
    "full"), software, and keys of a scenario's [workload] such as seq_len, precision, optimizer, lora_rank.

    Raises:
        InputError: something asked cannot be used.
        UnknownNameError: no model, card or software is called so.
    """
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.fit import fit_question
    from perfsim.search.fit import fit as search

    return search(fit_question(model, catalogue(), gpus, **asked))


def simulate(workload: Workload, system: System, plan: Plan, software: Software | None = None) -> Simulation:
    """One plan's step, piece by piece on every pipeline stage; it has `plot()`."""
    from perfsim.inputs.catalogue import catalogue
    from perfsim.simulation import simulation

    known = catalogue()
    return simulation(workload, system, plan, software or known.software("pytorch-2-eager"), known.calibration())


def alone_seconds(
    workload: Workload, system: System, plan: Plan, software: Software | None = None
) -> dict[str, Floats]:
    """What exchanges that run beside kernels would take of a step by themselves [s], by the name of their part."""
    from perfsim.estimate import alone_seconds as compute
    from perfsim.inputs.catalogue import catalogue

    known = catalogue()
    return compute(workload, system, plan, software or known.software("pytorch-2-eager"), known.calibration())


def validate(tables: Sequence[str | Path] = ()) -> list[Replayed]:
    """Each measured run of `tables` beside its prediction; the shipped table when none is named.

    Raises:
        InputError: a table cannot be used; every problem has a line.
    """
    from perfsim import paths
    from perfsim.calibration.validate import replay
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.runs import read_runs

    files = [Path(t) for t in tables] or [paths.builtin("scenarios") / "validation" / "runs.csv"]
    return replay(read_runs(files, catalogue()), catalogue().calibration())


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps `perfsim.estimate` the function: importing the module of that name would put itself in its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name == "estimate" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
