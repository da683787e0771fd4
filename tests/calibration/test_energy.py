"""Fits of power: numbers that made the rows come back, the closed form is the estimate, perfsim's are the fit's."""

import tomllib
from dataclasses import replace

import numpy as np
import pytest

from perfsim.calibration.energy import PoweredRun
from perfsim.calibration.energy_fit import Measurements, fit_boards, fitted_process
from perfsim.calibration.energy_study import EnergyStudy, score, study
from perfsim.estimate import estimate
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.energy_tables import builtin_table, read_energy, read_products
from perfsim.paths import builtin
from perfsim.report.energy import rules_text

TRUTH = {
    "idle_share@HBM": 0.15, "idle_share@GDDR": 0.25, "busy_nanojoules_per_clock@all": 0.4, "picojoules_fp32@all": 6.0,
    "picojoules_tensor@volta": 0.9, "picojoules_tensor@turing": 0.5, "picojoules_tensor@ampere": 0.9,
    "knee_mhz@16 nm": 700.0, "knee_mhz@12 nm": 800.0, "knee_mhz@8 nm": 1100.0, "voltage_rise@all": 0.6,
}  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> list[PoweredRun]:
    return read_energy([builtin_table()], catalogue())


@pytest.fixture(scope="module")
def studied(rows: list[PoweredRun]) -> EnergyStudy:
    known = catalogue()
    base = known.power_rules.server.watts_per_gpu
    return study(rows, read_products(known), known.calibration(), base)


def boards_of(rows: list[PoweredRun]) -> list[PoweredRun]:
    return [row for row in rows if not row.scope.startswith("node")]


def test_numbers_that_made_the_rows_come_back(rows: list[PoweredRun]) -> None:
    known = catalogue()
    data = Measurements(boards_of(rows), [], known.calibration())
    made = data.predict(TRUTH)
    full = np.ones(len(data.runs))
    full[data.is_timed] = made.times[data.is_timed]
    runs = [replace(r, watts=w, relative_seconds=t if r.relative_seconds else 0.0)
            for r, w, t in zip(data.runs, made.watts, full, strict=True)]  # fmt: skip
    found = fit_boards(Measurements(runs, [], known.calibration()), np.ones(len(data.measured), dtype=bool))
    for name in ("idle_share@HBM", "picojoules_fp32@all", "busy_nanojoules_per_clock@all"):
        assert found.values[name] == pytest.approx(TRUTH[name], rel=0.05)


def test_the_closed_form_of_the_fit_is_the_estimate(rows: list[PoweredRun]) -> None:
    """Within 1 %: the launches that hide behind slower kernels are taken at the run's own limit."""
    known = catalogue()
    chosen = [row for row in rows if row.scope == "board"][::31]
    data = Measurements(chosen, [], known.calibration())
    values = {f"{name}@all": v for name, v in
              (("idle_share", 0.2), ("busy_nanojoules_per_clock", 0.3), ("picojoules_fp32", 5.0),
               ("picojoules_tensor", 0.9), ("knee_mhz", 700.0), ("voltage_rise", 0.3))}  # fmt: skip
    values |= {"knee_mhz@12 nm": 700.0, "idle_share@HBM": 0.2, "idle_share@GDDR": 0.2}
    values.pop("knee_mhz@all")
    found = data.predict(values)
    for i, row in enumerate(chosen):
        run, power = row.run, row.card.power(fitted_process(row.card, values))
        assert run.workload and run.system and run.plan and run.software
        system = replace(run.system, gpu=replace(run.system.gpu, power=power))
        own = estimate(run.workload, system, run.plan, run.software, known.calibration())
        assert found.watts[i] == pytest.approx(float(own.watts_per_gpu), rel=0.01)
        assert found.seconds[i] == pytest.approx(float(own.time.total_seconds), rel=0.01)


def test_a_lower_limit_never_draws_more_and_is_never_faster(rows: list[PoweredRun]) -> None:
    """To a thousandth: launches that hide behind slower kernels are taken at the run's own limit."""
    chosen = [row for row in rows if row.scope == "board"]
    found = Measurements(chosen, [], catalogue().calibration()).predict(TRUTH)
    assert np.all(found.times >= 1.0 - 1e-9)
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, row in enumerate(chosen):
        assert row.run.workload
        groups.setdefault((row.card.key, row.network, row.run.workload.global_batch_size), []).append(i)
    for members in groups.values():
        limits = [float(chosen[i].run.system.gpu.power_limit_watts) for i in members]  # type: ignore[union-attr]
        order = np.array(members)[np.argsort(limits)]
        assert np.all(np.diff(np.log(found.watts[order])) >= -1e-3)
        assert np.all(np.diff(np.log(found.seconds[order])) <= 1e-3)
        assert np.all(found.watts[order] <= np.sort(limits) + 1e-9)


def test_what_a_score_says() -> None:
    one = score("x", [110.0, 90.0], [100.0, 100.0])
    assert (one.rows, round(one.mape, 9), round(one.bias, 9)) == (2, 10.0, 0.0)


def test_reference_figures(studied: EnergyStudy) -> None:
    """docs/validation.md; a percent of room for other versions of numpy and scipy."""
    tables = studied.tables
    mape = {title: {s.name: s.mape for s in scores} for title, scores in tables.items()}
    assert not studied.problems
    assert mape["joules of a board by card, in sample"]["all"] < 6.2
    assert mape["joules of a board by card, card left out"]["all"] < 8.8
    assert mape["joules of a board by network, network left out"]["all"] < 8.0
    assert mape["joules of a server's step, card left out"]["all"] < 9.6
    assert studied.server and studied.server.efficiency == pytest.approx(0.98, abs=0.002)


@pytest.mark.slow
def test_perfsims_own_numbers_are_the_fit_of_its_own_tables(studied: EnergyStudy) -> None:
    """The shape of steps is taken from the file itself, so numbers differ in their third figure."""
    found = tomllib.loads(rules_text(studied, "test"))
    own = tomllib.loads((builtin("specs") / "calibration" / "power.toml").read_text(encoding="utf-8"))
    for block in found["process"]:
        (ours,) = [p for p in own["process"] if p["match"] == block["match"]]
        for name in ("idle_share", "busy_nanojoules_per_clock", "knee_mhz", "voltage_rise"):
            assert ours[name] == pytest.approx(block[name], rel=0.02), name
        assert ours["picojoules_per_flop"] == pytest.approx(block["picojoules_per_flop"], rel=0.02)
        assert ours["rows"] == block["rows"] and ours["error_percent"] == pytest.approx(block["error_percent"], abs=1.5)
    assert own["server"]["share_of_board"] == pytest.approx(found["server"]["share_of_board"], abs=0.005)
