"""Fits of collectives: known numbers come back, what was not measured is refused, presets give what they say."""

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import perfsim as ps
from perfsim.calibration.collective_fit import RANGES, fit_preset, left_out, model_of
from perfsim.calibration.collective_study import study
from perfsim.calibration.collectives import Collectives, rate_at
from perfsim.core.fabric import Group
from perfsim.formulas.collectives import all_reduce_seconds
from perfsim.formulas.groups import route
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.collective_tables import builtin_table, read_collectives
from perfsim.inputs.files import walk
from perfsim.report.collectives import presets_text

SIZES = 2.0 ** np.arange(10, 31)


def measured(ranks: tuple[int, ...], collectives: tuple[str, ...], ring: float) -> Collectives:
    """Rows to fill in: every size of every collective on every number of ranks."""
    grid = [(c, n, s) for c in collectives for n in ranks for s in SIZES]
    count = len(grid)

    def fill(value: object) -> np.ndarray:
        return np.array([value] * count)

    return Collectives(
        fill("box"), fill("box"), fill(""), np.array([c for c, _, _ in grid]), np.array([n for _, n, _ in grid]),
        np.array([n for _, n, _ in grid]), np.array([s for _, _, s in grid]), fill(ring), fill(0.0), fill(1.0),
        fill(False), fill(1.0), fill("test"),
    )  # fmt: skip


def test_numbers_that_made_the_rows_come_back() -> None:
    rows = measured((2, 4, 8), ("all_reduce", "all_gather", "all_to_all"), 240e9)
    model = model_of(rows)
    truth = {f"{p}.{k}": bounds[0] for p, keys in RANGES.items() for k, bounds in keys.items()}
    truth |= {"low_latency.base_us": 5.0, "simple.base_us": 25.0, "simple.fraction": 0.9, "send.fraction": 0.8}
    made = replace(rows, seconds=model.predict(truth, rows))
    found = fit_preset("box", made)
    assert found.protocols["low_latency"]["base_us"] == pytest.approx(5.0, rel=0.05)
    assert found.protocols["simple"]["fraction"] == pytest.approx(0.9, rel=0.02)
    assert np.max(np.abs(found.errors)) < 2.0


def test_rates_of_a_machine_are_found_by_number_of_cards() -> None:
    rows = measured((2, 4), ("all_reduce",), 0.0)
    model = model_of(rows)
    truth = {"ring@2": 12.0, "ring@4": 5.0}
    found = fit_preset("box", replace(rows, seconds=model.predict(truth, rows)))
    assert found.rates[2][0] == pytest.approx(12.0, rel=0.05)
    assert found.rates[4][0] == pytest.approx(5.0, rel=0.05)


def test_cards_that_take_turns_on_one_medium_predict_more_of_them() -> None:
    """From 12 to 5 GB/s on twice the cards: every further card adds as much to a byte's time."""
    rows = measured((2, 4, 8), ("all_reduce",), 0.0)
    made = replace(rows, seconds=model_of(rows).predict({"ring@2": 12.0, "ring@4": 5.0, "ring@8": 30 / 13}, rows))
    errors = left_out(made, made.ranks > 4)
    assert np.max(np.abs(errors[made.ranks == 8])) < 3.0


def test_one_rate_does_not_tell_that_of_more_cards() -> None:
    rows = measured((4, 8), ("all_reduce",), 0.0)
    made = replace(rows, seconds=model_of(rows).predict({"ring@4": 5.0, "ring@8": 2.0}, rows))
    errors = left_out(made, made.ranks > 4)
    assert np.all(np.isnan(errors))


@given(st.dictionaries(st.integers(2, 16), st.floats(0.1, 500.0), min_size=1, max_size=4), st.integers(2, 64))
def test_a_rate_beyond_the_measured_ones_never_rises(rates: dict[int, float], ranks: int) -> None:
    most = max(rates)
    assert rate_at(rates, most) == pytest.approx(rates[most])
    assert 0.0 < rate_at(rates, most + ranks) <= rates[most] * (1 + 1e-9)


