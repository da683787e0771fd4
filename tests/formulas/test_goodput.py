"""What a job loses: laws over any rates, the best interval against a minimiser, the form against simulated failures."""

from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import perfsim as ps
from perfsim.core.results import JobTime
from perfsim.core.site import LLAMA_FAILURES_PER_GPU_HOUR, STEPS_ALONE, Site
from perfsim.formulas.goodput import best_interval, checkpoint_bytes, job_time, losses, save_seconds
from perfsim.units import HOUR

rates = st.just(0.0) | st.floats(1e-12, 1e-3) | st.floats(1e-3, 10.0)
sites = st.builds(
    Site, start_up_seconds=st.just(0.0) | st.floats(1e-3, 1e4), restart_seconds=st.just(0.0) | st.floats(1e-3, 1e5),
    checkpoint_bytes_per_s=st.just(0.0) | st.floats(1e6, 1e12), failures_per_gpu_hour=rates,
    preemptions_per_hour=rates,
)  # fmt: skip
counts = st.integers(1, 100_000)


@cache
def job(task: str = "finetune", steps: int = 1_000) -> ps.Workload:
    return ps.workload("bert-large", task=task, seq_len=128, global_batch_size=32, steps=steps, precision="amp-fp16")


@cache
def node() -> ps.System:
    return ps.system("dgx-h100")


@given(sites, counts, st.floats(1e-4, 1e3))
def test_a_goodput_is_a_share_and_parts_add_up(site: Site, gpus: int, step: float) -> None:
    time = job_time(job(), node(), gpus, site, step)
    assert 0.0 < time.goodput <= 1.0
    assert all(getattr(time, f.name) >= 0.0 for f in fields(JobTime))
    fixed = time.start_up_seconds + time.final_save_seconds
    assert time.total_seconds == pytest.approx(fixed + time.useful_seconds / time.goodput, rel=1e-12)
    assert time.total_seconds >= time.useful_seconds == pytest.approx(1_000 * step)


@given(sites, counts, st.sampled_from(("failures_per_gpu_hour", "preemptions_per_hour", "restart_seconds")), rates)
def test_more_interruptions_and_longer_restarts_never_make_a_job_faster(
    site: Site, gpus: int, name: str, more: float
) -> None:
    worse = replace(site, **{name: getattr(site, name) + more})
    before, after = (job_time(job(), node(), gpus, one, 1.0).total_seconds for one in (site, worse))
    assert after >= before * (1.0 - 1e-9)


