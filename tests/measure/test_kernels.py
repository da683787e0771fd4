"""Cases count their bytes and FLOP; the tables are what `perfsim calibrate kernels` reads."""

from pathlib import Path
from typing import Any

import pytest

import perfsim as ps
from perfsim.inputs.kernel_tables import KINDS, read_kernels
from perfsim.measure import kernels
from perfsim.measure.cases import Attention, Case, Product, Stream, kernel_cases
from perfsim.measure.session import Save, work_off
from perfsim.measure.timing import burst, sustained
from tests.measure.conftest import PretendedBoard, SimulatedClock

AMPERE, VOLTA = (8, 0), (7, 0)


def test_counts_by_hand() -> None:
    assert (Product("bf16", 2, 3, 4).flops, Product("bf16", 2, 3, 4).bytes) == (48, 2 * (8 + 12 + 6))
    assert (Stream("fp32", "add", 2, 3).bytes, Stream("bf16", "dropout", 2, 3).bytes) == (72, 30)
    attention = Attention("bf16", 1, 2, 1, 4, 8, True)
    assert (attention.bytes, attention.flops(False), attention.flops(True)) == (2 * 8 * 4 * 6, 1024, 2560)


@pytest.mark.parametrize("is_quick", [True, False])
@pytest.mark.parametrize("capability", [AMPERE, VOLTA])
def test_cases_are_different_and_enough_to_fit(is_quick: bool, capability: tuple[int, int]) -> None:
    cases = kernel_cases(is_quick, capability, 24e9)
    assert len(set(cases)) == len(cases)
    for kind in (Product, Stream, Attention):
        rows = sum((2 if kind is Attention else 1) for case in cases if isinstance(case, kind))
        assert rows >= 15, kind
    head = cases[: len(cases) // 3]  # what a short budget leaves
    assert {type(case) for case in head} == {Product, Stream, Attention}
    assert {case.dtype for case in head} == {case.dtype for case in cases}
    assert all(case.op in KINDS for case in cases if isinstance(case, Stream))


def test_cards_before_ampere_get_no_bf16_no_tf32_and_no_grouped_queries() -> None:
    cases = kernel_cases(False, VOLTA, 16e9)
    assert {case.dtype for case in cases} == {"fp16", "fp32"}
    assert all(case.heads == case.kv_heads for case in cases if isinstance(case, Attention))


def test_small_cards_get_small_cases() -> None:
    assert max(case.bytes for case in kernel_cases(False, AMPERE, 8e9)) < 8e9 / 3


def test_calibrate_reads_the_folder(
    monkeypatch: pytest.MonkeyPatch, board: PretendedBoard, save: Save, tmp_path: Path
) -> None:
    def measured(card: Any, board: PretendedBoard, case: Case) -> list[dict[str, Any]]:
        if getattr(case, "m", 0) == 2048:
            raise RuntimeError("no kernel")
        clock = SimulatedClock(1e-6, 1e-3)
        timings = [burst(clock, board, clock.call)]
        if case.is_sustained:
            timings.append(sustained(clock, board, clock.call, 1, 1e-3, 0.1))
        return [timing.row() | {"pass": way} for timing in timings for way in ("forward", "backward")]

    monkeypatch.setattr(kernels, "measure_case", measured)
    cases = kernel_cases(True, AMPERE, 24e9)
    works = kernels.kernel_works(None, board, "rtx-4090", "perfsim measure", cases, save)  # type: ignore[arg-type]
    assert work_off(works, 1e6) == 0
    failed = sum(work.table.failures for work in {id(w.table): w for w in works}.values())
    assert failed > 0
    found = read_kernels([tmp_path], ps.catalogue())
    assert set(found.kinds()) == {"products", "streams", "attention"}
    assert all(set(rows.gpu) == {"rtx-4090"} for rows in found.kinds().values())
    assert found.products is not None
    assert found.products.seconds == pytest.approx(1e-3, rel=1e-5)
    assert found.attention is not None
    assert set(found.attention.is_backward) == {True, False}


@pytest.mark.parametrize(
    "case, rows",
    [
        (Product("bf16", 64, 32, 16), 1),
        (Product("fp32", 16, 8, 24, 3, "NT"), 1),
        (Product("tf32", 16, 8, 24, 1, "NN"), 1),
        *((Stream("fp32", op, 8, 16), 1) for op in "add mul gelu silu copy dropout softmax layer_norm".split()),
        (Attention("bf16", 2, 4, 2, 8, 16, True), 2),
    ],
)
def test_kernels_run(cpu: Any, board: PretendedBoard, case: Case, rows: int) -> None:
    found = kernels.measure_case(cpu, board, case)
    assert len(found) == rows
    assert all(row["time_us"] > 0 for row in found)


def test_layouts_multiply_what_they_say(cpu: Any) -> None:
    for layout in ("TN", "NN", "NT"):
        call, _ = kernels.product_call(cpu, Product("fp32", 6, 5, 4, 2, layout))  # type: ignore[arg-type]
        assert tuple(call(0).shape) == (2, 6, 5)  # type: ignore[attr-defined]
