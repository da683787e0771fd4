"""Loads leave a row each and the readings of the board meanwhile."""

from typing import Any

import pytest

from perfsim.measure import power
from perfsim.measure.cases import Product, Stream
from perfsim.measure.session import Save, work_off
from perfsim.measure.steps import Step
from tests.measure.conftest import PretendedBoard
from tests.measure.test_training import small


def test_loads_are_rows_and_curves(
    monkeypatch: pytest.MonkeyPatch, cpu: Any, board: PretendedBoard, save: Save
) -> None:
    monkeypatch.setattr(power, "SETTLE_SECONDS", 0.05)
    loads = [Product("fp32", 32, 32, 32), Stream("fp32", "add", 32, 32)]
    monkeypatch.setattr(power, "_loads", lambda capability, is_quick: loads)
    monkeypatch.setattr(power, "training_loads", lambda capability, is_quick: [Step("gpt2", 16, 2, "fp32")])
    cells = {"gpu": "l4", "source": "test", "power_limit_w": 72.0}
    works = power.power_works(cpu, board, {"gpt2": small("gpt2")}, cells, 0.1, save, True)
    assert work_off(works, 100.0) == 0
    rows = {row["load"]: row for row in works[0].table.rows}
    assert list(rows) == ["idle", "fp32 product 32", "fp32 add 1.2e-05 GB", "gpt2-16x2-fp32-eager", "idle after work"]
    assert {row["error"] for row in rows.values()} == {None}
    assert {row["sm_mhz"] for row in rows.values()} == {1700.0}
    assert rows["fp32 product 32"]["joules"] == pytest.approx(350e-6 * rows["fp32 product 32"]["time_us"], rel=1e-4)


@pytest.mark.parametrize("capability", [(7, 0), (9, 0)])
def test_a_quick_run_has_a_training_step_and_needs_no_bf16_before_ampere(capability: tuple[int, int]) -> None:
    quick, full = (power.training_loads(capability, is_quick) for is_quick in (True, False))
    assert quick == full[:1]
    formats = {load.dtype for load in power._loads(capability, False)}
    assert formats == ({"bf16", "fp32", "tf32"} if capability >= (8, 0) else {"fp16", "fp32"})
