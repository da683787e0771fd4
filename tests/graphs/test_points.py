"""A card's roofs and the kernels under them: never above a roof, and bound by what they are bound by."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import perfsim as ps
from perfsim.core.workload import PRECISIONS
from perfsim.graphs.points import Roofline, roofline
from perfsim.inputs.roofs import check_card

CARDS = ("rtx-3090", "h100-sxm5-80gb", "gtx-1080-ti", "b200", "t4", "v100-sxm2-16gb")
MODELS = ("bert-large", "gpt2", "llama3-8b", "mixtral-8x7b")
SOFTWARE = ("pytorch-2-eager", "pytorch-2-compiled", "pytorch-1.11", "megatron-core", "huggingface-trainer")


def found(card: str, model: str, software: str, precision: str, size: int = 4, seq_len: int = 512) -> Roofline:
    known = ps.catalogue()
    job = ps.workload(model, task="pretrain", seq_len=seq_len, precision=precision)
    return roofline(ps.gpu(card), known.calibration(), job, ps.Plan(micro_batch_size=size), ps.software(software))


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(CARDS), st.sampled_from(MODELS), st.sampled_from(SOFTWARE), st.sampled_from(sorted(PRECISIONS)),
    st.sampled_from([1, 4, 32]), st.sampled_from([64, 500, 512]),
)  # fmt: skip
def test_no_kernel_is_above_its_roof(card, model, software, precision, size, seq_len) -> None:
    job = ps.workload(model, task="pretrain", seq_len=seq_len, precision=precision)
    try:
        check_card(job, ps.gpu(card), ps.software(software))
    except ps.InputError:
        return
    answer = found(card, model, software, precision, size, seq_len)
    roofs = {roof.name: roof.highest for roof in answer.roofs}
    assert answer.points
    for point in answer.points:
        assert 0.0 < point.roof_share <= 1.0 + 1e-9, point
        assert point.flops_per_s <= roofs[point.number_format] * (1 + 1e-9)
        assert point.bytes_per_s <= max(roofs["DRAM"], roofs["SM traffic"]) * (1 + 1e-9)
    assert sum(point.time_share for point in answer.points) == pytest.approx(1.0)
    assert sum(answer.bound_shares().values()) == pytest.approx(1.0)


def test_bounds_are_what_they_say() -> None:
    points = found("rtx-3090", "bert-large", "pytorch-2-eager", "amp-bf16", 32).points
    bounds = {(point.operation, point.direction, point.kind): point.bound for point in points}
    assert bounds["mlp_up", "forward", "product"] == "compute"
    assert bounds["mlp_activation", "forward", "elementwise"] == "memory"
    tiny = found("b200", "gpt2", "pytorch-2-eager", "amp-bf16", 1, 16).points
    assert {point.bound for point in tiny if point.kind == "elementwise"} >= {"launch"}


def test_seconds_are_those_of_the_estimate() -> None:
    known = ps.catalogue()
    job = ps.workload("bert-large", task="pretrain", precision="amp-bf16", global_batch_size=4)
    answer = found("rtx-3090", "bert-large", "pytorch-2-eager", "amp-bf16", 4)
    whole = ps.estimate(job, known.box("rtx-3090", 1), ps.Plan(micro_batch_size=4))
    assert answer.seconds == pytest.approx(float(whole.time.forward_seconds + whole.time.backward_seconds))


def test_training_the_head_alone_goes_back_through_nothing_else() -> None:
    known = ps.catalogue()
    job = ps.workload("bert-large", task="freeze", precision="fp32")
    answer = roofline(ps.gpu("T4"), known.calibration(), job, ps.Plan(), ps.software("pytorch-2-eager"))
    assert {point.part for point in answer.points if point.direction == "backward"} == {"head"}


def test_a_roof_s_highest_is_what_the_card_really_reaches() -> None:
    roof = roofline(ps.gpu("RTX 4090"), ps.catalogue().calibration()).roofs[0]
    assert replace(roof, datasheet=1.0, reached=2.0).highest == 2.0
