"""The first plan of a ranking against the simulation of all that were kept."""

import numpy as np
import pytest

import perfsim as ps
from perfsim.core.plan import Plan, Schedule
from perfsim.core.site import Site
from perfsim.estimate import delayed, estimate
from perfsim.search.branch import is_safe
from perfsim.search.space import Space
from perfsim.search.sweep import sweep
from perfsim.simulation import simulation, staged


@pytest.mark.parametrize(("model", "system"), [("llama3-8b", "dgx-h100"), ("gpt2-xl", "aws-g5.48xlarge")])
def test_first_is_the_best_of_all_simulated(model: str, system: str) -> None:
    catalogue = ps.catalogue()
    workload = ps.workload(
        catalogue.model(model), task="finetune", seq_len=1024, global_batch_size=64, precision="bf16", steps=10
    )
    software, calibration = catalogue.software("megatron-core"), catalogue.calibration()
    space = Space(counts=(8,), pipeline_parallel=(2, 4, 8), schedule=tuple(Schedule), zero_stage=(0, 1))
    found = sweep(workload, software, calibration, [catalogue.system(system)], space)
    assert 0 < found.certificate.simulated < len(found) // 2
    times = []
    for i in np.flatnonzero(is_safe(found.estimates)):
        on, plan, _ = found.row(int(i))
        whole = simulation(workload, on, plan, software, calibration)
        pieces = staged(workload, on, plan, software, calibration)
        assert pieces.least_seconds <= whole.step_seconds * (1.0 + 1e-12)
        times.append(whole.step_seconds)
    assert float(found.row(0)[2].time.total_seconds) == pytest.approx(min(times), rel=1e-9)
    assert np.argmin(times) == 0


def test_waiting_takes_time_and_idle_watts_alone() -> None:
    catalogue, site = ps.catalogue(), Site(price="own", pue=1.2)
    workload = ps.workload(catalogue.model("gpt2"), seq_len=512, global_batch_size=8, precision="bf16", steps=10)
    system, plan = catalogue.box("rtx-3090", 2), Plan(pipeline_parallel=2)
    software, calibration = catalogue.software("megatron-core"), catalogue.calibration()
    before = estimate(workload, system, plan, software, calibration, site)
    after = delayed(before, workload, system, plan, site, 0.25)
    more = 2 * 0.25 * (system.gpu.power.idle_watts + system.host_watts_per_gpu) * 1.2
    assert after.time.total_seconds - before.time.total_seconds == pytest.approx(0.25)
    assert after.energy.total_joules - before.energy.total_joules == pytest.approx(more)
    assert after.mfu * after.time.total_seconds == pytest.approx(before.mfu * before.time.total_seconds)
    assert delayed(after, workload, system, plan, site, -0.25).job_usd == pytest.approx(before.job_usd)
