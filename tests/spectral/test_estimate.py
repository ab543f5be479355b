"""Means over runs with intervals over users and seeds, against the closed forms of each alone."""

import numpy as np
import pytest
from scipy import stats

from spectral.estimate import estimate

RNG = np.random.default_rng(0)


def test_one_run_has_the_band_of_its_users_alone():
    values, samples = RNG.normal(size=(1, 7)), RNG.normal(2, 3, (500, 1, 7))
    found = estimate(values, samples, users=80)
    half = 1.959964 * samples[:, 0].std(0)
    np.testing.assert_allclose(found.users_high - found.value, half)
    np.testing.assert_allclose(found.low, found.users_low, rtol=1e-9)
    assert np.isnan(found.seeds_low).all() and (found.seeds, found.users) == (1, 80)


def test_without_an_error_of_users_the_band_is_that_of_the_mean_over_seeds():
    values = RNG.normal(size=(5, 3))
    found = estimate(values, np.tile(values, (400, 1, 1)), users=80)
    half = stats.t.ppf(0.975, 4) * values.std(0, ddof=1) / 5**0.5
    np.testing.assert_allclose(found.seeds_high - found.value, half)
    np.testing.assert_allclose(found.high - found.value, half, rtol=0.05)  # the seeds are drawn
    np.testing.assert_allclose(found.users_low, found.value)


def test_both_together_are_wider_than_each():
    values = RNG.normal(size=(4, 3))
    samples = values + RNG.normal(0, 0.5, (400, 1, 3)) + RNG.normal(0, 0.1, (400, 4, 3))
    found = estimate(values, samples, users=80)
    assert (found.high > found.users_high).all() and (found.low < found.users_low).all()
    users, seeds = samples.mean(1).var(0), values.var(0, ddof=1) / 4
    share = seeds / (users + seeds)
    half = stats.t.ppf(0.975, 3 / share**2) * np.sqrt(users + seeds)
    np.testing.assert_allclose(found.high - found.value, half, rtol=0.1)


def test_an_interval_of_95_percent_holds_the_truth_that_often():
    """Users and seeds have an effect each on two systems' mean; the truth is 0."""
    held = 0
    for _ in range(300):
        users, seeds = RNG.normal(0, 1, 40), RNG.normal(0, 0.2, 5)
        weights = RNG.poisson(1, (200, 40))
        samples = (weights @ users / weights.sum(1))[:, None, None] + seeds[:, None]
        found = estimate(users.mean() + seeds[:, None], samples, users=40)
        held += found.low[0] < 0 < found.high[0]
    assert 0.91 < held / 300 < 0.985


def test_a_point_that_is_not_finite_has_no_interval_and_spoils_no_other():
    values, samples = RNG.normal(size=(2, 3)), RNG.normal(size=(50, 2, 3))
    values[1, 1] = -np.inf
    samples[7, 0, 2] = np.nan
    found = estimate(values, samples, users=9)
    assert np.isfinite(found.low).tolist() == [True, False, False] and found.value[1] == -np.inf


def test_the_shape_is_that_of_the_curve_and_columns_are_its_points():
    found = estimate(np.ones((2, 3, 4)), np.ones((9, 2, 3, 4)), users=5)
    assert found.low.shape == (3, 4) and all(len(column) == 12 for column in found.columns().values())
    assert set(found.columns("self_")) == {f"self_{name}" for name in found.ENDS}
    assert found.transformed(np.exp).value == pytest.approx(np.e)
