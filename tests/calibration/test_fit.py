"""The fitter finds what made the data, says how sure it is, and says what the data do not tell."""

import numpy as np
import pytest

from perfsim.calibration.fit import Parameter, fit

X = np.geomspace(1.0, 1000.0, 60)


def line(values: dict[str, float]) -> np.ndarray:
    return values["start"] + X / values["rate"]


PARAMETERS = (Parameter("start", 1.0, 0.0, 100.0), Parameter("rate", 1.0, 0.1, 100.0))


def test_it_recovers_the_truth_and_an_error_that_covers_it() -> None:
    rng = np.random.default_rng(0)
    found = fit(PARAMETERS, line, line({"start": 5.0, "rate": 3.0}) * np.exp(rng.normal(0.0, 0.03, len(X))))
    for name, truth in (("start", 5.0), ("rate", 3.0)):
        assert abs(found.values[name] - truth) < 4.0 * found.errors[name] < truth
    assert found.at_bound == ()
    assert found.count == 60


def test_one_wild_row_in_ten_does_not_move_it() -> None:
    measured = line({"start": 5.0, "rate": 3.0})
    measured[::10] *= 5.0
    found = fit(PARAMETERS, line, measured)
    assert found.values["rate"] == pytest.approx(3.0, rel=0.03)


def test_a_parameter_at_its_limit_is_named() -> None:
    found = fit(PARAMETERS, line, line({"start": 5.0, "rate": 500.0}))
    assert "rate" in found.at_bound


def test_a_parameter_that_does_nothing_has_no_error_bar() -> None:
    idle = Parameter("idle", 1.0, 0.0, 2.0)
    assert fit((*PARAMETERS, idle), line, line({"start": 5.0, "rate": 3.0})).errors["idle"] == np.inf


def test_two_that_only_count_together_are_named() -> None:
    both = (Parameter("a", 1.0, 0.0, 10.0), Parameter("b", 1.0, 0.0, 10.0))
    found = fit(both, lambda v: v["a"] * v["b"] * X, 6.0 * X * np.exp(np.random.default_rng(1).normal(0, 0.02, len(X))))
    assert ("b", "a") in found.correlations


def test_slopes_of_parts_come_from_one_evaluation() -> None:
    first = np.arange(len(X)) < 30
    parts = (Parameter("rate@first", 1.0, 0.1, 100.0), Parameter("rate@rest", 1.0, 0.1, 100.0))
    calls = 0

    def predict(values: dict[str, float]) -> np.ndarray:
        nonlocal calls
        calls += 1
        return X / np.where(first, values["rate@first"], values["rate@rest"])

    found = fit(parts, predict, X / np.where(first, 2.0, 7.0), acts_on={"rate@first": first, "rate@rest": ~first})
    assert found.values == pytest.approx({"rate@first": 2.0, "rate@rest": 7.0})
    assert calls < 60


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="1 rows cannot identify 2 parameters"):
        fit(PARAMETERS, lambda v: np.array([v["start"]]), np.array([1.0]))
