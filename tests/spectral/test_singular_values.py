"""Singular values of users' representations, against scipy's decomposition of the whole matrix."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from json_output import json_of

import spectral
from spectral import LayerSpectra, SingularValues, SingularValuesMetric, singular_values
from spectral.capture import Capture

SEEDS = st.integers(0, 2**32 - 1)


def random_matrix(n: int, size: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((n, size)) * np.exp(-generator.uniform(0, 4, size)) + generator.standard_normal(
        size
    )


@given(st.integers(1, 40), st.integers(1, 12), SEEDS, st.booleans())
def test_values_are_those_of_the_whole_matrix(n, size, seed, center):
    x = random_matrix(n, size, seed)
    result = singular_values(x, center=center)
    expected = scipy.linalg.svdvals(x - x.mean(0) if center else x)
    assert result.values.shape == expected.shape and (np.diff(result.values) <= 0).all()
    # The Gram matrix gives up half of the digits: 1e-8 of the largest singular value of what was summed.
    np.testing.assert_allclose(result.values, expected, atol=3e-8 * scipy.linalg.svdvals(x)[0])
    assert (result.users, result.centered) == (n, center)


@given(st.integers(1, 8), st.floats(1e-6, 1e6))
def test_ranks_count_equal_directions_whatever_the_scale(rank, scale):
    result = singular_values(scale * np.eye(10, 8)[:rank])
    assert result.effective_rank == pytest.approx(rank)
    assert result.stable_rank == pytest.approx(rank)
    np.testing.assert_allclose(result.normalised, 1)


@given(st.integers(2, 30), st.integers(1, 8), SEEDS)
def test_ranks_lie_between_one_and_the_number_of_values(n, size, seed):
    result = singular_values(random_matrix(n, size, seed))
    for rank in (result.effective_rank, result.stable_rank):
        assert 1 - 1e-9 <= rank <= min(n, size) + 1e-9
    expected = (np.linalg.norm(random_matrix(n, size, seed)) / result.values[0]) ** 2
    assert result.stable_rank == pytest.approx(expected)


def test_effective_rank_is_the_exponential_of_the_entropy():
    values = np.array([4.0, 2.0, 1.0, 1.0])
    entropy = -sum(p * math.log(p) for p in values / 8)
    assert SingularValues(values, 4).effective_rank == pytest.approx(math.exp(entropy))


def test_users_on_one_line_have_rank_one():
    x = np.outer(np.arange(1, 20), np.ones(5))
    result = singular_values(x)
    # A singular value of rounding size adds its share of entropy: 1e-8, times its logarithm.
    assert result.effective_rank == pytest.approx(1, abs=1e-5) and result.stable_rank == pytest.approx(1)


def test_a_common_mean_hides_the_other_directions_until_it_is_removed():
    x = np.random.default_rng(0).standard_normal((500, 6)) + 100
    assert singular_values(x).effective_rank < 1.5
    assert singular_values(x, center=True).effective_rank > 5.9


def test_zeros_have_values_but_no_rank():
    result = singular_values(np.zeros((3, 2)))
    assert result.values.tolist() == [0, 0]
    assert all(math.isnan(value) for value in (result.effective_rank, result.stable_rank, *result.normalised))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), SEEDS, st.booleans())
def test_accumulator_equals_the_function_however_the_rows_are_batched(sizes, seed, center):
    x = torch.from_numpy(random_matrix(sum(sizes) + 1, 4, seed))
    metric = SingularValuesMetric(4, center=center)
    for part in x.split([*sizes, 1]):
        metric.update(part)
    expected = singular_values(x, center=center)
    np.testing.assert_allclose(metric.compute().values, expected.values, atol=1e-7 * float(x.norm()))
    assert metric.compute().users == len(x)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_accumulators_merge_and_reset_and_stay_small():
    x = torch.from_numpy(random_matrix(30, 4)).float()
    first, second = SingularValuesMetric(4), SingularValuesMetric(4)
    first.update(x[:10])
    size = sum(value.numel() for value in first.metric_state.values())
    second.update(x[10:])
    first.merge_state(second)
    np.testing.assert_allclose(first.compute().values, singular_values(x).values, rtol=1e-9)
    assert sum(value.numel() for value in first.metric_state.values()) == size == 2 * 4 * 4 + 4 + 1
    first.reset()
    with pytest.raises(ValueError, match="no rows"):
        first.compute()


@pytest.mark.parametrize(
    "x, message",
    [
        (np.ones(3), r"\(n, D\), got shape \(3,\)"),
        (np.ones((2, 3, 4)), r"\(n, D\)"),
        (np.ones((0, 3)), "no rows"),
        (np.array([[1.0, np.inf]]), "finite"),
    ],
)
def test_what_is_no_matrix_of_users_is_refused(x, message):
    with pytest.raises(ValueError, match=message):
        singular_values(x)


def test_rows_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"equally many columns add up, got scatter of \(4, 4\) and \(3, 3\)"):
        SingularValuesMetric(4).update(torch.ones(2, 3))


def test_layers_are_measured_at_the_last_position():
    hidden = torch.randn(3, 7, 5, 4, generator=torch.Generator().manual_seed(0))  # L + 1 of (B, N, D)
    captures = [Capture(tuple(part), (), torch.ones(part.shape[1], 5)) for part in (hidden[:, :4], hidden[:, 4:])]
    spectra = LayerSpectra.from_captures(captures)
    assert list(spectra.layers) == [0, 1, 2]
    for layer, spectrum in spectra.layers.items():
        np.testing.assert_allclose(spectrum.values, scipy.linalg.svdvals(hidden[layer, :, -1].numpy()), rtol=1e-5)
    table = spectra.table()
    assert list(table.columns) == ["layer", "index", "singular_value", "normalised", "users"]
    assert len(table) == 3 * 4 and list(table["index"].unique()) == [1, 2, 3, 4]
    summary = spectra.summary()
    assert list(summary[1]) == ["layer", "effective_rank", "stable_rank", "k95", "singular_values"]
    with pytest.raises(ValueError, match="no hidden states"):
        LayerSpectra.from_captures([])


def test_singular_values_prints_its_documented_json(call, checkpoint, model, tmp_path):
    code, out, _ = call("singular_values", checkpoint, "--json", "--out", tmp_path)
    assert code == 0
    result = json_of(out)
    assert list(result) == ["layers"]
    assert [layer["layer"] for layer in result["layers"]] == list(range(model.config.num_layers + 1))
    users = model.probe.input_ids[model.probe.uniform]
    expected = LayerSpectra.from_captures(spectral.capture(model, users[(users > 0).any(1)])).summary()
    for layer, other in zip(result["layers"], expected, strict=True):
        assert list(layer) == ["layer", "effective_rank", "stable_rank", "k95", "singular_values"]
        np.testing.assert_allclose(layer["singular_values"], other["singular_values"], rtol=1e-6)
        assert layer["effective_rank"] == pytest.approx(other["effective_rank"])


@pytest.mark.parametrize("batches", [1, 7])
def test_what_is_left_of_users_that_are_nearly_one_point_keeps_its_digits(batches):
    x = 10 + 1e-6 * np.random.default_rng(0).standard_normal((2000, 16))
    metric = SingularValuesMetric(16, center=True)
    for part in np.array_split(x, batches):
        metric.update(part)
    np.testing.assert_allclose(metric.compute().values, scipy.linalg.svdvals(x - x.mean(0)), rtol=1e-6)
    spectra = LayerSpectra.from_captures(
        [
            Capture((torch.from_numpy(part)[:, None],), (), torch.ones(len(part), 1))
            for part in np.array_split(x, batches)
        ],
        center=True,
    )
    np.testing.assert_array_equal(spectra.layers[0].values, metric.compute().values)


@pytest.mark.parametrize("size", [1, 2, 64])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_of_users_that_are_one_point_nothing_is_left(size, kind):
    row = np.random.default_rng(1).standard_normal(size).astype(kind)
    metric = SingularValuesMetric(size, center=True)
    for users in (500, 3, 1, 700):
        metric.update(np.tile(row, (users, 1)))
    result = metric.compute()
    assert (result.values == 0).all() and math.isnan(result.effective_rank)


@given(st.integers(1, 20), st.integers(1, 8), SEEDS)
def test_k95_is_the_first_number_of_values_that_holds_enough(n, size, seed):
    values = scipy.linalg.svdvals(random_matrix(n, size, seed))
    held = [sum(value**2 for value in values[: k + 1]) for k in range(len(values))]
    expected = next(k + 1 for k, energy in enumerate(held) if energy >= 0.95 * sum(v**2 for v in values) * (1 - 1e-12))
    assert SingularValues(values, n).k95 == expected
    assert SingularValues(np.zeros(3), n).k95 == 0


@pytest.mark.parametrize("center", [False, True])
def test_gaussian_matrices_have_the_means_and_variances_of_the_columns(center):
    x = random_matrix(4000, 3, seed=2)
    measured = singular_values(x, center)
    np.testing.assert_allclose(measured.column_means, x.mean(0), atol=1e-12)
    np.testing.assert_allclose(measured.column_deviations, x.std(0), atol=1e-9)
    for draw in measured.gaussian(3):  # the columns of x are independent, so it is a draw like the others
        np.testing.assert_allclose(draw.values, measured.values, rtol=0.05)
        assert (draw.users, draw.centered) == (4000, center)
    mixed = singular_values(x @ np.ones((3, 3)), center)
    assert mixed.effective_rank < 1.01 < min(draw.effective_rank for draw in mixed.gaussian(3))


def test_without_means_and_variances_nothing_is_simulated():
    with pytest.raises(ValueError, match="not known"):
        SingularValues(np.ones(3), 5).gaussian()


def test_the_command_simulates_matrices_beside_the_other_nulls(call, checkpoint, model, tmp_path):
    code, out, _ = call(
        "singular_values", checkpoint, "--null", "gaussian", "--null", "shuffled", "--json", "--out", tmp_path
    )
    printed = json_of(out)
    assert code == 0 and {name: len(draws) for name, draws in printed["nulls"].items()} == {
        "shuffled": 5,
        "gaussian": 20,
    }
    windows = model.probe.input_ids[model.probe.uniform]
    spectra = LayerSpectra.from_captures(spectral.capture(model, windows, attention=False))
    for record, other in zip(printed["nulls"]["gaussian"][0], spectra.gaussian()[0].summary(), strict=True):
        assert record["effective_rank"] == pytest.approx(other["effective_rank"])
