"""Eigenvalues and eigenvectors of row-stochastic matrices: what Theorem 1 predicts of an attention matrix."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectral.arrays import as_float64, check_finite

ROUNDING = 1e-14  # a vector or an eigenvalue below this is a rounding error
ROW_SUM_TOLERANCE = 1e-3  # rows of half and single precision softmax are nearer to 1 than this

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What the theorem predicts of a row-stochastic matrix.

    Attributes:
        pi: (N,) the left Perron vector.
        lambda2: The eigenvalue of second largest modulus (its conjugate is one too, if it is complex).
        lambda3: Modulus of the next one.
        vector: (N,) the right eigenvector of lambda2.
    """

    pi: Array
    lambda2: complex
    lambda3: float
    vector: NDArray[Any]

    @property
    def slope(self) -> float:
        """The predicted change of log(HFC / LFC) per step, log|lambda_2|; minus infinity for 0."""
        return math.log(abs(self.lambda2)) if self.lambda2 else -math.inf

    @property
    def angle(self) -> float:
        """Argument of lambda_2, 0 to pi; strictly between, the ratio oscillates with period pi / angle."""
        return abs(math.atan2(self.lambda2.imag, self.lambda2.real))


def analyse(matrix: Array) -> Spectrum:
    """Return the left Perron vector and the second eigenvalue of a row-stochastic (N, N), N >= 2."""
    if is_lower_triangular(matrix):
        return _analyse_triangular(matrix)
    values, vectors = np.linalg.eig(matrix)
    order = np.argsort(-np.abs(values), kind="stable")
    perron = order[np.argmin(np.abs(values[order] - 1))]
    order = order[order != perron]
    second = complex(values[order[0]])
    # A pair of complex eigenvalues is one mode; a value of rounding size is a zero.
    others = order[1 + (second.imag != 0) :]
    if abs(second) < ROUNDING:
        second = 0j
    third = float(abs(values[others[0]])) if len(others) else 0.0
    return Spectrum(left_perron_vector(matrix), second, third, vectors[:, order[0]])


def left_perron_vector(matrix: Array) -> Array:
    """Return pi (N,) with pi^T A = pi^T and sum 1; the first position if A is lower triangular."""
    length = len(matrix)
    if is_lower_triangular(matrix):
        return np.eye(length)[0]
    equations = np.vstack([matrix.T - np.eye(length), np.ones(length)])
    return np.linalg.lstsq(equations, np.eye(length + 1)[-1], rcond=None)[0]


def row_stochastic(attention: Any) -> Array:
    """Return a matrix as float64 with rows that sum to exactly 1, up to float64.

    Raises ValueError if it is not (N, N) with N >= 2, is not finite, has negative entries, or rows off 1 by
    over 1e-3.
    """
    matrix = check_finite(as_float64(attention), "attention").numpy()
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise ValueError(f"attention must be (N, N) with N at least 2, got shape {matrix.shape}")
    sums = matrix.sum(1, keepdims=True)
    if matrix.min() < 0 or np.abs(sums - 1).max() > ROW_SUM_TOLERANCE:
        raise ValueError(
            "attention must be row-stochastic: no negative entry, and rows that sum to 1; "
            f"got a smallest entry of {matrix.min():.3g} and row sums of {sums.min():.3g} to {sums.max():.3g}"
        )
    return matrix / sums


def is_lower_triangular(matrix: Array) -> bool:
    """Say whether no position sees a later one."""
    return not np.triu(matrix, 1).any()


def _analyse_triangular(matrix: Array) -> Spectrum:
    """The eigenvalues are the diagonal; the eigenvector follows by forward substitution."""
    diagonal = np.diag(matrix)
    order = np.argsort(-diagonal[1:], kind="stable") + 1
    second = diagonal[order[0]]
    # Among equal entries only the last one surely has an eigenvector of its own.
    start = int(np.flatnonzero(diagonal == second)[-1]) if second < 1 else int(order[0])
    vector = np.zeros(len(matrix))
    vector[start] = 1
    for row in range(start + 1, len(matrix)):
        gap = second - diagonal[row]
        vector[row] = matrix[row, :row] @ vector[:row] / gap if gap else 0.0
    third = float(diagonal[order[1]]) if len(order) > 1 else 0.0
    return Spectrum(np.eye(len(matrix))[0], complex(second), third, vector)
