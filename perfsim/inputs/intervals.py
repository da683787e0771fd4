"""Intervals and their bases for systems, software and plans by the keys of the specs."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from perfsim.core.arrays import ravel, shape_of, stack, take
from perfsim.core.hardware import System
from perfsim.core.results import Estimate
from perfsim.core.software import Software
from perfsim.core.spreads import Spreads
from perfsim.inputs.catalogue import Catalogue
from perfsim.inputs.knobs import knobs_of
from perfsim.search.intervals import ENERGIES, RATES, Basis, Intervals, Word, intervals
from perfsim.search.sensitivity import Inputs, Knob

if TYPE_CHECKING:
    from perfsim.search.sweep import Sweep

MOST_ROWS = 1024  # of a table with every plan, that get intervals: each takes about two milliseconds
_WEAKNESS: tuple[Word, ...] = ("measured", "datasheet", "fitted", "extrapolated")
_IS_RULE = (", rule", ", assumed")


def of_plans(inputs: Inputs, found: Estimate, known: Catalogue) -> list[Intervals]:
    """Of each plan that the inputs hold, on one system, in the order of their arrays; a scalar is one plan.

    found: their estimates, at the site that they are asked for.
    """
    shape = shape_of(inputs.workload, inputs.system, inputs.plan)
    count, gpus = math.prod(shape), np.broadcast_to(np.asarray(inputs.plan.gpus), shape).ravel().tolist()
    if len(shape) > 1:
        flat = ravel(inputs.workload, shape), ravel(inputs.system, shape), ravel(inputs.plan, shape)
        inputs, found = Inputs(*flat, inputs.software, inputs.calibration), ravel(found, shape)
    own = knobs_of(inputs, known)
    bases = {n: bases_of(inputs, n, own, known) for n in set(gpus)}
    ranged = intervals(inputs, found, [own] * count, known.spreads)
    return [replace(one, bases=bases[n]) for one, n in zip(ranged, gpus, strict=True)]


def of_sweep(sweep: "Sweep", chosen: Sequence[int], known: Catalogue) -> list[Intervals]:
    """Of some rows of a sweep, the first MOST_ROWS of them; the others have their bases alone."""
    index, shape = np.asarray(chosen, dtype=np.int64), np.shape(sweep.system_index)
    which, place = np.unique(sweep.system_index[index], return_inverse=True)
    systems = [sweep.systems[i] for i in which]
    asked = [Inputs(sweep.workload, system, sweep.plans, sweep.software, sweep.calibration) for system in systems]
    knobs = [knobs_of(one, known) for one in asked]
    gpus = np.broadcast_to(sweep.plans.gpus, shape)[index].tolist()
    bases = {
        (i, n): bases_of(asked[i], n, knobs[i], known) for i, n in dict.fromkeys(zip(place.tolist(), gpus, strict=True))
    }
    first = index[:MOST_ROWS]
    own = [knobs[i] for i in place[:MOST_ROWS]]
    rows = Inputs(
        sweep.workload, take(stack(systems), place[:MOST_ROWS], (len(systems),)), take(sweep.plans, first, shape),
        sweep.software, sweep.calibration,
    )  # fmt: skip
    ranged = [*intervals(rows, take(sweep.estimates, first, shape), own, known.spreads)]
    ranged += [Intervals({}, (), 0.0)] * (len(index) - len(first))
    return [replace(one, bases=bases[i, n]) for one, i, n in zip(ranged, place.tolist(), gpus, strict=True)]


def bases_of(inputs: Inputs, gpus: int, knobs: Sequence[Knob], known: Catalogue) -> dict[str, Basis]:
    """What the figures of a plan on `gpus` GPUs rest on: the weakest of the numbers that it uses, each with its reason.

    Whole runs may have shown card, software and links each in another run.
    """
    step = _weakest([_of_card(inputs, knobs, known.spreads), _of_software(inputs, knobs, known.spreads),
                     *_of_links(inputs.system, gpus, knobs, known.spreads), *_of_model(inputs)])  # fmt: skip
    power = _of_power(inputs.system, knobs)
    energy = _weakest([step, power])
    return {
        **dict.fromkeys(("step_seconds", *RATES, "job_hours", "job_usd"), step),
        **dict.fromkeys(ENERGIES, energy), "watts_per_gpu": power,
        "memory_bytes": memory_basis(inputs.software, known), "memory_capacity_bytes": Basis("datasheet"),
    }  # fmt: skip


def _weakest(bases: Sequence[Basis]) -> Basis:
    """The weakest word, with the reasons of all that have it."""
    word = max((basis.word for basis in bases), key=_WEAKNESS.index)
    reasons = dict.fromkeys(basis.reason for basis in bases if basis.word == word)
    return Basis(word, "; ".join(filter(None, reasons)))


def _of_card(inputs: Inputs, knobs: Sequence[Knob], spreads: Spreads) -> Basis:
    gpu, used = inputs.system.gpu, inputs.workload.precision.matmul
    products = _knob(knobs, "system.gpu.calibration.gemm_fraction")
    if products.key in spreads.numbers:
        return Basis("measured")
    has_others = any(f"{gpu.key} {name}" in spreads.numbers for name in gpu.peak_flops_per_s)
    where = f"{gpu.name} in {used}" if has_others else gpu.name
    if products.kind.endswith(_IS_RULE):
        of = f"by the rule for {gpu.architecture.title()}"
        return Basis("extrapolated", f"no measured run on {where}, products {of}")
    return Basis("fitted", f"measured kernels but no measured run on {where}")


def _of_software(inputs: Inputs, knobs: Sequence[Knob], spreads: Spreads) -> Basis:
    own = [knob for knob in knobs if knob.paths[0].startswith("software.")]
    if any(knob.key in spreads.numbers for knob in own):
        return Basis("measured")
    return Basis("extrapolated", f"no measured run with {inputs.software.name}")


def _of_links(system: System, gpus: int, knobs: Sequence[Knob], spreads: Spreads) -> list[Basis]:
    """Of the links that so many GPUs use: none of one GPU, the network beyond a domain."""
    domain = int(np.max(system.gpus_per_domain))
    used = ["system.within."] * (gpus > 1 and domain > 1) + ["system.between."] * (gpus > domain)
    return [_of_link(_knob(knobs, path), spreads) for path in used]


def _of_link(rate: Knob, spreads: Spreads) -> Basis:
    name = rate.name.removeprefix("bandwidth reached on ").removesuffix(" between nodes")
    if rate.key in spreads.numbers:
        return Basis("measured")
    if rate.kind.endswith(_IS_RULE):
        return Basis("extrapolated", f"no measured run over {name}")
    return Basis("fitted", f"measured collectives but no measured run over {name}")


def _of_model(inputs: Inputs) -> list[Basis]:
    if not inputs.workload.model.nets:
        return []
    return [Basis("extrapolated", "no measured run of a convolutional model")]


def _of_power(system: System, knobs: Sequence[Knob]) -> Basis:
    if _knob(knobs, "system.gpu.power").kind.endswith(_IS_RULE):
        return Basis("extrapolated", f"no measured power of {system.gpu.architecture.title()}")
    return Basis("fitted", f"power of {system.gpu.architecture.title()} fitted to measured boards")


def memory_basis(software: Software, known: Catalogue) -> Basis:
    """What memory rests on: software whose peaks were measured says so of its spread."""
    spec = known.software_spec(software.key)
    if spec.basis.get("memory_spread", spec.basis.get("*", "fitted")) in ("fitted", "measured"):
        return Basis("measured")
    return Basis("extrapolated", f"no measured peak of memory with {software.name}")


def _knob(knobs: Sequence[Knob], start: str) -> Knob:
    return next(knob for knob in knobs if knob.paths[0].startswith(start))
