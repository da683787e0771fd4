"""FLOPs and bytes of convolutions worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim.formulas.convolutions import ChannelNorm, Convolution, Resample


def stem(**more: object) -> Convolution:
    """ResNet's first convolution on one image: 7x7/2, 3 to 64 channels, 224 to 112 pixels."""
    keys = {"input_positions": 224.0**2, "positions": 112.0**2, "inputs": 3, "outputs": 64, "kernel": 7}
    return Convolution("stem", 2.0, **keys | more)  # type: ignore[arg-type]


def test_resnets_first_convolution() -> None:
    assert stem().weights == 9408
    assert stem().forward_flops == 2 * 118_013_952
    assert stem(has_input_gradient=False).backward_flops == stem().forward_flops
    assert stem().backward_flops == 2 * stem().forward_flops
    assert stem().read_bytes == 2 * (3 * 224**2 + 9408)
    assert stem().written_bytes == 2 * 64 * 112**2


def test_a_cast_input_is_kept_as_its_copy() -> None:
    assert (stem().saves, stem().saved_bytes) == ("input", 0.0)
    wide = stem(input_bytes=4.0)
    assert (wide.saves, wide.saved_bytes) == ("none", 2 * 3 * 224**2)


def test_groups_share_the_weights_out() -> None:
    whole = Convolution("c", 2.0, 49.0, 49.0, 512, 512, 3)
    grouped = Convolution("c", 2.0, 49.0, 49.0, 512, 512, 3, groups=32)
    depthwise = Convolution("c", 2.0, 49.0, 49.0, 512, 512, 3, groups=512)
    assert grouped.forward_flops == whole.forward_flops / 32
    assert depthwise.weights == 512 * 9 and depthwise.is_depthwise and not grouped.is_depthwise


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 7), st.integers(1, 8), st.integers(1, 4))
def test_a_transposed_convolution_is_the_gradient_of_the_one_that_undoes_it(inputs, outputs, kernel, size, stride):
    small, large = 1.0 * size**2, 1.0 * (size * stride) ** 2
    up = Convolution("up", 2.0, small, large, inputs, outputs, kernel, stride, is_transposed=True)
    down = Convolution("down", 2.0, large, small, outputs, inputs, kernel, stride)
    assert up.forward_flops == down.forward_flops and up.weights == down.weights
    assert up.read_bytes - up.weights * 2.0 == down.written_bytes


def test_what_norms_and_pools_keep() -> None:
    batch = ChannelNorm("n", 2.0, 4 * 49.0, 512, 4.0)
    group = ChannelNorm("n", 2.0, 4 * 49.0, 512, 4.0, groups=32)
    assert (batch.saves, batch.saved_bytes, group.saved_bytes) == ("input", 8.0 * 512, 8.0 * 4 * 32)
    pool = Resample("p", 2.0, 400.0, 100.0, "maxpool")
    assert (pool.saves, pool.saved_bytes, pool.read_bytes, pool.written_bytes) == ("input", 800.0, 800.0, 200.0)
    assert Resample("u", 2.0, 100.0, 400.0, "upsample").saves == "none"


@pytest.mark.parametrize("kernel,stride,groups,fits", [(3, 1, 1, True), (3, 2, 1, False), (1, 1, 1, False),
                                                       (3, 1, 4, False)])  # fmt: skip
def test_winograd_is_for_whole_3x3_windows_without_stride(kernel, stride, groups, fits) -> None:
    assert Convolution("c", 4.0, 49.0, 49.0, 64, 64, kernel, stride, groups).has_winograd is fits
