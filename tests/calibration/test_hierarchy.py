"""Effects on many runs at once: what was put in is found, odd runs do not decide, nothing passes its bound."""

import numpy as np
import pytest

from perfsim.calibration.hierarchy import Effects, effects

RUNS, LEVELS = 600, 12
PRIORS = np.array([0.1, 0.1])
KINDS = np.repeat([0, 1], LEVELS // 2)


@pytest.fixture
def made() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(design, effects, residuals): each run has a level of either kind; noise of 2 %."""
    rng = np.random.default_rng(7)
    design = np.zeros((RUNS, LEVELS))
    design[np.arange(RUNS), rng.integers(0, 6, RUNS)] = rng.uniform(0.3, 0.9, RUNS)
    design[np.arange(RUNS), 6 + rng.integers(0, 6, RUNS)] = rng.uniform(0.1, 0.5, RUNS)
    truth = rng.normal(0.0, 0.15, LEVELS)
    return design, truth, design @ truth + 0.02 * rng.standard_t(4, RUNS)


def found(design: np.ndarray, residuals: np.ndarray, **options: object) -> Effects:
    return effects(design, KINDS, residuals, np.ones(len(residuals)), PRIORS, **options)  # type: ignore[arg-type]


def test_what_was_put_in_is_found_within_its_error(made):
    design, truth, residuals = made
    fit = found(design, residuals)
    assert np.all(np.abs(fit.mean - truth) < 4.0 * fit.error)
    assert np.all(fit.error < 0.05)
    assert fit.noise == pytest.approx(0.02, rel=0.3)
    assert fit.spreads == pytest.approx([np.std(truth[:6]), np.std(truth[6:])], rel=0.6)


def test_odd_runs_do_not_decide(made):
    design, truth, residuals = made
    odd = residuals.copy()
    odd[::20] += 1.5
    assert np.abs(found(design, odd).mean - truth).max() < 0.06
    least_squares = np.linalg.lstsq(design, odd, rcond=None)[0]
    assert np.abs(least_squares - truth).max() > 0.1


def test_a_level_without_runs_keeps_its_prior(made):
    design, _, residuals = made
    design[:, 3] = 0.0
    fit = found(design, residuals)
    assert fit.mean[3] == pytest.approx(0.0, abs=1e-12)
    assert fit.error[3] == pytest.approx(fit.spreads[0], rel=0.05)


def test_without_runs_nothing_is_known_but_the_priors(made):
    design, _, residuals = made
    fit = found(design[:0], residuals[:0])
    assert np.all(fit.mean == 0.0)
    assert fit.error == pytest.approx(PRIORS[KINDS])


def test_nothing_passes_its_bound_and_the_others_make_up_for_it(made):
    design, truth, residuals = made
    least, most = np.full(LEVELS, -np.inf), np.full(LEVELS, np.inf)
    top, bottom = int(np.argmax(truth)), int(np.argmin(truth))
    most[top], least[bottom] = truth[top] - 0.1, truth[bottom] + 0.1
    fit = found(design, residuals, bounds=(least, most))
    assert np.all((least - 1e-12 <= fit.mean) & (fit.mean <= most + 1e-12))
    assert (fit.mean[top], fit.mean[bottom]) == pytest.approx((most[top], least[bottom]))


def test_held_spreads_stay_and_a_start_leads_to_the_same(made):
    design, _, residuals = made
    assert found(design, residuals, has_fixed_spreads=True).spreads == pytest.approx(PRIORS)
    whole = found(design, residuals)
    assert found(design, residuals, start=whole).mean == pytest.approx(whole.mean, abs=5e-3)
