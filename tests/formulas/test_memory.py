"""What adapters save: frozen weights are held once, in the compute format or packed, with no autocast copies."""

import pytest

import perfsim as ps
from perfsim.core.plan import Plan
from perfsim.core.results import Moment
from perfsim.estimate import estimate
from perfsim.units import GIB

WORKSPACES = 67.1e6


def held(task: str, precision: str) -> Moment:
    known = ps.catalogue()
    workload = ps.workload(known.model("llama3-8b"), task=task, seq_len=512, global_batch_size=8, precision=precision)
    system, software = known.box("rtx-3090", 1), known.software("pytorch-2-eager")
    return estimate(workload, system, Plan(), software, known.calibration()).memory.backward


@pytest.mark.parametrize("task,weights_gib", [("lora", 15.0), ("qlora", 5.4)])
def test_frozen_weights_are_held_once(task: str, weights_gib: float) -> None:
    found = held(task, "amp-bf16")
    assert float(found.weights_bytes) / GIB == pytest.approx(weights_gib, rel=0.03)
    assert float(found.buffers_bytes) - WORKSPACES < 0.02 * float(found.weights_bytes)


def test_autocast_copies_what_is_trained() -> None:
    found = held("finetune", "amp-bf16")
    assert float(found.buffers_bytes) - WORKSPACES == pytest.approx(0.5 * float(found.weights_bytes), rel=0.01)
