"""What a convolution launches: products of its FLOPs with the bytes of its tensors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import perfsim as ps
from perfsim.core.arrays import stack
from perfsim.formulas.convolutions import ChannelNorm, Convolution
from perfsim.formulas.roofline import Kernel, kernel_activity, kernel_seconds
from perfsim.graphs.kernels import Lowering

SOFTWARE = ps.software("pytorch-2-eager")
convolutions = st.builds(
    lambda inputs, outputs, kernel, stride, size, is_transposed, images: Convolution(
        "c", 2.0, 1.0 * images * (size if is_transposed else size * stride) ** 2,
        1.0 * images * (size * stride if is_transposed else size) ** 2, inputs, outputs, kernel, stride,
        is_transposed=is_transposed,
    ),
    st.integers(1, 512), st.integers(1, 512), st.sampled_from([1, 2, 3, 4, 7]), st.integers(1, 4), st.integers(1, 64),
    st.booleans(), st.integers(1, 64),
)  # fmt: skip


def products(kernels: tuple[Kernel, ...]) -> list[Kernel]:
    return [kernel for kernel in kernels if kernel.kind == "product"]


@given(convolutions)
def test_all_three_products_have_the_convolutions_flops_and_its_tensors_bytes(op: Convolution) -> None:
    lowered = Lowering(SOFTWARE, "bf16").lower(op)
    (forward,), backward = products(lowered.forward), products(lowered.backward)
    assert len(backward) == 2
    for kernel in (forward, *backward):
        assert kernel.flops == pytest.approx(op.forward_flops, rel=1e-12)
        assert kernel.flops == pytest.approx(2 * kernel.batch * kernel.rows * kernel.columns * kernel.contraction)
        assert kernel.bytes == op.read_bytes + op.written_bytes
    rows = op.positions
    assert forward.rows == rows and forward.columns == op.outputs


def test_the_products_of_a_strided_convolution() -> None:
    """NVIDIA, "Convolutional Layers User's Guide": forward NPQ x CRS x K, weight gradient K x NPQ x CRS."""
    op = Convolution("c", 2.0, 8 * 56.0**2, 8 * 28.0**2, 128, 256, 3, 2)
    lowered = Lowering(SOFTWARE, "bf16").lower(op)
    shapes = [(k.rows, k.contraction, k.columns) for k in (*products(lowered.forward), *products(lowered.backward))]
    assert shapes == [
        (8 * 28**2, 128 * 9, 256), (8 * 56**2, 256 * 9 / 4, 128), (256, 8 * 28**2, 128 * 9)
    ]  # fmt: skip


def test_a_depthwise_convolution_streams() -> None:
    op = Convolution("c", 2.0, 49.0, 49.0, 512, 512, 3, groups=512)
    lowered = Lowering(SOFTWARE, "bf16").lower(op)
    assert not products(lowered.forward + lowered.backward)
    assert [kernel.kind for kernel in lowered.backward] == ["elementwise", "sum"]


def test_the_first_convolution_has_no_input_gradient_and_a_frozen_one_no_other() -> None:
    first = Convolution("c", 2.0, 49.0, 49.0, 3, 64, 3, has_input_gradient=False)
    frozen = Convolution("c", 2.0, 49.0, 49.0, 3, 64, 3, is_trained=False)
    lowering = Lowering(SOFTWARE, "bf16")
    assert [k.rows for k in products(lowering.lower(first).backward)] == [64]
    assert [k.columns for k in products(lowering.lower(frozen).backward)] == [3]


@pytest.mark.parametrize(
    "software,number_format",
    [("pytorch-2-eager", "tf32"), ("pytorch-1.7", "tf32"), ("pytorch-1.4", "fp32"), ("tensorflow-2", "fp32")],
)
def test_pytorch_convolves_fp32_images_in_tf32_since_1_7(software: str, number_format: str) -> None:
    op = Convolution("c", 4.0, 49.0, 49.0, 64, 64, 3)
    assert Lowering(ps.software(software), "fp32").lower(op).forward[0].number_format == number_format


def test_a_card_without_tf32_runs_it_in_fp32() -> None:
    calibration, cards = ps.catalogue().calibration(), [ps.gpu(n) for n in ("v100-pcie-32gb", "a100-sxm4-40gb")]
    op = Convolution("c", 4.0, 64 * 28.0**2, 64 * 28.0**2, 128, 128, 3)
    (new,) = Lowering(ps.software("pytorch-1.7"), "fp32").lower(op).forward
    (old,) = Lowering(ps.software("pytorch-1.4"), "fp32").lower(op).forward
    seconds = [kernel_activity(new, card, SOFTWARE, calibration).seconds for card in cards]
    assert seconds[0] == kernel_activity(old, cards[0], SOFTWARE, calibration).seconds
    assert seconds[1] < kernel_activity(old, cards[1], SOFTWARE, calibration).seconds
    both = kernel_activity(new, stack(cards), SOFTWARE, calibration)
    assert np.array_equal(both.seconds, seconds)
    assert both.core_joules[0] == kernel_activity(old, cards[0], SOFTWARE, calibration).core_joules


def test_winograd_takes_at_best_the_arithmetic_of_16_products_in_36() -> None:
    card, calibration = ps.gpu("v100-pcie-32gb"), ps.catalogue().calibration()
    op = Convolution("c", 4.0, 256 * 28.0**2, 256 * 28.0**2, 256, 256, 3)
    for kernel in products(Lowering(SOFTWARE, "fp32").lower(op).forward):
        plain = Kernel(
            "product", "fp32", kernel.bytes, kernel.flops, rows=kernel.rows, columns=kernel.columns,
            contraction=kernel.contraction,
        )  # fmt: skip
        ratio = kernel_seconds(plain, card, SOFTWARE, calibration) / kernel_seconds(kernel, card, SOFTWARE, calibration)
        assert 1.8 < ratio < 2.25


def test_a_batch_norm_reads_its_input_twice_each_way() -> None:
    """Moments, then the output; sums over input and gradient, then the input gradient."""
    op = ChannelNorm("n", 2.0, 100.0, 64, 4.0)
    lowered = Lowering(SOFTWARE, "bf16").lower(op)
    assert sum(kernel.bytes for kernel in lowered.forward) == 3 * 100 * 64 * 2
    assert sum(kernel.bytes for kernel in lowered.backward) == 5 * 100 * 64 * 2
