"""Kernel fits on the shipped tables: errors within the recorded ones, and the shipped rules are their output."""

from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import perfsim as ps
from perfsim.calibration.kernel_fit import KernelFit, card_left_out, cross_validated, fit_kernels, predicted, study
from perfsim.calibration.kernel_models import ProductModel, StreamModel
from perfsim.calibration.kernels import Products, fold_of
from perfsim.inputs.kernel_tables import builtin_tables, read_kernels
from perfsim.paths import builtin
from perfsim.report.kernels import kernel_json, kernel_lines, rules_text

CARDS = ("h100-sxm5-80gb", "a100-sxm4-80gb")


@cache
def tables():
    return read_kernels(builtin_tables(), ps.catalogue())


def products(*cards: str) -> Products:
    rows = tables().products
    return rows.where(np.isin(rows.gpu, cards) & (rows.number_format == "bf16"))


@cache
def two_cards() -> KernelFit:
    return fit_kernels(ProductModel(ps.catalogue().calibration()), products(*CARDS), tables().gpus(ps.catalogue()))


def mape(seconds: np.ndarray, measured: np.ndarray) -> float:
    return float(np.mean(np.abs(seconds / measured - 1.0)))


def test_a_card_fitted_alone_equals_the_card_fitted_among_others() -> None:
    gpus, model = tables().gpus(ps.catalogue()), ProductModel(ps.catalogue().calibration())
    alone = fit_kernels(model, products(CARDS[0]), gpus)
    assert alone.own(CARDS[0]) == two_cards().own(CARDS[0])


def test_products_are_within_seven_percent_on_shapes_that_the_fit_has_not_seen() -> None:
    rows, gpus = products(*CARDS), tables().gpus(ps.catalogue())
    found = cross_validated(two_cards(), rows, gpus, folds=3)
    assert mape(predicted(two_cards(), rows, gpus), rows.seconds) < mape(found, rows.seconds) < 0.07


def test_a_card_left_out_is_worse_but_not_lost() -> None:
    rows, gpus = products(*CARDS), tables().gpus(ps.catalogue())
    assert 0.05 < mape(card_left_out(two_cards(), rows, gpus), rows.seconds) < 0.30


def test_every_shape_is_in_one_fold_on_all_cards() -> None:
    rows = products(*CARDS)
    folds: dict[object, int] = {}
    for shape, fold in zip(rows.shapes, fold_of(rows, 5), strict=True):
        assert folds.setdefault(shape, fold) == fold
    assert set(folds.values()) == {0, 1, 2, 3, 4}


def test_streams_find_the_bandwidth_of_a_card() -> None:
    rows = tables().streams
    rows = rows.where(rows.gpu == "v100-pcie-32gb")
    found = fit_kernels(StreamModel(ps.catalogue().calibration()), rows, tables().gpus(ps.catalogue()))
    value, spread = found.own("v100-pcie-32gb")["bandwidth_fraction"]
    assert value == pytest.approx(0.91, abs=0.02)
    assert 0.0 < spread < 0.02


@pytest.mark.slow
def test_the_shipped_rules_are_what_the_command_writes() -> None:
    known = ps.catalogue()
    gpus = tables().gpus(known)
    studied = study(tables().kinds(), gpus, known.calibration(), leaves_cards_out=False)
    text = rules_text(studied, gpus, "perfsim calibrate kernels")
    shipped = Path(builtin("specs") / "calibration" / "kernels.toml").read_text(encoding="utf-8")
    assert text == shipped
    records = {"streams": known.calibration().streaming, "attention": known.calibration().attention}
    for one in studied:
        shared = asdict(records[one.name]) if one.name in records else {}
        for parameter in one.fit.model.parameters["shared"]:
            if not parameter.name.endswith("_host_share"):
                value, spread = one.fit.fitted.values[parameter.name], one.fit.fitted.errors[parameter.name]
                assert shared[parameter.name] == pytest.approx(value, abs=spread), parameter.name


def test_rules_and_reports_of_one_card(tmp_path: Path) -> None:
    known = ps.catalogue()
    gpus = tables().gpus(known)
    studied = study({"products": products(CARDS[0])}, gpus, known.calibration())
    text = rules_text(studied, gpus, "test")
    folder = tmp_path / "calibration"
    folder.mkdir()
    (folder / "kernels.toml").write_text(text, encoding="utf-8")
    from perfsim.inputs.catalogue import catalogue

    mine = catalogue((tmp_path,)).gpu(CARDS[0]).calibration
    assert mine.gemm_fraction["bf16"] == pytest.approx(two_cards().own(CARDS[0])["gemm_fraction"][0], rel=0.01)
    assert mine.gemm_fraction["fp8"] == known.gpu(CARDS[0]).calibration.gemm_fraction["fp8"]
    assert '"mape"' in kernel_json(studied)
    assert len(list(kernel_lines(studied, 3))) > 2
