"""Scenario files: one question to perfsim, checked as a whole and turned into the records that a search takes."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.model import Model
from perfsim.core.offers import Offer
from perfsim.core.plan import ContextExchange, Offload, Placement, Recompute, Schedule
from perfsim.core.site import Site
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.errors import UnknownNameError
from perfsim.inputs import explain
from perfsim.inputs.catalogue import Catalogue
from perfsim.inputs.choice import cards_named, divisors_text, systems_for
from perfsim.inputs.files import Document, raise_problems, read_toml
from perfsim.inputs.misfits import Found, misfits
from perfsim.inputs.positions import Loc
from perfsim.inputs.power_limit import limit_fault, with_power_limit
from perfsim.inputs.prices import read_all, with_prices
from perfsim.inputs.scenario_file import DEFAULT_SOFTWARE, Objective, ScenarioFile, SearchKeys, SiteKeys, with_aliases
from perfsim.inputs.workload import make_workload, workload_of
from perfsim.search.space import Space
from perfsim.units import GIGA

__all__ = ["Scenario", "make_workload", "scenario", "scenario_of", "scenarios"]

LookUp = Callable[[str], object]

_RECOMPUTE = {"none": Recompute.NONE, "selective": Recompute.SELECTIVE, "full": Recompute.FULL}
_OFFLOAD = {offload.label: offload for offload in Offload}
_PLACEMENT = {place.label: place for place in Placement}
_CONTEXT_EXCHANGE = {kind.label: kind for kind in ContextExchange}
_SCHEDULE = {schedule.label: schedule for schedule in Schedule}


@dataclass(frozen=True)
class Scenario:
    """One question: what to train, on which systems, with which plans, and what is best."""

    name: str
    path: Path
    workload: Workload
    software: Software
    calibration: Calibration
    systems: tuple[System, ...]
    space: Space
    site: Site
    objective: Objective


def scenario(path: Path, catalogue: Catalogue) -> Scenario:
    """The scenario of a TOML file with one task.

    Raises: InputError that lists every problem of the file with its line.
    """
    document, spec = _checked(path, catalogue)
    if len(spec.workload.task) > 1:
        tasks = ", ".join(spec.workload.task)
        raise_problems(document, [(("workload", "task"), f"asks for {tasks}", "name one, or use `perfsim sweep`")])
    return next(_scenarios(document, spec, catalogue))


def scenarios(path: Path, catalogue: Catalogue) -> tuple[Scenario, ...]:
    """The scenarios of a TOML file, one for each of its tasks.

    Raises: InputError that lists every problem of the file with its line.
    """
    document, spec = _checked(path, catalogue)
    return tuple(_scenarios(document, spec, catalogue))


def scenario_of(workload: Workload, catalogue: Catalogue, **search: Any) -> Scenario:
    """The question of a workload; `search` are the keys of a scenario's [search] table, 1, 2, 4 and 8 GPUs unless told.

    Raises: InputError that lists every key that cannot be used; UnknownNameError for a card or a system.
    """
    try:
        keys = SearchKeys.model_validate({"counts": (1, 2, 4, 8)} | search)
    except ValidationError as error:
        raise explain.input_error(explain.explain(error, SearchKeys)) from None
    if found := [*keys.problems(), *_too_many_gpus(keys, catalogue), *_wrong_limits(keys, catalogue)]:
        raise explain.input_error(found)
    return Scenario(
        name=workload.model.name, path=Path(), workload=workload, software=catalogue.software(DEFAULT_SOFTWARE),
        calibration=catalogue.calibration(), systems=_systems(keys, catalogue, ()), space=_space(keys), site=Site(),
        objective=keys.objective,
    )  # fmt: skip


def _scenarios(document: Document, spec: ScenarioFile, catalogue: Catalogue) -> Iterator[Scenario]:
    model = catalogue.model(spec.workload.model)
    own = read_all((document.path.parent / name for name in spec.site.prices), catalogue)
    systems = _systems(spec.search, catalogue, own)
    for task in spec.workload.task:
        yield Scenario(
            name=spec.title or document.path.stem,
            path=document.path,
            workload=workload_of(spec.workload, task, model),
            software=catalogue.software(spec.software),
            calibration=catalogue.calibration(),
            systems=systems,
            space=_space(spec.search),
            site=site_with(Site(), spec.site),
            objective=spec.search.objective,
        )


def _checked(path: Path, catalogue: Catalogue) -> tuple[Document, ScenarioFile]:
    """The document and its checked keys; all that is wrong with keys, names and divisors is raised at once."""
    document = read_toml(path)
    found: list[Found] = []
    spec: ScenarioFile | None = None
    try:
        spec = ScenarioFile.model_validate(document.data)
        found += spec.problems()
    except ValidationError as error:
        found += with_aliases(explain.explain(error, ScenarioFile))
    found += _unknown_names(document.data, catalogue)
    if spec and not found:
        model = catalogue.model(spec.workload.model)
        found += [(("workload", *loc), what, todo) for loc, what, todo in misfits(spec.workload, model)]
        found += _no_divisors(spec, model)
        found += _too_many_gpus(spec.search, catalogue)
        found += _wrong_limits(spec.search, catalogue)
        found += _absent_tables(spec.site, path.parent)
    raise_problems(document, found)
    assert spec is not None  # noqa: S101 (no problems were found, so the validation has passed)
    return document, spec


def _unknown_names(data: dict[str, Any], catalogue: Catalogue) -> Iterator[Found]:
    """Names that the specs lack; from the raw data, so that they are told together with misspelt keys."""
    places: list[tuple[Loc, Any, LookUp]] = [
        (("software",), data.get("software"), catalogue.software),
        (("workload", "model"), _inside(data, "workload", "model"), catalogue.model),
    ]
    searched: dict[str, LookUp] = {"gpus": partial(cards_named, catalogue=catalogue), "systems": catalogue.system}
    for key, look_up in searched.items():
        names = _inside(data, "search", key)
        if isinstance(names, list):
            places += [(("search", key, i), name, look_up) for i, name in enumerate(names[:512])]
        else:
            places.append((("search", key), None if names == "auto" else names, look_up))
    for loc, name, look_up in places:
        if isinstance(name, str) and name:
            try:
                look_up(name)
            except UnknownNameError as error:
                what, _, todo = str(error).partition("; ")
                yield loc, what, todo


def _inside(data: dict[str, Any], table: str, key: str) -> Any:
    inner = data.get(table)
    return inner.get(key) if isinstance(inner, dict) else None


def _no_divisors(spec: ScenarioFile, model: Model) -> Iterator[Found]:
    """Choices of which no value can work, whatever the rest of the plan."""
    search, experts = spec.search, model.moe.experts if model.moe else 1
    rules = (
        ("tensor_parallel", model.split_heads, "attention heads"),
        ("context_parallel", spec.workload.seq_len or 1, "tokens of a sequence"),
        ("expert_parallel", experts, "experts"),
        ("micro_batch_size", spec.workload.global_batch_size, "sequences of the global batch"),
    )
    for key, whole, noun in rules:
        values: tuple[int, ...] = getattr(search, key)
        if values and not any(whole % value == 0 for value in values):
            listed = ", ".join(map(str, values))
            what = f"none of {listed} divides the {whole:,} {noun}" if whole > 1 else f"{model.key} has no {noun}"
            if model.nets and whole == 1:
                what = f"{listed} cannot split {model.key}, of which ranks share nothing but the batch"
            yield ("search", key), what, f"write {divisors_text(whole)}"
    layers, stages = model.split_layers, search.pipeline_parallel
    if stages and min(stages) > layers:
        listed = ", ".join(map(str, stages))
        what = f"{listed} stages for {layers:,} layers"
        if model.nets:
            what = f"{listed} cannot split {model.key}, of which ranks share nothing but the batch"
        yield ("search", "pipeline_parallel"), what, f"write at most {layers:,}"


def _too_many_gpus(search: SearchKeys, catalogue: Catalogue) -> Iterator[Found]:
    """Counts that none of the named systems holds, and named systems that hold none of the counts."""
    sizes = [int(catalogue.system(name).max_gpus) for name in search.systems]
    if not sizes:
        return
    for i, count in enumerate(search.counts):
        if count > max(sizes):
            what = f"{count:,} GPUs are more than the systems named can hold"
            yield ("search", "counts", i), what, f"write at most {max(sizes):,}, or name a larger system"
    for i, size in enumerate(sizes):
        if size < min(search.counts):
            what = f"holds at most {size:,} GPUs, fewer than any of counts"
            yield ("search", "systems", i), what, "add a smaller count, or name a larger system"


def _wrong_limits(search: SearchKeys, catalogue: Catalogue) -> Iterator[Found]:
    """Power limits that one of the cards cannot hold: the first such card of each."""
    systems = [catalogue.system(name).gpu for name in search.systems]
    cards = systems or [gpu for name in search.gpus for gpu in cards_named(name, catalogue)]
    for i, watts in enumerate(search.power_limit_watts):
        faults = (limit_fault(card, watts, catalogue.calibration().control) for card in cards)
        if fault := next(filter(None, faults), None):
            yield ("search", "power_limit_watts", i), *fault


def _absent_tables(site: SiteKeys, folder: Path) -> Iterator[Found]:
    """Price tables that do not lie where they are named, beside the scenario's file."""
    for i, name in enumerate(site.prices):
        if not os.path.isfile(folder / name):
            yield ("site", "prices", i), f"no such file, {folder / name}", "name a table beside this file"