def test_too_few_sizes_are_refused() -> None:
    rows = measured((2,), ("all_reduce",), 0.0)
    few = rows.where(np.isin(rows.bytes, SIZES[:3]))
    with pytest.raises(ValueError, match="3 payload sizes; 5 at least"):
        fit_preset("box", few)
    with pytest.raises(ValueError, match="3 rows of one machine; 15 at least"):
        study(few)


def test_a_machine_of_ones_own_from_its_log_to_a_prediction(tmp_path: Path) -> None:
    """Rows of a log become a preset, the preset a system's links, and the system predicts the rows."""
    rows = measured((2,), ("all_reduce",), 0.0)
    seconds = model_of(rows).predict({"ring@2": 3.0}, rows)
    lines = [
        f"{int(s)} {int(s / 4)} float sum -1 {t * 1e6:.3f} 0 0 0" for s, t in zip(rows.bytes, seconds, strict=True)
    ]
    log = tmp_path / "all_reduce_perf-mybox.log"
    log.write_text("# nThread 1 nGpus 2\n" + "\n".join(lines) + "\n")
    studied = study(read_collectives([log], catalogue()), cross_validates=False)
    specs = tmp_path / "specs"
    (specs / "calibration").mkdir(parents=True)
    (specs / "systems").mkdir()
    (specs / "calibration" / "collectives.toml").write_text(presets_text(studied, "a test"))
    box = (Path(__file__).parents[2] / "specs" / "systems" / "pcie-2x-rtx-4090.toml").read_text()
    name = studied.presets[0].name
    (specs / "systems" / "mybox.toml").write_text(box.replace("peer_to_peer", f'collectives = "{name}"\npeer_to_peer'))
    system = catalogue((specs,)).system("mybox")
    predicted = all_reduce_seconds(route(system, Group(2, 1)), rows.bytes)
    assert np.mean(np.abs(predicted / seconds - 1)) < 0.03


@pytest.mark.slow
def test_shipped_presets_are_what_the_command_writes() -> None:
    """Single numbers that the rows hardly tell differ between versions of scipy; what presets err by does not."""
    rows = read_collectives([builtin_table()], catalogue())
    written = tomllib.loads(presets_text(study(rows, cross_validates=False), "perfsim calibrate collectives"))
    text = (Path(__file__).parents[2] / "specs" / "calibration" / "collectives.toml").read_text(encoding="utf-8")
    for kind in ("preset", "network"):
        shipped = tomllib.loads(text)[kind]
        assert [(one["name"], one["rows"]) for one in shipped] == [(one["name"], one["rows"]) for one in written[kind]]
        errors = ([one["error_percent"] for one in found] for found in (shipped, written[kind]))
        assert next(errors) == pytest.approx(next(errors), abs=0.3)
    ours, theirs = dict(walk(tomllib.loads(text))), dict(walk(written))
    assert ours.keys() == theirs.keys()
    numbers = {place: value for place, value in ours.items() if isinstance(value, int | float)}
    assert np.mean([theirs[place] == pytest.approx(value, rel=0.02) for place, value in numbers.items()]) > 0.9
    assert all(theirs[place] == value for place, value in ours.items() if place not in numbers)


def test_every_preset_and_network_that_a_rule_names_is_there() -> None:
    known = catalogue()
    for key in known.names("systems"):
        assert np.min(ps.system(key).within.entries.ring_bytes_per_s) > 0
    for name in ("nvswitch-2", "nvswitch-3", "nvswitch-5", "nvlink", "nvlink-mesh", "nvlink-bridge", "pcie"):
        assert known.collectives.preset(name).source
    for name in ("infiniband", "roce", "efa-1", "efa-2", "ethernet"):
        assert known.collectives.network(name).source
