"""A sweep with figures that no formula decides, so that the reports' texts can be compared to the letter."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from perfsim.core.arrays import take
from perfsim.core.hardware import System
from perfsim.core.plan import Plan, Problem
from perfsim.core.results import Cost, Energy, Estimate, JobTime, Memory, Moment, StepTime
from perfsim.core.site import Site
from perfsim.inputs.catalogue import Catalogue, catalogue
from perfsim.inputs.choice import systems_for
from perfsim.inputs.workload import make_workload
from perfsim.search.certificate import Certificate
from perfsim.search.space import Space
from perfsim.search.sweep import Sweep
from perfsim.units import GIB

CARDS = ("RTX 4090", "T4", "GTX 1080 Ti")
PART = np.array([1.0, 2.0, 0.5, 1.1]) * GIB  # of memory, by row
SECONDS = np.array([0.1, 0.25, 0.3, 2.0])  # of a step, by row
SYSTEM_OF_ROW = np.array([0, 0, 1, 2])


@pytest.fixture
def made() -> Callable[..., Sweep]:
    """Four plans on three cards: two RTX 4090 and one, four T4, and a GTX 1080 Ti that nobody rents out."""

    def make(site: Site | None = None, meets: Any = (True, True, True, True)) -> Sweep:
        known = catalogue()
        workload = make_workload(
            known.model("bert-large"), seq_len=128, steps=36_000, global_batch_size=128, precision="amp-fp16"
        )
        steps = 36_000
        return Sweep(
            workload=workload,
            software=replace(known.software("pytorch-2-eager"), name="eager PyTorch"),
            calibration=known.calibration(),
            site=site or Site(),
            objective="time",
            systems=tuple(system(known, name) for name in CARDS),
            space=Space(counts=(1, 2, 4)),
            certificate=Certificate(
                considered=12_345,
                illegal=10_006,
                repeated=100,
                too_large=1_234,
                beaten=1_001,
                costed=4,
                runnable=4,
                problems={Problem.MEMORY: 1_234, Problem.GPUS: 9_999, Problem.PRECISION: 7},
            ),
            system_index=SYSTEM_OF_ROW,
            plans=Plan(
                tensor_parallel=np.array([1, 1, 2, 1]),
                data_parallel=np.array([2, 1, 2, 1]),
                micro_batch_size=np.array([64, 128, 8, 4]),
                zero_stage=np.array([0, 0, 1, 0]),
                recompute=np.array([0, 0, 0, 2]),
            ),
            estimates=estimate(steps),
            meets_site=np.array(meets),
        )

    return make


@pytest.fixture
def nothing(made: Callable[..., Sweep]) -> Sweep:
    """The same sweep where nothing fits."""
    full, none = made(), np.array([], dtype=int)
    kept = take(full.plans, none, (4,)), take(full.estimates, none, (4,))
    return replace(full, system_index=none, plans=kept[0], estimates=kept[1], meets_site=full.meets_site[none])


def system(known: Catalogue, name: str) -> System:
    """Two of a card, with a calibration that tests may rely on."""
    found = systems_for(known.gpu(name), [2], known)[0]
    return replace(found, gpu=replace(found.gpu, calibration=replace(found.gpu.calibration, basis="fitted")))


def estimate(steps: int) -> Estimate:
    """Figures that add up, out of the air."""
    zero = np.zeros(4)
    hours = steps * SECONDS / 3600
    return Estimate(
        time=StepTime(0.3 * SECONDS, 0.7 * SECONDS, *[zero] * 13),
        memory=Memory(*[Moment(*[PART] * 6)] * 4, PART, PART, 9.0 * PART, zero),
        energy=Energy(100 * SECONDS, zero, zero),
        cost=Cost(zero, zero),
        problems=np.zeros(4, dtype=np.int64),
        memory_capacity_bytes=np.array([24.0, 24.0, 16.0, 11.0]) * GIB,
        memory_spread=0.05,
        model_flops=zero,
        hardware_flops=zero,
        mfu=zero + 0.4,
        hfu=zero + 0.5,
        tokens_per_s=128 * 128 / SECONDS,
        samples_per_s=128 / SECONDS,
        useful_tokens_per_s=128 * 128 / SECONDS,
        watts_per_gpu=zero + 300,
        clock_ratio=zero + 0.9,
        job=JobTime(36.0, 3600.0 * hours - 76.0, zero + 20.0, zero + 10.0, zero + 6.0, zero + 4.0),
        job_hours=hours,
        job_usd=hours * np.array([1.5, 0.75, 0.4, 0.0]),
        job_kwh=hours * np.array([0.9, 0.5, 0.28, 0.3]),
        job_kg_co2=hours * np.array([0.4, 0.2, 0.13, 0.14]),
        operations={},
    )
