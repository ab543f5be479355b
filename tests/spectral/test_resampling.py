"""Intervals over users: the sums of bootstrap samples against samples that are made of whole rows, and known errors."""

import numpy as np
import pytest
import torch

from spectral.capture import Capture
from spectral.cosine_similarity import CosineSimilarity, cosine_similarity
from spectral.filter_response import FrequencyResponse
from spectral.resampling import draw_counts, interval, sampled_gram, sampled_similarities
from spectral.singular_values import LayerSpectra, SingularValues, singular_values

USERS, N, D, SAMPLES = 40, 6, 5, 7


@pytest.fixture
def hidden() -> torch.Tensor:
    return torch.randn(USERS, N, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5


@pytest.fixture
def counts() -> torch.Tensor:
    return draw_counts(np.random.default_rng(0), USERS, SAMPLES)


def captured(hidden: torch.Tensor) -> Capture:
    return Capture((hidden,), (), torch.ones(hidden.shape[:2], dtype=torch.bool))


@pytest.mark.parametrize("center", [False, True])
def test_samples_of_singular_values_are_those_of_repeated_rows(hidden, counts, center):
    rows = hidden[:, -1]
    parts = [sampled_gram(rows[half], counts[:, half]) for half in (slice(0, 25), slice(25, None))]
    found = (parts[0] + parts[1]).singular_values(D, center)
    for sample, times in zip(found, counts, strict=True):
        repeated = rows.repeat_interleave(times.long(), dim=0)
        np.testing.assert_allclose(sample, singular_values(repeated, center).values, atol=1e-6)


def test_samples_of_similarities_compare_different_users_only(hidden, counts):
    rows = hidden[:, -1]
    units = rows / rows.norm(dim=1, keepdim=True)
    within, several = torch.rand(USERS - 3, dtype=torch.float64), torch.arange(USERS) >= 3
    found = sampled_similarities(units, within, several, counts)
    for sample, times in enumerate(counts.long()):
        owner = torch.arange(USERS).repeat_interleave(times)
        cosines = (units @ units.T)[owner][:, owner]
        assert found.between_users[sample] == pytest.approx(cosines[owner[:, None] != owner].mean())
        assert found.within_sequence[sample] == pytest.approx(within.repeat_interleave(times[3:]).mean())


def test_an_interval_of_a_mean_is_that_of_its_standard_error(hidden):
    """The similarity of positions is a mean over users, so its error is known without a bootstrap."""
    measured = CosineSimilarity.from_captures([captured(hidden)], resamples=4000)
    each = [cosine_similarity(sequence) for sequence in hidden]
    error = np.std(each, ddof=1) / USERS**0.5
    table = measured.table()
    half = (table["within_sequence_high"] - table["within_sequence_low"])[0] / 2
    assert half == pytest.approx(1.96 * error, rel=0.1)
    assert table["within_sequence"][0] == pytest.approx(np.mean(each))
    assert (table["seeds"][0], table["users"][0]) == (1, USERS)


def test_the_band_of_a_spectrum_is_that_of_its_logarithm():
    samples = np.array([[2.0, 1.0, 0.5], [4.0, 2.0, 0.5], [1.0, 0.8, 0.1]])
    spectrum = SingularValues(np.array([2.0, 1.0, 0.4]), USERS, resampled=samples)
    low, high = interval(np.log([1.0, 0.5, 0.2]), np.log(samples / samples[:, :1]).std(0))
    np.testing.assert_allclose(spectrum.band(), np.exp([low, high]))
    assert list(spectrum.table()[["low", "high"]].iloc[0]) == [1, 1]  # the largest, divided by itself


def test_more_users_make_the_band_narrower(hidden):
    def width(users: int) -> float:
        rows = torch.randn(users, 1, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        table = LayerSpectra.from_captures([captured(rows)], resamples=100).table()
        return float((table["high"] / table["low"])[D - 1])

    assert 1.02 < width(1600) < width(100)


def test_without_samples_there_is_no_interval(hidden):
    assert "low" not in LayerSpectra.from_captures([captured(hidden)]).table()
    assert "seeds" not in CosineSimilarity.from_captures([captured(hidden)]).table()
    with pytest.raises(ValueError, match="no bootstrap samples"):
        LayerSpectra.from_captures([captured(hidden)]).layers[0].band()
    maps = torch.full((USERS, 1, N, N), 1 / N)
    assert "low" not in FrequencyResponse.from_captures([Capture((), (maps,), torch.ones(USERS, N) > 0)]).table()
