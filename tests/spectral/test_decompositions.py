"""Eigenvalues and singular values of matrices for which a routine fails, against closed forms and numpy."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectral.decompositions import (
    LARGE,
    eigenvalues_of,
    eigenvectors_of,
    largest_moduli,
    last_axis,
    least_squares,
    singular_values_of,
    symmetric_eigenvalues_of,
)
from spectral.signals import user_signal
from spectral.smoothing import smoothing
from spectral.theorem1.spectrum import analyse, left_perron_vector

SEEDS = st.integers(0, 2**31)


def matrices(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def fails(*given: Any, **options: Any) -> Any:
    raise np.linalg.LinAlgError("did not converge")


def torch_fails(*given: Any, **options: Any) -> Any:
    raise torch.linalg.LinAlgError("did not converge")


def unless_shifted(direct: Any, matrix: np.ndarray) -> Any:
    """A routine that fails for one matrix only."""

    def routine(a: np.ndarray, *given: Any, **options: Any) -> Any:
        return fails() if a.shape == matrix.shape and np.allclose(a, matrix) else direct(a, *given, **options)

    return routine


def in_order(values: Any) -> np.ndarray:
    return np.sort_complex(np.asarray(values).round(8))


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 6))
def test_each_gives_what_numpy_gives(seed: int, n: int):
    batch = matrices(seed, 3, n, n)
    symmetric = batch + batch.transpose(0, 2, 1)
    np.testing.assert_allclose(
        in_order(eigenvalues_of(torch.from_numpy(batch))[0]), in_order(np.linalg.eigvals(batch[0]))
    )
    np.testing.assert_allclose(symmetric_eigenvalues_of(torch.from_numpy(symmetric)), np.linalg.eigvalsh(symmetric))
    np.testing.assert_allclose(singular_values_of(torch.from_numpy(batch)), np.linalg.svd(batch)[1])
    axis = last_axis(symmetric[0])
    np.testing.assert_allclose(symmetric[0] @ axis, np.linalg.eigvalsh(symmetric[0])[-1] * axis, atol=1e-8)


def test_where_arpack_does_not_converge_all_eigenvalues_are_computed():
    """All eigenvalues of a cyclic shift have modulus 1: none of them is the largest."""
    from scipy.sparse.linalg import ArpackError, eigs

    shift = np.roll(np.eye(LARGE + 2), 1, axis=1)
    with pytest.raises(ArpackError):
        eigs(shift, k=3, v0=np.random.default_rng(0).standard_normal(len(shift)), tol=1e-12, maxiter=200)
    np.testing.assert_allclose(largest_moduli(shift, 2), 1)


def test_arpack_and_the_whole_decomposition_agree():
    a = matrices(0, LARGE, LARGE) + np.diag(np.arange(LARGE))
    np.testing.assert_allclose(largest_moduli(a, 3), np.sort(np.abs(np.linalg.eigvals(a)))[::-1][:3], rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_where_lapack_fails_the_shifted_matrix_is_taken(monkeypatch: pytest.MonkeyPatch, scale: float):
    a = scale * matrices(1, 5, 5)
    symmetric = a + a.T
    batch = torch.from_numpy(np.stack([a, a.T]))
    values, axis = np.linalg.eigvals(a), np.abs(last_axis(symmetric))
    ascending = np.linalg.eigvalsh(symmetric)
    moduli, found = largest_moduli(a, 2), eigenvalues_of(batch)
    for name in ("eigvals", "eigvalsh", "svdvals"):
        monkeypatch.setattr(torch.linalg, name, torch_fails)
    for name, matrix in (("eigvals", a), ("eig", a), ("eigh", symmetric)):
        monkeypatch.setattr(np.linalg, name, unless_shifted(getattr(np.linalg, name), matrix))
    tolerance = {"rtol": 1e-9, "atol": 1e-9 * scale}
    np.testing.assert_allclose(in_order(eigenvalues_of(batch)[0] / scale), in_order(values / scale), atol=1e-7)
    np.testing.assert_allclose(in_order(eigenvalues_of(batch)[1] / scale), in_order(found[1] / scale), atol=1e-7)
    np.testing.assert_allclose(largest_moduli(a, 2), moduli, **tolerance)
    again, vectors = eigenvectors_of(a)
    np.testing.assert_allclose(a @ vectors, vectors * again, **tolerance)
    np.testing.assert_allclose(symmetric_eigenvalues_of(torch.from_numpy(symmetric)), ascending, **tolerance)
    np.testing.assert_allclose(np.abs(last_axis(symmetric)), axis, atol=1e-9)


@pytest.mark.parametrize("shape", [(2, 6, 3), (3, 6), (4, 4)])
def test_where_no_routine_for_singular_values_converges_they_come_from_the_square(monkeypatch, shape: tuple[int, ...]):
    a = matrices(2, *shape)
    expected = np.linalg.svd(a)[1]
    monkeypatch.setattr(torch.linalg, "svdvals", torch_fails)
    np.testing.assert_allclose(singular_values_of(torch.from_numpy(a)), expected)
    monkeypatch.setattr(np.linalg, "svd", fails)
    np.testing.assert_allclose(singular_values_of(torch.from_numpy(a)), expected, atol=1e-7)


def test_one_matrix_that_fails_leaves_the_others_of_its_batch_as_they_are(monkeypatch: pytest.MonkeyPatch):
    batch = torch.from_numpy(matrices(3, 4, 5, 3))
    expected = torch.linalg.svdvals(batch)
    monkeypatch.setattr(torch.linalg, "svdvals", torch_fails)
    monkeypatch.setattr(np.linalg, "svd", unless_shifted(np.linalg.svd, batch[1].numpy()))
    torch.testing.assert_close(singular_values_of(batch), expected, atol=1e-7, rtol=0)


def test_least_squares_of_least_norm_without_a_singular_value_decomposition(monkeypatch: pytest.MonkeyPatch):
    wide, target = np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0]]), np.array([2.0, 4.0])
    expected = np.linalg.lstsq(wide, target, rcond=None)[0]
    monkeypatch.setattr(np.linalg, "lstsq", fails)
    np.testing.assert_allclose(least_squares(wide, target), expected, atol=1e-12)


def test_measures_go_on_where_a_routine_fails(monkeypatch: pytest.MonkeyPatch):
    attention = np.exp(matrices(4, 6, 6))
    attention /= attention.sum(1, keepdims=True)
    states, signal = matrices(5, 3, 6, 4), matrices(6, 6, 4)

    def measured() -> list[Any]:
        return [
            analyse(attention).lambda2,
            left_perron_vector(attention),
            smoothing(states).effective_rank,
            user_signal(signal).direction,
        ]

    expected = measured()
    eig, eigh, calls = np.linalg.eig, np.linalg.eigh, []

    def once(direct: Any) -> Any:
        def routine(a: np.ndarray) -> Any:
            calls.append(1)
            return fails() if len(calls) % 2 else direct(a)

        return routine

    monkeypatch.setattr(np.linalg, "eig", once(eig))
    monkeypatch.setattr(np.linalg, "eigh", once(eigh))
    monkeypatch.setattr(np.linalg, "lstsq", fails)
    monkeypatch.setattr(torch.linalg, "svdvals", torch_fails)
    for one, other in zip(measured(), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)
    assert len(calls) == 4
