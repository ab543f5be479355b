"""Eigenvalues and singular values, by another routine where the first one fails.

LAPACK and ARPACK do not converge for some matrices: attention with nearly equal rows, or eigenvalues that all have the
same modulus. One such matrix would end the measurement of all others of its batch. Here the iterative routine for a few
eigenvalues falls back to that for all of them, a batch to its matrices one by one, and a matrix to the same matrix plus
a multiple of the identity, whose eigenvalues are the same plus that number. All numbers are float64, on the CPU.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LARGE = 128  # with this many rows or more, a few eigenvalues are found faster than all of them

Matrix = NDArray[np.float64]


def eigenvalues_of(matrices: Tensor) -> Tensor:
    """Return the eigenvalues (..., N), complex and in no order, of matrices (..., N, N).

    Example:
        >>> eigenvalues_of(torch.eye(2).double() * 3)
        tensor([3.+0.j, 3.+0.j], dtype=torch.complex128)
    """
    return _batch_or_each(torch.linalg.eigvals, lambda each: _dense(each).astype(complex), matrices)


def largest_moduli(matrix: Matrix, count: int) -> Matrix:
    """Return the `count` largest moduli of the eigenvalues of a matrix (N, N), descending.

    Example:
        >>> largest_moduli(np.diag([1.0, -3.0, 2.0]), 2)
        array([3., 2.])
    """
    found = _few(matrix, count + 1) if len(matrix) >= LARGE else None
    return np.sort(np.abs(_dense(matrix) if found is None else found))[::-1][:count]


def eigenvectors_of(matrix: Matrix) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the eigenvalues (N,), in no order, and the right eigenvectors, columns (N, N), of a matrix (N, N).

    Example:
        >>> values, vectors = eigenvectors_of(np.array([[2.0, 0.0], [0.0, 3.0]]))
        >>> values, vectors
        (array([2., 3.]), array([[1., 0.],
               [0., 1.]]))
    """
    try:
        return np.linalg.eig(matrix)
    except np.linalg.LinAlgError:
        shift = _shift(matrix)
        values, vectors = np.linalg.eig(matrix + shift * np.eye(len(matrix)))
        return values - shift, vectors


def symmetric_eigenvalues_of(matrices: Tensor) -> Tensor:
    """Return the eigenvalues (..., N), ascending, of symmetric matrices (..., N, N).

    Example:
        >>> symmetric_eigenvalues_of(torch.tensor([[2.0, 1.0], [1.0, 2.0]]).double()).round(decimals=6)
        tensor([1., 3.], dtype=torch.float64)
    """
    return _batch_or_each(torch.linalg.eigvalsh, lambda each: _symmetric(each)[0], matrices)


def last_axis(matrix: Matrix) -> Matrix:
    """Return the unit eigenvector (N,) of the largest eigenvalue of a symmetric matrix (N, N); its sign is arbitrary.

    Example:
        >>> np.abs(last_axis(np.diag([1.0, 5.0, 2.0])))
        array([0., 1., 0.])
    """
    return _symmetric(matrix)[1][:, -1]


def singular_values_of(matrices: Tensor) -> Tensor:
    """Return the singular values (..., min(m, n)), descending, of matrices (..., m, n).

    If no routine for them converges they are the roots of the eigenvalues of the matrix times its transpose, and exact
    to 1e-8 of the largest only.

    Example:
        >>> singular_values_of(torch.tensor([[3.0, 0.0], [0.0, 4.0]]).double())
        tensor([4., 3.], dtype=torch.float64)
    """
    return _batch_or_each(torch.linalg.svdvals, _singular_values, matrices)


def least_squares(matrix: Matrix, target: Matrix) -> Matrix:
    """Return the x (n,) of least norm with the least ||matrix x - target||; matrix: (m, n), target: (m,).

    Example:
        >>> least_squares(np.array([[1.0, 1.0]]), np.array([2.0])).round(6)
        array([1., 1.])
    """
    try:
        return np.asarray(np.linalg.lstsq(matrix, target, rcond=None)[0])
    except np.linalg.LinAlgError:
        from scipy.linalg import lstsq  # slow to import

        return np.asarray(lstsq(matrix, target, lapack_driver="gelsy")[0])  # by rotations: it iterates nothing


def _batch_or_each(
    batch: Callable[[Tensor], Tensor], one: Callable[[Matrix], NDArray[Any]], matrices: Tensor
) -> Tensor:
    """Return `batch` of matrices (..., m, n), or, if one of them makes it fail, `one` of each."""
    try:
        return batch(matrices)
    except torch.linalg.LinAlgError:
        each = [one(matrix) for matrix in matrices.reshape(-1, *matrices.shape[-2:]).numpy()]
        return torch.from_numpy(np.stack(each)).reshape(*matrices.shape[:-2], -1)


def _few(matrix: Matrix, count: int) -> NDArray[Any] | None:
    """Return the eigenvalues of largest modulus, or None. The start vector is fixed so that runs agree."""
    from scipy.sparse.linalg import ArpackError, eigs  # slow to import

    start = np.random.default_rng(0).standard_normal(len(matrix))
    try:
        return eigs(matrix, k=count, which="LM", v0=start, tol=1e-12, maxiter=200, return_eigenvectors=False)
    except ArpackError:  # no convergence, or nothing is left to start with, as for uniform attention
        return None


def _dense(matrix: Matrix) -> NDArray[Any]:
    try:
        return np.linalg.eigvals(matrix)
    except np.linalg.LinAlgError:
        shift = _shift(matrix)
        return np.linalg.eigvals(matrix + shift * np.eye(len(matrix))) - shift


def _symmetric(matrix: Matrix) -> tuple[Matrix, Matrix]:
    """Return the eigenvalues, ascending, and the eigenvectors of a symmetric matrix."""
    try:
        values, vectors = np.linalg.eigh(matrix)
        return values, vectors
    except np.linalg.LinAlgError:
        shift = _shift(matrix)
        values, vectors = np.linalg.eigh(matrix + shift * np.eye(len(matrix)))
        return values - shift, vectors


def _singular_values(matrix: Matrix) -> Matrix:
    try:
        return np.asarray(np.linalg.svd(matrix, compute_uv=False))
    except np.linalg.LinAlgError:
        tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
        return np.sqrt(_symmetric(tall.T @ tall)[0].clip(min=0))[::-1]


def _shift(matrix: Matrix) -> float:
    """Return a number of the size of the largest eigenvalue: the largest row sum of moduli, or 1 for zeros."""
    return float(np.abs(matrix).sum(1).max()) or 1.0
