"""Cosine similarity between users and within sequences, against the n x n matrix of all pairs."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from json_output import json_of

import spectral
from models.errors import ConfigError
from spectral import (
    CosineSimilarity,
    CosineSimilarityMetric,
    WithinSequenceSimilarityMetric,
    cosine_similarity,
    within_sequence_similarity,
)
from spectral.capture import Capture

SEEDS = st.integers(0, 2**32 - 1)


def random_rows(*shape: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.standard_normal(shape) + generator.standard_normal(shape[-1])


def all_pairs(x: np.ndarray) -> np.ndarray:
    """The n x n cosines with a zero diagonal."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, 0)
    return cosines


@given(st.integers(2, 30), st.integers(1, 8), SEEDS)
def test_both_conventions_equal_the_matrix_of_all_pairs(n, size, seed):
    x = random_rows(n, size, seed=seed)
    total = all_pairs(x).sum()
    assert cosine_similarity(x) == pytest.approx(total / (n * (n - 1)), abs=1e-12)
    assert cosine_similarity(x, convention="published") == pytest.approx(total / n**2, abs=1e-12)
    assert cosine_similarity(x, "published") == pytest.approx(all_pairs(x).mean(), abs=1e-12)


@given(st.integers(2, 20), SEEDS, st.floats(1e-200, 1e200))
def test_length_of_a_row_does_not_matter_even_extreme_ones(n, seed, scale):
    x = random_rows(n, 3, seed=seed)
    scaled = x * np.where(np.arange(n) % 2, 1, scale)[:, None]
    assert cosine_similarity(scaled) == pytest.approx(cosine_similarity(x), abs=1e-9)


@given(st.integers(2, 20), st.integers(1, 5), SEEDS)
def test_range_is_that_of_n_directions(n, size, seed):
    value = cosine_similarity(random_rows(n, size, seed=seed))
    assert -1 / (n - 1) - 1e-12 <= value <= 1 + 1e-12


def test_closed_forms():
    assert cosine_similarity(np.ones((5, 3))) == pytest.approx(1)
    assert cosine_similarity(np.eye(4)) == pytest.approx(0)
    assert cosine_similarity(np.array([[1.0], [-1.0]])) == pytest.approx(-1)
    assert cosine_similarity(np.ones((5, 3)), "published") == pytest.approx(4 / 5)


@given(SEEDS, st.lists(st.integers(0, 6), min_size=1, max_size=6))
def test_tokens_are_compared_within_their_sequence_at_real_positions(seed, lengths):
    hidden = random_rows(len(lengths), 6, 4, seed=seed)
    mask = np.arange(6) >= 6 - np.array(lengths)[:, None]
    expected = [all_pairs(rows[-n:]).sum() / (n * (n - 1)) for rows, n in zip(hidden, lengths, strict=True) if n >= 2]
    result = within_sequence_similarity(hidden, mask)
    if expected:
        assert result == pytest.approx(np.mean(expected), abs=1e-12)
    else:
        assert math.isnan(result)


def test_padding_does_not_count_whatever_it_holds():
    hidden = torch.randn(2, 5, 3, dtype=torch.float64)
    mask = torch.tensor([[False, True, True, True, True], [False, False, False, True, True]])
    poisoned = hidden.masked_fill(~mask[..., None], torch.nan)
    assert within_sequence_similarity(poisoned, mask) == within_sequence_similarity(hidden, mask)
    zero = hidden.masked_fill(~mask[..., None], 0.0)
    assert within_sequence_similarity(zero, mask) == within_sequence_similarity(hidden, mask)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), SEEDS, st.sampled_from(["pairs", "published"]))
def test_accumulator_equals_the_function_however_the_rows_are_batched(sizes, seed, convention):
    x = torch.from_numpy(random_rows(sum(sizes) + 2, 4, seed=seed))
    metric = CosineSimilarityMetric(4, convention)
    for part in x.split([*sizes, 2]):
        metric.update(part)
    assert metric.compute() == pytest.approx(cosine_similarity(x, convention), abs=1e-13)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), SEEDS)
