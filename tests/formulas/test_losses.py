"""What heads hold: counted bytes a logit, and torchtune's measured runs (README of 2024-12, nothing fitted)."""

import pytest

import perfsim as ps
from perfsim.calibration.runs import MeasuredRun
from perfsim.core.workload import Workload
from perfsim.errors import InputError
from perfsim.estimate import estimate
from perfsim.formulas.losses import loss_bytes
from perfsim.formulas.operations import Linear, Loss
from perfsim.inputs.runs import read_runs
from perfsim.paths import builtin

ROWS, WORDS, WIDTH = 8192.0, 128256.0, 3072.0
LOGITS = ROWS * WORDS


def job(**keys: object) -> Workload:
    return ps.workload("llama3-8b", seq_len=512, precision="bf16", **keys)


def held(software: str, is_trained: bool = False, **keys: object) -> float:
    product = Linear("logits", 2.0, rows=ROWS, columns=WORDS, contraction=WIDTH, is_trained=is_trained)
    return float(loss_bytes(Loss("loss", 2.0, ROWS, WORDS), product, job(**keys), ps.software(software)))


def test_bytes_a_logit() -> None:
    assert held("torchtune") == 12.0 * LOGITS
    assert held("torchtune", loss_chunks=8) == (6.0 + 6.0 / 8) * LOGITS
    assert held("torchtune-compiled", loss_chunks=8) == (2.0 + 2.0 / 8) * LOGITS
    assert held("torchtune-compiled", fused_linear_loss=True) == 2.0 * LOGITS / 32


def test_a_trained_head_sums_its_gradient_over_chunks() -> None:
    gradients = 2.0 * 2.0 * WORDS * WIDTH
    assert held("torchtune-compiled", True, loss_chunks=8) == 2.0 * 7 / 8 * LOGITS + gradients
    assert held("torchtune-compiled", True, fused_linear_loss=True) == 2.0 * LOGITS / 32 + gradients


def test_more_chunks_never_hold_more() -> None:
    sizes = [held("torchtune", loss_chunks=n) for n in (1, 2, 4, 8, 16)]
    assert sizes == sorted(sizes, reverse=True)


def test_what_has_no_vocabulary_has_no_chunks() -> None:
    with pytest.raises(InputError, match="vocabulary"):
        ps.workload("bert-large", head="classification", loss_chunks=8)
    with pytest.raises(InputError, match="its own chunks"):
        job(loss_chunks=8, fused_linear_loss=True)


RUNS = {run.run_id: run for run in read_runs([builtin("scenarios") / "validation" / "runs.csv"], ps.catalogue())}


@pytest.mark.parametrize(
    ("run_id", "memory_error", "time_error"), [("torchtune-0012", 0.02, 0.07), ("torchtune-0017", 0.005, 0.04)]
)
def test_torchtunes_runs(run_id: str, memory_error: float, time_error: float) -> None:
    run: MeasuredRun = RUNS[run_id]
    found = estimate(run.workload, run.system, run.plan, run.software, ps.catalogue().calibration())
    assert int(found.problems) == 0
    assert float(found.memory.allocated_bytes) == pytest.approx(run.measured_peak_memory_bytes, rel=memory_error)
    assert float(found.time.total_seconds) == pytest.approx(run.measured_step_seconds, rel=time_error)
