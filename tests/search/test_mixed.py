"""Unlike cards share a batch or layers so that none is waited for longer than need be."""

from itertools import product

import numpy as np
import pytest

import perfsim as ps
from perfsim.core.plan import Plan, Recompute
from perfsim.formulas.pipeline import in_flight
from perfsim.search.layers import model_units
from perfsim.search.mixed import Cards, _replica, share_batch, share_layers
from perfsim.search.partition import stage_bytes

KNOWN = ps.catalogue()
SOFTWARE, CALIBRATION = ps.software("pytorch-2-eager"), KNOWN.calibration()


def cards(*asked: tuple[str, int]) -> list[Cards]:
    total = sum(count for _, count in asked)
    return [Cards(KNOWN.box(ps.gpu(name), total), count) for name, count in asked]


def job(model: str = "bert-large", batch: int = 12, task: str = "finetune") -> ps.Workload:
    return ps.workload(ps.model(model), task=task, seq_len=256, global_batch_size=batch)


def test_batch_shares_are_those_of_trying_all() -> None:
    mix = cards(("RTX 4090", 1), ("RTX 3090", 2))
    found = share_batch(job(), mix, Plan(), SOFTWARE, CALIBRATION)
    fast, slow = (_replica(job(), kind.system, 3, Plan(), SOFTWARE, CALIBRATION).seconds for kind in mix)
    ways = [(a, b, 12 - a - b) for a, b in product(range(1, 11), repeat=2) if a + b < 12]
    least = min(max(fast[a], slow[b], slow[c]) for a, b, c in ways)
    assert found is not None and max(share.busy_seconds for share in found.shares) == least
    assert sum(share.sequences for share in found.shares) == 12
    assert found.shares[0].sequences > found.shares[1].sequences


def test_like_cards_share_like_the_estimate() -> None:
    """Two boxes of the same card are the even data-parallel plan."""
    workload = job(batch=16)
    found = share_batch(workload, cards(("RTX 4090", 2)), Plan(), SOFTWARE, CALIBRATION)
    even = ps.estimate(
        workload, KNOWN.box(ps.gpu("RTX 4090"), 2), Plan(data_parallel=2, micro_batch_size=8), SOFTWARE, CALIBRATION
    )
    assert found is not None and {share.sequences for share in found.shares} == {8}
    assert found.step_seconds == pytest.approx(float(even.time.total_seconds), rel=1e-9)


def test_uneven_shares_are_no_slower_than_even_ones() -> None:
    mix = cards(("RTX 4090", 1), ("RTX 3090", 1))
    even, best = (share_batch(job(), mix, Plan(), SOFTWARE, CALIBRATION, is_even) for is_even in (True, False))
    assert even is not None and [share.sequences for share in even.shares] == [6, 6]
    assert best is not None and best.step_seconds < even.step_seconds
    assert share_batch(job(batch=13), mix, Plan(), SOFTWARE, CALIBRATION, is_even=True) is None


def test_layers_go_by_speed_and_every_card_has_room() -> None:
    found = share_layers(job(batch=32), cards(("RTX 4090", 1), ("RTX 3090", 1)), Plan(), SOFTWARE, CALIBRATION)
    assert found is not None
    count = {share.system.gpu.key: share.units[1] - share.units[0] for share in found.shares if share.units}
    assert count["rtx-4090"] > 1.5 * count["rtx-3090"] and sum(count.values()) == 26
    assert all(share.memory_bytes < share.system.gpu.memory_bytes for share in found.shares)
    assert max(share.busy_seconds for share in found.shares) < found.step_seconds


def test_layers_are_recomputed_where_memory_asks_for_it_and_may() -> None:
    mix = cards(("RTX 4080", 1), ("rtx-3080-10gb", 1))
    workload = ps.workload(ps.model("gpt2-large"), seq_len=768, global_batch_size=8)
    assert share_layers(workload, mix, Plan(), SOFTWARE, CALIBRATION) is None
    found = share_layers(workload, mix, Plan(recompute=Recompute.FULL), SOFTWARE, CALIBRATION)
    assert found is not None
    assert {share.system.gpu.key: share.recomputed_layers > 0 for share in found.shares} == {
        "rtx-4080": False,
        "rtx-3080-10gb": True,
    }


def test_what_is_not_modelled_is_refused() -> None:
    mix = cards(("RTX 4090", 1), ("RTX 3090", 1))
    with pytest.raises(ps.UnsupportedError, match="zero_stage 3"):
        share_batch(job(), mix, Plan(zero_stage=3), SOFTWARE, CALIBRATION)
    with pytest.raises(ps.UnsupportedError, match="zero_stage 3"):
        share_layers(job(), mix, Plan(zero_stage=3), SOFTWARE, CALIBRATION)
    with pytest.raises(ps.UnsupportedError, match="2 to 4,096 sequences"):
        share_batch(job(batch=1), mix, Plan(), SOFTWARE, CALIBRATION)
    images = ps.workload(ps.model("resnet-50"), global_batch_size=8)
    with pytest.raises(ps.UnsupportedError, match="share their batch"):
        share_layers(images, mix, Plan(), SOFTWARE, CALIBRATION)


@pytest.mark.parametrize(
    ("model", "task", "software", "tolerance"),
    [("gpt2-xl", "finetune", "pytorch-2-eager", 1e-3), ("llama3-8b", "lora", "pytorch-2-eager", 1e-3),
     ("llama3-8b", "pretrain", "megatron-core", 0.03)],
)  # fmt: skip
def test_units_of_an_even_split_need_what_the_estimate_says(
    model: str, task: str, software: str, tolerance: float
) -> None:
    workload, stack = job(model, 32, task), ps.software(software)
    box, plan = KNOWN.box("h100-sxm5-80gb", 4), Plan(pipeline_parallel=4)
    expected = ps.estimate(workload, box, plan, stack, CALIBRATION)
    units = model_units(workload, box, plan, stack, CALIBRATION)
    each = workload.model.layers // 4
    cuts = (0, 1 + each, 1 + 2 * each, 1 + 3 * each, 2 + 4 * each)
    many = np.asarray(in_flight(plan.schedule, 4, np.arange(4), 32, 1))
    held = stage_bytes(units, cuts, np.zeros(2 + 4 * each, dtype=int), many)
    assert held.max() == pytest.approx(float(expected.memory.total_bytes), rel=tolerance)
    parts = expected.time
    work = float(parts.total_seconds) - float(parts.pipeline_send_seconds + parts.optimizer_seconds)
    assert units.seconds.sum() * 32 / 4 == pytest.approx(work, rel=0.5)
