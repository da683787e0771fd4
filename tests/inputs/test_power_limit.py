"""A lowered power limit: slower, fewer watts, and joules with a least value in between."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import perfsim as ps
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.power_limit import limit_range
from perfsim.inputs.scenario import scenario

CARDS = ("rtx-4090", "h100-sxm5-80gb", "v100-sxm2-16gb", "b200", "l4", "gtx-1080-ti")
SCENARIO = """software = "pytorch-2-eager"
[workload]
model = "bert-large"
seq_len = 128
steps = 100
global_batch_size = 32
precision = "amp-fp16"
[search]
gpus = ["RTX 4090"]
counts = [1]
power_limit_watts = WATTS
objective = "energy"
"""


def limited(card: str, watts: object, model: str = "bert-large", size: int = 8) -> ps.Estimate:
    job = ps.workload(model, task="pretrain", seq_len=512, global_batch_size=size, precision="amp-fp16")
    box = ps.with_power_limit(ps.catalogue().box(card, 1), watts)
    return ps.estimate(job, box, ps.Plan(micro_batch_size=size))


def limits_of(card: str, count: int) -> np.ndarray:
    low, high = limit_range(ps.gpu(card), ps.catalogue().calibration().control)
    return np.linspace(low, high, count)


@pytest.mark.parametrize("card", CARDS)
@given(st.sampled_from(["bert-large", "gpt2", "t5-base"]), st.sampled_from([1, 8, 64]))
def test_a_lower_limit_is_slower_and_draws_less(card: str, model: str, size: int) -> None:
    limits = limits_of(card, 9)
    job = {"decoder_seq_len": 128} if model == "t5-base" else {}
    workload = ps.workload(model, seq_len=512, global_batch_size=size, precision="amp-fp16", **job)
    box = ps.with_power_limit(ps.catalogue().box(card, 1), limits)
    found = ps.estimate(workload, box, ps.Plan(micro_batch_size=size))
    assert (np.diff(found.time.total_seconds) <= 1e-12).all()
    assert (np.diff(found.watts_per_gpu) >= -1e-9).all() and (np.diff(found.clock_ratio) >= -1e-12).all()
    assert (found.watts_per_gpu <= limits).all()


@pytest.mark.parametrize("card", ["rtx-4090", "h100-sxm5-80gb", "v100-sxm2-16gb"])
def test_joules_fall_first_and_rise_again(card: str) -> None:
    joules = limited(card, limits_of(card, 15), size=16).energy.gpu_joules
    least = int(np.argmin(joules))
    assert 0 < least < 14 and joules[least] < 0.85 * joules[-1]
    assert joules[0] > 1.03 * joules[least]


def test_the_own_limit_changes_nothing() -> None:
    job = ps.workload("gpt2", seq_len=128, global_batch_size=4)
    box = ps.catalogue().box("t4", 1)
    assert ps.with_power_limit(box, box.gpu.power_limit_watts) == box
    with pytest.raises(ps.InputError, match=r"80 W is not a limit that Tesla T4 can hold; write 32 to 70 W"):
        ps.with_power_limit(box, np.array([60.0, 80.0]))
    again = ps.with_power_limit(ps.with_power_limit(box, 50), 70)  # a limit can be raised again
    assert ps.estimate(job, again, ps.Plan()).time.total_seconds == ps.estimate(job, box, ps.Plan()).time.total_seconds


def test_alone_equals_in_an_array() -> None:
    limits = limits_of("rtx-4090", 7)
    together = limited("rtx-4090", limits)
    for i, watts in enumerate(limits.tolist()):
        alone = limited("rtx-4090", watts)
        assert together.time.total_seconds[i] == alone.time.total_seconds
        assert together.energy.gpu_joules[i] == alone.energy.gpu_joules


def test_a_scenario_tries_every_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(SCENARIO.replace("WATTS", "[450, 250]"))
    answer = ps.sweep(scenario(path, catalogue()))
    assert {system.gpu.power_limit_watts for system in answer.systems} == {250, 450}
    system, _, best = answer.best()
    assert system.gpu.power_limit_watts == 250 and best.clock_ratio < 1.0


def test_a_limit_that_a_card_cannot_hold_is_refused_with_its_range(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(SCENARIO.replace("WATTS", "[450, 900, 20]"))
    with pytest.raises(ps.InputError) as error:
        scenario(path, catalogue())
    lines = str(error.value).splitlines()
    assert [line.partition(":11: ")[2] for line in lines] == [
        "search.power_limit_watts[1]: 900 W is not a limit that GeForce RTX 4090 can hold; write 161 to 450 W",
        "search.power_limit_watts[2]: 20 W is not a limit that GeForce RTX 4090 can hold; write 161 to 450 W",
    ]
