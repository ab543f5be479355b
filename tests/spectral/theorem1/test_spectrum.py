"""Eigenvalues of attention: the diagonal where it is causal, and the limit of its powers."""

import numpy as np
import pytest
import torch
from decaying import random_attention, start
from hypothesis import given, settings
from hypothesis import strategies as st

from spectral import theorem1
from spectral.theorem1 import Attention, exceptional, left_perron_vector, row_stochastic

SEEDS = st.integers(0, 2**32 - 1)
LENGTHS = st.integers(2, 30)


@settings(max_examples=50)
@given(st.integers(3, 30), SEEDS)
def test_causal_attention_has_its_diagonal_for_eigenvalues_and_collapses_onto_position_0(length, seed):
    matrix = random_attention(length, seed, causal=True)
    case = theorem1([Attention("causal", matrix)]).cases[0]
    diagonal = np.sort(np.diag(matrix)[1:])
    assert case.causal and case.lambda2 == pytest.approx(diagonal[-1])
    assert (case.collapses_onto, case.collapse_weight) == (0, 1.0)
    np.testing.assert_allclose(np.linalg.matrix_power(matrix, 2000), np.eye(length)[[0] * length], atol=1e-4)
    if diagonal[-2] < 0.95 * diagonal[-1]:
        assert case.fitted_slope == pytest.approx(case.predicted_slope, rel=1e-3)


@given(LENGTHS, SEEDS, st.booleans())
def test_perron_vector_is_the_limit_of_the_powers(length, seed, causal):
    matrix = random_attention(length, seed, causal)
    pi = left_perron_vector(matrix)
    np.testing.assert_allclose(pi @ matrix, pi, atol=1e-13)
    assert pi.sum() == pytest.approx(1) and pi.min() > -1e-13
    assert abs(pi @ exceptional(start(length, seed), pi)) < 1e-12


@given(st.integers(2, 12), SEEDS)
def test_of_positions_of_equal_weight_it_is_the_first(length, seed):
    rng = np.random.default_rng(seed)
    mixed = sum(weight * np.eye(length)[rng.permutation(length)] for weight in rng.dirichlet(np.ones(4)))
    matrix = row_stochastic(0.5 * mixed + 0.5 / length)  # columns add up to 1 as well: pi is uniform, to rounding
    case = theorem1([Attention("doubly stochastic", matrix, causal=False)]).cases[0]
    assert (case.collapses_onto, case.collapse_weight) == (0, pytest.approx(1 / length))


def test_single_precision_rows_are_normalised_in_double():
    matrix = row_stochastic(torch.from_numpy(random_attention(50)).float())
    assert matrix.dtype == np.float64
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-15)


@pytest.mark.parametrize(
    "matrix, message",
    [
        (np.ones((2, 3)), r"\(N, N\) with N at least 2, got shape \(2, 3\)"),
        (np.ones((1, 1)), "N at least 2"),
        (np.ones((3, 3)), "row sums of 3 to 3"),
        (np.array([[1.5, -0.5], [0.5, 0.5]]), "smallest entry of -0.5"),
        (np.full((2, 2), np.nan), "finite"),
    ],
)
def test_matrices_that_are_no_attention_are_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        theorem1([Attention("wrong", matrix)])
