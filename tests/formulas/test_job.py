"""A whole job's hours, kWh and dollars from one step, by hand and at its limits."""

from dataclasses import replace

import numpy as np
import pytest

import perfsim as ps
from perfsim.core.offers import Offer
from perfsim.core.site import STEPS_ALONE, Site
from perfsim.estimate import estimate
from perfsim.formulas.rent import rates

CATALOGUE = ps.catalogue()
JOB = ps.workload("gpt2", seq_len=512, global_batch_size=8, precision="bf16", steps=1_000)
PLAN = ps.Plan(data_parallel=np.array([1, 2, 8, 64]))
EIGHT = [Offer("on-demand", "a100-sxm4-80gb", 8, 16.0)]
NODE = replace(ps.system("dgx-a100-80gb"), rates=rates(EIGHT, 8))
USD_PER_HOUR = [16.0, 16.0, 16.0, 128.0]  # machines are paid whole


def told(site: Site) -> ps.Estimate:
    return estimate(JOB, NODE, PLAN, CATALOGUE.software("pytorch-2-eager"), CATALOGUE.calibration(), site)


def test_a_job_without_losses_is_its_steps() -> None:
    found = told(replace(STEPS_ALONE, pue=1.3, price="own"))
    assert found.job_hours == pytest.approx(1_000 * found.time.total_seconds / 3600)
    assert found.job_kwh == pytest.approx(1_000 * found.energy.total_joules / 3.6e6)
    assert found.job_usd == pytest.approx(1_000 * found.cost.total_usd)


def test_start_up_draws_idle_boards_and_hosts_and_is_paid() -> None:
    site = replace(STEPS_ALONE, pue=1.3)
    before, after = told(site), told(replace(site, start_up_seconds=3600.0))
    watts = NODE.gpu.power.idle_watts + NODE.host_watts_per_gpu
    assert after.job_hours - before.job_hours == pytest.approx(1.0)
    assert after.job_kwh - before.job_kwh == pytest.approx(1.3 * PLAN.gpus * watts / 1e3)
    assert after.job_usd - before.job_usd == pytest.approx(USD_PER_HOUR)
    assert after.job_kg_co2 == pytest.approx(after.job_kwh * 0.475)


def test_repeated_steps_draw_what_steps_do() -> None:
    """Without restarts and nearly without saves, a job at a goodput of g takes 1/g of its hours and kWh."""
    site = Site(start_up_seconds=0.0, restart_seconds=0.0, failures_per_gpu_hour=20.0, checkpoint_bytes_per_s=1e13)
    found, steps = told(site), told(STEPS_ALONE)
    assert np.all(found.job.repeated_seconds > 100.0 * found.job.final_save_seconds)
    share = 1.0 + found.job.repeated_seconds / found.job.useful_seconds
    idle = PLAN.gpus * found.job.waiting_seconds * (NODE.gpu.power.idle_watts + NODE.host_watts_per_gpu) / 3.6e6
    assert found.job_kwh - idle == pytest.approx(share * steps.job_kwh)
