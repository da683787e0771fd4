import pytest

from perfsim.inputs.catalogue import Catalogue, catalogue
from perfsim.inputs.gpu import FORMATS
from perfsim.units import GIB

# Dense half-precision FLOP per clock and multiprocessor, products summed in fp32, by compute capability.
PER_CLOCK = {"7.0": 1024, "7.5": 1024, "8.0": 2048, "8.6": 1024, "8.9": 1024, "9.0": 4096, "10.0": 8192, "10.3": 8192}
PER_CLOCK |= {"12.0": 1024}
HALVED_BY_DATASHEET = {"a10g", "l40", "h20-96gb"}  # published far below rate x SMs x clock
WHOLE_RATE_SERIES = ("Titan", "Quadro", "RTX A", "RTX Ada", "RTX PRO", "Tesla", "A", "L", "H", "GH", "B", "GB")


@pytest.fixture(scope="module")
def specs() -> Catalogue:
    return catalogue()


def test_all_cards_are_there(specs: Catalogue) -> None:
    assert len(specs.names("gpus")) >= 108
    series = {specs.gpu(key).series for key in specs.names("gpus")}
    assert series >= {"GTX 10", "RTX 20", "RTX 30", "RTX 40", "RTX 50", "RTX A", "RTX Ada", "Tesla", "A", "H", "B"}


def test_datasheet_units_become_si(specs: Catalogue) -> None:
    card = specs.gpu("a100-sxm4-80gb")
    assert card.memory_bytes == 80 * GIB
    assert card.memory_bandwidth_bytes_per_s == 2039e9
    assert card.peak_flops_per_s["bf16"] == 312e12
    assert card.peak_flops_per_s["tf32"] == 156e12
    assert card.peak_flops_per_s["fp8"] == 0
    assert card.clock_hz == 1410e6
    assert (card.multiprocessors, card.compute_capability, card.power_limit_watts) == (108, 8.0, 400)


def test_consumer_cards_halve_products_summed_in_fp32(specs: Catalogue) -> None:
    assert specs.gpu("rtx-4090").peak_flops_per_s["fp16"] == pytest.approx(165.2e12)
    assert specs.gpu("rtx-6000-ada").peak_flops_per_s["fp16"] == pytest.approx(364.2e12)


def test_cards_without_tensor_cores_have_no_bf16_and_sum_fp16_at_the_fp32_rate(specs: Catalogue) -> None:
    for key in ("gtx-1080-ti", "p100-sxm2-16gb", "gtx-1660-ti"):
        peaks = specs.gpu(key).peak_flops_per_s
        assert peaks["fp16"] == peaks["fp32"]
        assert peaks["bf16"] == peaks["tf32"] == peaks["fp8"] == 0


def test_tensor_peaks_follow_from_multiprocessors_and_clock(specs: Catalogue) -> None:
    for key in specs.names("gpus"):
        card = specs.gpu_spec(key)
        peak = card.peak_tflops.fp16
        if key in HALVED_BY_DATASHEET or peak is None or card.peak_tflops.fp16 == card.peak_tflops.fp32:
            continue
        halves = 1 if card.series in WHOLE_RATE_SERIES else 2
        clock = (card.tensor_clock_mhz or card.boost_mhz) * 1e6
        law = PER_CLOCK[card.compute_capability] * card.multiprocessors * clock / halves
        assert peak * 1e12 == pytest.approx(law, rel=0.015), key


def test_formats_keep_their_proportions(specs: Catalogue) -> None:
    for key in specs.names("gpus"):
        peaks = specs.gpu(key).peak_flops_per_s
        assert set(peaks) == set(FORMATS)
        if peaks["bf16"]:
            assert peaks["bf16"] == peaks["fp16"] == pytest.approx(2 * peaks["tf32"], rel=0.015)
        if peaks["fp8"]:
            assert peaks["fp8"] == pytest.approx(2 * peaks["fp16"], rel=0.02)


def test_every_card_is_calibrated(specs: Catalogue) -> None:
    for key in specs.names("gpus"):
        card = specs.gpu(key)
        assert card.calibration.basis in ("measured", "fitted", "rule")
        for name, peak in card.peak_flops_per_s.items():
            assert not peak or 0.02 < card.calibration.gemm_fraction[name] <= 1.2
        assert 0.3 < card.calibration.bandwidth_fraction <= 1
        assert 0 < card.calibration.kernel_seconds < 1e-4
