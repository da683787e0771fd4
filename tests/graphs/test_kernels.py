"""Kernel lists against counts of the frameworks' own code (bytes a value, read and written)."""

from dataclasses import replace

import pytest

import perfsim as ps
from perfsim.core.software import Software
from perfsim.formulas.operations import Attention, Linear, Lookup, Loss, Norm, Pointwise, Route
from perfsim.graphs.kernels import Lowering
from perfsim.inputs.catalogue import catalogue

HEADS, TOKENS, DIM = 2.0, 16.0, 64
SCORES = HEADS * TOKENS * TOKENS


AS_COUNTED = catalogue().before_runs()  # bytes as they are counted in code, before runs moved them


def lowering(software: str, number_format: str = "fp16", is_autocast: bool = False, **changes: object) -> Lowering:
    entry: Software = replace(AS_COUNTED.software(software), **changes)  # type: ignore[arg-type]
    return Lowering(entry, number_format, is_autocast)


def streamed(kernels) -> float:
    return sum(float(k.bytes * k.launches) for k in kernels if k.kind not in ("product", "attention", "column"))


def products(kernels) -> list:
    return [k for k in kernels if k.kind == "product"]


def score_bytes(lowered, a: float) -> tuple[float, float]:
    """Bytes a score between the products: without the context's copy."""
    context = 2.0 * a * HEADS * TOKENS * DIM
    return (streamed(lowered.forward) - context) / SCORES, (streamed(lowered.backward) - context) / SCORES


def attention(dropout: bool) -> Attention:
    return Attention("attention", 2.0, 1.0, HEADS, HEADS, TOKENS, TOKENS, DIM, DIM, False, False, dropout)


@pytest.mark.parametrize(
    "software,is_autocast,dropout,forward,backward",
    [
        # scale, mask, softmax, dropout in 16 bits
        ("pytorch-2-apex", False, True, 4 + 4 + 4 + 5, 5 + 6 + 4),
        # scale 4; mask to fp32 6, softmax 8, dropout 9, cast 6; cast 6, dropout 9, softmax 12, cast 6, scale 4
        ("pytorch-2-eager", True, True, 4 + 6 + 8 + 9 + 6, 6 + 9 + 12 + 6 + 4),
        # one kernel: scores, probabilities, dropped probabilities, mask
        ("pytorch-nvfuser", False, True, 2 + 2 + 2 + 1, 2 + 2 + 1 + 2),
        # XLA: three reads, fp32 random numbers by a kernel of their own
        ("tensorflow-2", True, True, 3 * 2 + 2 + 2 + 4 + 4, 2 * (2 + 2) + 2 + 4),
    ],
)
def test_bytes_a_score(software, is_autocast, dropout, forward, backward) -> None:
    lower = lowering(software, is_autocast=is_autocast, has_contiguous_copies=False).lower
    assert score_bytes(lower(attention(dropout)), 2.0) == pytest.approx((forward, backward))


def test_pytorch_2_0_keeps_an_fp32_softmax() -> None:
    lower = lowering("pytorch-2.0-compiled", is_autocast=True, has_contiguous_copies=False).lower
    assert score_bytes(lower(attention(False)), 2.0) == pytest.approx((2 + 4 + 2, 2 + 4 + 2))


def test_autocast_casts_each_products_input_and_a_compiler_once() -> None:
    op = Linear("key", 2.0, rows=8.0, columns=4.0, contraction=2.0, input_bytes=4.0, adds_gradient=True)
    weights, inputs = 6.0 * op.weights, op.input_values
    eager = lowering("pytorch-2-eager", is_autocast=True).lower(op)
    assert streamed(eager.forward) == weights + 6.0 * inputs
    assert streamed(eager.backward) == weights + (6.0 + 12.0) * inputs
    pieces = lowering("pytorch-2.0-compiled", is_autocast=True).lower(op)
    assert streamed(pieces.forward) == weights
    assert streamed(pieces.backward) == weights + 2.0 * inputs


def test_rms_norm_written_out() -> None:
    """bf16: cast 6, square 8, mean 4, scale 8, cast 6, weight 4 bytes a value forward."""
    op = Norm("norm", 2.0, 4.0, 8.0, is_rms=True)
    assert streamed(lowering("torchtune", "bf16").lower(op).forward) == 36.0 * 32.0


def test_keys_are_repeated_where_the_framework_does() -> None:
    op = Attention("attention", 2.0, 1.0, 8.0, 2.0, 16.0, 16.0, DIM, DIM)
    keys = 2.0 * 2.0 * 16.0 * 2 * DIM
    assert streamed(lowering("torchtune", "bf16").lower(op).forward) == (1.0 + 4.0) * keys
    assert streamed(lowering("megatron-core", "bf16").lower(op).forward) == 0.0


def test_routed_tokens_are_sorted_once_more_where_they_come_from_other_ranks() -> None:
    """Copy in 2, weighted copy out 3 bytes a value of one byte; and a copy each way between ranks."""
    for arrived, passes in ((0.0, 5.0), (100.0, 9.0)):
        op = Route("dispatch", 2.0, values=100.0, choices=10.0, arrived=arrived)
        lowered = lowering("megatron-core", "bf16").lower(op)
        assert streamed(lowered.forward) == pytest.approx(passes * 200.0 + 20 * 40.0)


def test_old_cublas_leaves_tensor_cores_idle() -> None:
    op = Linear("logits", 2.0, rows=8.0, columns=267735.0, contraction=64.0, is_vocabulary=True)
    assert {k.number_format for k in products(lowering("pytorch-1.4-apex").lower(op).forward)} == {"fp32"}
    assert {k.number_format for k in products(lowering("pytorch-1.7-apex").lower(op).forward)} == {"fp16"}


@pytest.mark.parametrize("software", ["pytorch-2-eager", "torchtune", "huggingface-trainer", "pytorch-2.0-compiled"])
def test_an_fp32_loss_of_16_bit_logits_moves_36_bytes(software) -> None:
    op = Loss("loss", 2.0, 4.0, 100.0)
    lowered = lowering(software).lower(op)
    assert streamed(lowered.forward + lowered.backward) == pytest.approx(36.0 * 400.0)


@pytest.mark.parametrize("software", sorted(ps.catalogue().names("software")))
@pytest.mark.parametrize("is_autocast", [False, True])
def test_every_software_lowers_every_operation(software, is_autocast) -> None:
    """No kernel without launches, no negative traffic; frozen code has no backward pass."""
    actions = ("activation", "gate", "dropout", "add", "rope")
    operations = [
        Linear("up", 2.0, rows=8.0, columns=4.0, contraction=2.0, has_bias=True, input_bytes=4.0, adds_gradient=True),
        attention(True),
        Norm("norm", 4.0, 4.0, 8.0),
        Norm("norm", 4.0, 4.0, 8.0, is_rms=True),
        Loss("loss", 2.0, 4.0, 9.0),
        Lookup("embedding", 4.0, 8.0, 4.0, 100.0),
        *(Pointwise("p", 2.0, 8.0, a) for a in actions),
    ]
    lower = lowering(software, is_autocast=is_autocast)
    for operation in operations:
        lowered = lower.lower(operation)
        assert all(k.bytes >= 0 and k.launches >= 1 for k in lowered.forward + lowered.backward), operation.name
        assert not replace(lower, has_backward=False).lower(operation).backward