@given(sites, counts, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_a_job_is_affine_in_its_step(site: Site, gpus: int, one: float, other: float) -> None:
    def seconds(step: float) -> float:
        return float(job_time(job(), node(), gpus, site, step).total_seconds)

    middle = 0.5 * (seconds(one) + seconds(other))
    assert seconds(0.5 * (one + other)) == pytest.approx(middle, rel=1e-9)


@settings(max_examples=20)
@given(sites, st.lists(counts, min_size=70, max_size=80))
def test_many_counts_are_as_each_alone(site: Site, gpus: list[int]) -> None:
    many = job_time(job(), node(), np.array(gpus), site, np.full(len(gpus), 0.5)).total_seconds
    alone = [float(job_time(job(), node(), count, site, 0.5).total_seconds) for count in gpus]
    assert np.broadcast_to(many, (len(gpus),)).tolist() == pytest.approx(alone, rel=1e-12)


@given(st.floats(-14.0, 1.5).map(lambda power: 10.0**power))
def test_the_interval_is_the_best(delay: float) -> None:
    from scipy.optimize import minimize_scalar

    def cost(log_interval: float) -> float:
        interval = np.exp(log_interval)
        return float(np.log(np.expm1(interval + delay)) - log_interval)

    found = float(best_interval(np.array(delay)))
    best = minimize_scalar(cost, bounds=(np.log(1e-9), np.log(2.0)), method="bounded", options={"xatol": 1e-12})
    assert cost(np.log(found)) <= best.fun + 1e-12
    # Young's, where saves are short: his is the first term of a series in √(delay/2)/3
    assert delay > 1e-4 or found == pytest.approx(np.sqrt(2.0 * delay), rel=1e-2)


@pytest.mark.parametrize(("failures", "restart"), [(2e-3, 300.0), (2e-2, 60.0), (0.2, 20.0)])
def test_failures_at_random_cost_what_the_form_says(failures: float, restart: float) -> None:
    """20,000 intervals: the mean's standard error is below 1 % of what is lost, and 4 of it are allowed."""
    rng = np.random.default_rng(7)
    site = Site(failures_per_gpu_hour=failures, restart_seconds=restart, checkpoint_bytes_per_s=1e9)
    lost = losses(job(), node(), 8, site)
    mean = HOUR / (8 * failures)
    work = float(lost.interval_seconds) + float(save_seconds(job(), 1.0, site))
    taken = np.array([simulated(rng, work, restart, mean) for _ in range(20_000)])
    useful = float(lost.interval_seconds)
    restarts, whole = taken[:, 0].mean() / useful, taken.sum(axis=1).mean() / useful
    assert whole == pytest.approx(
        1.0 + float(lost.checkpoints + lost.repeated + lost.restarts), abs=4.0 * spread(taken.sum(axis=1)) / useful
    )
    assert restarts == pytest.approx(float(lost.restarts), abs=4.0 * spread(taken[:, 0]) / useful)


def simulated(rng: np.random.Generator, work: float, restart: float, mean: float) -> tuple[float, float]:
    """(seconds in restarts, seconds at work) until `work` seconds pass without an interruption."""
    waited = worked = 0.0
    must_restart = False
    while True:
        until = rng.exponential(mean)
        if must_restart and until <= restart:
            waited += until
            continue
        waited, until = waited + restart * must_restart, until - restart * must_restart
        worked += min(until, work)
        if until > work:
            return waited, worked
        must_restart = True


def spread(values: np.ndarray) -> float:
    return float(values.std() / np.sqrt(len(values)))


def test_nothing_is_lost_where_the_site_says_so() -> None:
    time = job_time(job(), node(), 4_096, STEPS_ALONE, 0.25)
    assert time.total_seconds == time.useful_seconds == 250.0
    assert np.isinf(losses(job(), node(), 8, STEPS_ALONE).interval_seconds)
    started = job_time(job(), node(), 8, replace(STEPS_ALONE, start_up_seconds=60.0), 0.25)
    assert started.total_seconds == 310.0 and started.goodput == 1.0


def test_a_checkpoint_holds_what_is_trained() -> None:
    """amp-fp16 with AdamW: 4 B a weight and 8 B of moments; 335 M parameters with BERT's head, an adapter a few."""
    trained = checkpoint_bytes(job()) / 12.0
    assert trained == pytest.approx(335.1e6, rel=1e-3)
    assert checkpoint_bytes(job("lora")) < 0.03 * checkpoint_bytes(job())
    assert float(save_seconds(job(), 4.0, Site(checkpoint_bytes_per_s=5e8))) == pytest.approx(12.0 * trained / 2e9)


def test_failures_are_those_of_llama_and_its_training_time_was_above_90_per_cent() -> None:
    """419 interruptions in 54 days of 16,384 H100 are one in 3.1 h; more than 90 % of the time was effective."""
    hours = 1.0 / (16_384.0 * LLAMA_FAILURES_PER_GPU_HOUR)
    assert hours == pytest.approx(3.1, abs=0.05)
    llama = ps.workload(
        "llama3.1-405b", task="pretrain", seq_len=8192, global_batch_size=2048, steps=100_000, precision="bf16-mixed"
    )
    goodput = float(job_time(llama, node(), 16_384, Site(), 11.0).goodput)
    assert 0.9 < goodput < 0.97


def test_machines_that_are_taken_back_count_once_each() -> None:
    """A machine of eight GPUs is taken back as one; two machines are twice as often."""
    spot = Site(failures_per_gpu_hour=0.0, preemptions_per_hour=0.1)
    few, more, twice = (float(losses(job(), node(), gpus, spot).restarts) for gpus in (1, 8, 16))
    assert few == more < twice < 2.2 * few
    as_failures = Site(failures_per_gpu_hour=0.1 / 8)
    assert few == pytest.approx(float(losses(job(), node(), 8, as_failures).restarts))