def test_sequence_accumulator_equals_the_function_however_it_is_batched(sizes, seed):
    hidden = torch.from_numpy(random_rows(sum(sizes) + 1, 5, 3, seed=seed))
    mask = torch.rand(len(hidden), 5, generator=torch.Generator().manual_seed(seed % 2**31)) < 0.7
    metric = WithinSequenceSimilarityMetric()
    for rows, real in zip(hidden.split([*sizes, 1]), mask.split([*sizes, 1]), strict=True):
        metric.update(rows, real)
    expected = within_sequence_similarity(hidden, mask)
    assert metric.compute() == pytest.approx(expected, abs=1e-13, nan_ok=True)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_accumulators_merge_reset_and_hold_a_sum_of_directions_only():
    x = torch.from_numpy(random_rows(30, 4)).float()
    first, second = CosineSimilarityMetric(4), CosineSimilarityMetric(4)
    first.update(x[:11])
    second.update(x[11:])
    first.merge_state(second)
    assert first.compute() == pytest.approx(cosine_similarity(x), abs=1e-12)
    assert sum(value.numel() for value in first.metric_state.values()) == 4 + 1
    within, other = WithinSequenceSimilarityMetric(), WithinSequenceSimilarityMetric()
    within.update(x[:10].reshape(2, 5, 4))
    other.update(x[10:].reshape(4, 5, 4))
    within.merge_state(other)
    assert within.compute() == pytest.approx(within_sequence_similarity(x.reshape(6, 5, 4)))
    assert sum(value.numel() for value in within.metric_state.values()) == 2
    first.reset()
    with pytest.raises(ValueError, match="at least 2 of them, got 0"):
        first.compute()


@pytest.mark.parametrize(
    "x, message",
    [
        (np.ones(3), r"\(n, D\), got shape \(3,\)"),
        (np.ones((1, 3)), "at least 2 of them, got 1"),
        (np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]), "1 of 3 rows are zero and have no direction"),
        (np.array([[1.0, np.nan], [0.0, 1.0]]), "finite"),
    ],
)
def test_rows_without_directions_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        cosine_similarity(x)


def test_other_mistakes_are_named():
    with pytest.raises(ConfigError, match="unknown convention 'mean'; choose one of pairs, published"):
        cosine_similarity(np.eye(3), "mean")
    with pytest.raises(ConfigError, match="convention"):
        CosineSimilarityMetric(3, "mean")
    with pytest.raises(ValueError, match=r"equally many columns add up, got total of \(4,\) and \(3,\)"):
        CosineSimilarityMetric(4).update(torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"hidden must be \(B, N, D\)"):
        within_sequence_similarity(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"mask must be \(B, N\) = \(2, 3\)"):
        within_sequence_similarity(np.ones((2, 3, 4)), np.ones((2, 4)))


def test_layers_are_measured_between_users_and_within_sequences():
    hidden = torch.randn(3, 7, 5, 4, generator=torch.Generator().manual_seed(0))  # L + 1 of (B, N, D)
    mask = torch.arange(5) >= torch.tensor([0, 1, 2, 3, 4, 0, 0])[:, None]
    captures = [Capture(tuple(hidden[:, part]), (), mask[part]) for part in (slice(4), slice(4, None))]
    result = CosineSimilarity.from_captures(captures)
    assert result.layers.tolist() == [0, 1, 2] and (result.users, result.sequences) == (7, 6)
    for layer in range(3):
        last = hidden[layer, :, -1]
        assert result.between_users[layer] == pytest.approx(cosine_similarity(last), abs=1e-9)
        expected = within_sequence_similarity(hidden[layer], mask)
        assert result.within_sequence[layer] == pytest.approx(expected, abs=1e-9)
    published = CosineSimilarity.from_captures(captures, "published")
    np.testing.assert_allclose(published.between_users, result.between_users * 6 / 7)
    table = result.table()
    assert list(table.columns)[:3] == ["layer", "between_users", "within_sequence"] == list(result.summary()[0])
    assert set(table["convention"]) == {"pairs"}
    with pytest.raises(ValueError, match="no hidden states"):
        CosineSimilarity.from_captures([])


def test_cosine_similarity_prints_its_documented_json(call, checkpoint, model, tmp_path):
    code, out, _ = call("cosine_similarity", checkpoint, "--json", "--out", tmp_path)
    assert code == 0
    result = json_of(out)
    assert list(result) == ["layers"]
    users = model.probe.input_ids[model.probe.uniform]
    expected = CosineSimilarity.from_captures(spectral.capture(model, users[(users > 0).any(1)])).summary()
    for layer, other in zip(result["layers"], expected, strict=True):
        assert layer == pytest.approx(other)
        assert list(layer) == ["layer", "between_users", "within_sequence"]
