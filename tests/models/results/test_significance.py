"""Tests and intervals of differences, against enumeration, scipy, and how often they are wrong on drawn data."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.results.significance import (
    DRAWS,
    Difference,
    difference,
    holm,
    means_of_samples,
    permutation_test,
    wilcoxon_test,
)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=7))
def test_few_users_are_tested_with_all_patterns_of_signs(values: list[int]):
    patterns = itertools.product((-1, 1), repeat=len(values))
    sums = [abs(sum(sign * value for sign, value in zip(signs, values, strict=True))) for signs in patterns]
    assert permutation_test(np.array(values, float)) == np.mean([total >= abs(sum(values)) for total in sums])


def test_many_users_are_tested_as_scipy_does_with_its_own_draws():
    values = np.random.default_rng(0).normal(0.15, 1, 200)
    found = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=DRAWS, rng=np.random.default_rng(1)
    )
    assert permutation_test(values) == pytest.approx(found.pvalue, abs=0.01)
    assert permutation_test(values) == permutation_test(values, seed=0) != permutation_test(values, seed=1)
    assert permutation_test(np.append(values, np.zeros(500))) == permutation_test(values)  # ties add nothing
    assert permutation_test(values + 10) == 1 / (DRAWS + 1)


def test_the_permutation_test_is_right_as_often_as_it_says():
    rng = np.random.default_rng(0)
    p_values = [permutation_test(rng.exponential(1, 60) * rng.choice([-1, 1], 60), draws=400) for _ in range(400)]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.025)


def test_wilcoxons_test_can_favour_the_system_with_the_lower_mean():
    """Most users have the target below the cutoff in both systems; a tie at 0."""
    differences = np.concatenate([np.zeros(800), np.full(150, 0.05), np.full(50, -0.4)])
    assert differences.mean() < 0
    assert wilcoxon_test(differences) < 0.001 and np.median(differences[differences != 0]) > 0
    ranks = stats.rankdata(np.abs(differences))
    assert ranks[differences > 0].sum() > ranks[differences < 0].sum()  # it points to the system that is worse
    assert permutation_test(differences) < 0.001  # and this one, at the mean
    assert wilcoxon_test(np.zeros(5)) == 1


def test_holm_by_hand():
    # 0.01 * 4, then 0.02 * 3 = 0.06, then 0.03 * 2 = 0.06, then 0.04 stays at least 0.06
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_order_and_lies_between_no_and_bonferroni_correction(p_values: list[float]):
    corrected = holm(p_values)
    for p, c in zip(p_values, corrected, strict=True):
        assert p <= c <= min(1, len(p_values) * p) + 1e-12
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()


def test_means_of_samples_are_spread_like_means_of_users():
    values = np.random.default_rng(0).normal(0, 1, (2, 400))
    samples = means_of_samples(values)
    assert samples.shape == (2000, 2)
    assert samples.std(0) == pytest.approx(values.std(1) / 20, rel=0.05)
    assert np.corrcoef(means_of_samples(np.stack([values[0], values[0] + 1])).T)[0, 1] == pytest.approx(1)


def drawn(rng: np.random.Generator, seeds: int, of_seeds: float, users: int = 120) -> tuple[np.ndarray, ...]:
    """Two equal systems: users with their luck in every run, and runs with luck of their own."""
    of_users = rng.normal(0, 1, users)
    return tuple(of_users + rng.normal(0, of_seeds, (seeds, 1)) + rng.normal(0, 0.5, (seeds, users)) for _ in range(2))


@pytest.mark.parametrize(("seeds", "of_seeds"), [(2, 0.3), (3, 0.0), (5, 0.3)])
def test_intervals_over_users_and_seeds_hold_the_truth_at_least_as_often_as_they_say(seeds: int, of_seeds: float):
    rng = np.random.default_rng(0)
    held, found = [], []
    for _ in range(150):
        runs = drawn(rng, seeds, of_seeds)
        sampled = means_of_samples(np.concatenate(runs), samples=200)
        pair = [(run.mean(1), part) for run, part in zip(runs, np.split(sampled, 2, axis=1), strict=True)]
        found.append(difference(*pair))
        low, high = found[-1].interval()
        held.append(low <= 0 <= high)
        assert (found[-1].p_value < 0.05) == (not held[-1])
    assert np.mean(held) >= 0.93
    spread = np.std([one.estimate for one in found])
    assert 0.9 < np.mean([one.error for one in found]) / spread < 1.6  # the luck of a user in a run counts twice


def test_one_seed_gives_an_interval_over_users_and_no_p_value():
    runs = np.random.default_rng(0).normal(0, 1, (2, 300))
    samples = means_of_samples(runs)
    found = difference((runs[:1].mean(1), samples[:, :1]), (runs[1:].mean(1), samples[:, 1:]))
    assert found.error == pytest.approx((runs[0] - runs[1]).std() / np.sqrt(300), rel=0.05)
    assert not found.knows_seeds and np.isnan(found.p_value) and found.seed_share == 0


def test_a_ratio_is_taken_of_the_means():
    runs = np.random.default_rng(0).normal(10, 1, (3, 100))
    samples = means_of_samples(runs)
    found = difference((2 * runs.mean(1), 2 * samples), (runs.mean(1), samples), np.divide)
    assert found.estimate == pytest.approx(2) and 0 < found.error < 0.1


def test_the_detectable_difference_is_detected_as_often_as_it_says():
    single = Difference(0.0, error=1.0, seeds=1, seed_share=0.0)
    draws = np.random.default_rng(0).normal(single.detectable, 1, 4000)
    assert np.mean(draws > 1.96) == pytest.approx(0.8, abs=0.02)