def _systems(search: SearchKeys, catalogue: Catalogue, own: Sequence[Offer]) -> tuple[System, ...]:
    """The systems, each with every power limit that is asked for, else its cards' own."""
    limits, control = dict.fromkeys(search.power_limit_watts), catalogue.calibration().control
    unlimited = _unlimited_systems(search, catalogue, own)
    limited = tuple(with_power_limit(system, watts, control) for system in unlimited for watts in limits)
    return limited or unlimited


def _unlimited_systems(search: SearchKeys, catalogue: Catalogue, own: Sequence[Offer]) -> tuple[System, ...]:
    if search.systems:
        return tuple(with_prices(catalogue.system(name), catalogue, own) for name in search.systems)
    gpus = dict.fromkeys(gpu.key for name in search.gpus for gpu in cards_named(name, catalogue))
    return tuple(system for key in gpus for system in systems_for(catalogue.gpu(key), search.counts, catalogue, own))


def _space(search: SearchKeys) -> Space:
    def ordered(values: Sequence[int]) -> tuple[int, ...]:
        return tuple(sorted(set(values)))

    return Space(
        counts=ordered(search.counts),
        tensor_parallel=ordered(search.tensor_parallel),
        pipeline_parallel=ordered(search.pipeline_parallel),
        context_parallel=ordered(search.context_parallel),
        expert_parallel=ordered(search.expert_parallel),
        micro_batch_size=ordered(search.micro_batch_size),
        virtual_stages=ordered(search.virtual_stages),
        zero_stage=ordered(search.zero_stage),
        hybrid_shard=ordered(search.hybrid_shard) or (0,),
        recompute=ordered([_RECOMPUTE[name] for name in search.recompute]),
        recompute_layers=ordered(search.recompute_layers) or (0,),
        offload=ordered([_OFFLOAD[name] for name in search.offload]),
        schedule=ordered([_SCHEDULE[name] for name in search.schedule]),
        placement=ordered([_PLACEMENT[name] for name in search.placement]),
        context_exchange=ordered([_CONTEXT_EXCHANGE[name] for name in search.context_exchange]),
    )


def site_with(site: Site, keys: SiteKeys) -> Site:
    """The site with what the keys tell."""
    given: dict[str, Any] = keys.model_dump(exclude_unset=True, exclude={"prices"}, exclude_none=True)
    if (rate := given.pop("checkpoint_gb_per_s", None)) is not None:
        given["checkpoint_bytes_per_s"] = rate * GIGA
    return replace(site, **given)
