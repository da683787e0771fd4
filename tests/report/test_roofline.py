"""What people see of a roofline, to the letter, with figures that no formula decides."""

from dataclasses import replace
from pathlib import Path

import pytest

from perfsim.core.plan import Plan
from perfsim.graphs.points import Point, Roof, Roofline
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.workload import make_workload
from perfsim.report.roofline import merged, operation_text, roofline_lines
from perfsim.report.table import plain_text

GOLDEN = Path(__file__).parents[1] / "golden"


def point(operation: str, direction: str, kind: str, flops: float, size: float, seconds: float, **more) -> Point:
    given = {"part": "encoder", "count": 24, "launches": 1.0, "bound": "memory", "is_cached": False} | more
    is_product = kind in ("product", "attention")
    return Point(
        operation=operation, direction=direction, kind=kind, number_format="fp16", flops=flops, bytes=size,
        seconds=seconds, roof_share=flops / seconds / 65e12 if is_product else size / seconds / 320e9,
        time_share=given["count"] * seconds / 24e-3, **(given | ({"bound": "compute"} if is_product else {})),
    )  # fmt: skip


POINTS = (
    point("mlp_up", "forward", "product", 13e9, 40e6, 0.40e-3),
    point("attention", "backward", "attention", 3e9, 20e6, 0.20e-3),
    *(point(f"attention_{name}", "forward", "product", 3e9, 15e6, 0.10e-3) for name in ("query", "key", "value")),
    point("mlp_activation", "forward", "elementwise", 0.0, 25e6, 0.09e-3, launches=2.0),
    point("loss", "forward", "softmax", 0.0, 60e6, 0.24e-3, part="head", count=1, bound="launch"),
    point("embedding_norm", "backward", "norm", 0.0, 1e6, 0.001e-3, part="embedding", count=1, is_cached=True),
)


@pytest.fixture
def found() -> Roofline:
    """Eight kernels under the round roofs of a card called T4."""
    known = catalogue()
    roofs = (
        Roof("fp16", "compute", 65e12, 30e12, "fp16", "fp16", "datasheet A", "measured", "runs B"),
        Roof("fp32", "compute", 8e12, 4e12, "fp32", "fp32", "datasheet A", "rule", "rule C"),
        Roof(
            "fp16 attention", "attention", 65e12, 20e12, "attention_fraction", "fp16", "datasheet A", "rule", "rule C"
        ),
        Roof("DRAM", "dram", 320e9, 240e9, "bandwidth_fraction", "", "datasheet A", "fitted", "runs B"),
        Roof("SM traffic", "sm", 0.0, 5e12, "streaming", "", "", "fitted", "runs D"),
    )
    workload = make_workload(known.model("bert-large"), seq_len=128, precision="amp-fp16")
    software = replace(known.software("pytorch-2-eager"), key="eager", host_seconds=10e-6)
    return Roofline(known.gpu("T4"), roofs, POINTS, workload, Plan(micro_batch_size=8), software)


@pytest.mark.parametrize("width", [100, 80])
def test_text_to_the_letter(found: Roofline, width: int) -> None:
    text = plain_text(roofline_lines(found, 5), width)
    assert text == (GOLDEN / f"roofline-{width}.txt").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= width


def test_like_kernels_are_one_row_with_their_sum() -> None:
    rows = merged(POINTS)
    row = next(row for row in rows if row.operation == "attention_query/key/value")
    assert (row.launches, row.seconds) == (3.0, pytest.approx(0.3e-3))
    assert sum(row.time_share for row in rows) == pytest.approx(sum(point.time_share for point in POINTS))
    assert (row.intensity, row.flops_per_s) == (pytest.approx(200.0), pytest.approx(30e12))


def test_parts_are_named_where_they_must_be(found: Roofline) -> None:
    assert operation_text(found, "encoder", "mlp_up") == "mlp_up"
    assert operation_text(found, "head", "loss") == "head.loss"
    assert operation_text(found, "embedding", "embedding_norm") == "embedding_norm"
    both = replace(found, points=(*POINTS, replace(POINTS[0], part="decoder")))
    assert operation_text(both, "encoder", "mlp_up") == "encoder.mlp_up"


def test_marks_that_lie_together_share_a_number_and_the_key_names_them(found: Roofline) -> None:
    pytest.importorskip("matplotlib")
    from perfsim.report.roofline_plot import roofline_figure

    figure = roofline_figure(found)
    compute, move = figure.axes
    key = compute.texts[-1].get_text().splitlines()
    assert key[0].startswith("1  mlp_up  fwd 40.0 %") and any("attention_query/key/value" in line for line in key)
    assert [text.get_text() for text in move.texts[-1:]] == ["1  mlp_activation  fwd 9.0 %\n2  head.loss  fwd 1.0 %"]


def test_texts_do_not_cover_each_other(found: Roofline) -> None:
    pytest.importorskip("matplotlib")
    from perfsim.report.roofline_plot import roofline_figure

    figure = roofline_figure(found)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for axes in figure.axes for text in axes.texts if text.get_rotation() == 0.0]
    boxes += [text.get_window_extent() for text in figure.texts]
    overlapping = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    assert len(boxes) > 8 and overlapping == []
