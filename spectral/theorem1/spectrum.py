"""Eigenvalues and eigenvectors of row-stochastic matrices: what Theorem 1 predicts for an attention matrix."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError
from spectral.arrays import as_float64, check_finite, row_sum_tolerance
from spectral.decompositions import eigenvectors_of, least_squares

ROUNDING = 1e-14  # a vector or an eigenvalue below this is a rounding error

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What the theorem predicts for a row-stochastic matrix.

    Attributes:
        pi: (N,) the left Perron vector.
        lambda2: The eigenvalue of second largest modulus. If it is complex, its conjugate has the same modulus.
        lambda3: Modulus of the next eigenvalue.
        vector: (N,) the right eigenvector of lambda2.

    Example:
        With lambda_2 = 1/2 the log of the ratio falls by log 2 = 0.693 per step:

        >>> round(Spectrum(np.array([0.5, 0.5]), lambda2=0.5 + 0j, lambda3=0.0, vector=np.array([1.0, -1.0])).slope, 3)
        -0.693
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
        """Argument of lambda_2, 0 to pi. Strictly between them the ratio oscillates with period pi / angle."""
        return abs(math.atan2(self.lambda2.imag, self.lambda2.real))


def analyse(matrix: Array) -> Spectrum:
    """Return the left Perron vector and the second eigenvalue of a row-stochastic matrix (N, N), N >= 2.

    Example:
        >>> spectrum = analyse(np.array([[0.75, 0.25], [0.25, 0.75]]))
        >>> spectrum.pi.round(3), round(abs(spectrum.lambda2), 3)
        (array([0.5, 0.5]), 0.5)
    """
    if is_lower_triangular(matrix):
        return _analyse_triangular(matrix)
    values, vectors = eigenvectors_of(matrix)
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
    """Return pi (N,) with pi^T A = pi^T and sum 1. If A is lower triangular, pi is 1 at the first position.

    Example:
        >>> left_perron_vector(np.array([[0.5, 0.5], [0.25, 0.75]])).round(3)
        array([0.333, 0.667])
        >>> left_perron_vector(np.array([[1.0, 0.0], [0.5, 0.5]]))
        array([1., 0.])
    """
    length = len(matrix)
    if is_lower_triangular(matrix):
        return np.eye(length)[0]
    equations = np.vstack([matrix.T - np.eye(length), np.ones(length)])
    return least_squares(equations, np.eye(length + 1)[-1])


def row_stochastic(attention: Any) -> Array:
    """Return a matrix (N, N) in float64, with rows divided by their sums.

    Raises ValueError if it is not (N, N) with N >= 2, is not finite, has negative entries, or has rows whose sums
    differ from 1 by more than 1e-3 (more in half precision, see `spectral.arrays.row_sum_tolerance`).

    Example:
        >>> row_stochastic([[1, 0], [0.25, 0.75]])
        array([[1.  , 0.  ],
               [0.25, 0.75]])
    """
    matrix = check_finite(as_float64(attention), "attention").numpy()
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise ValueError(f"attention must be (N, N) with N at least 2, got shape {matrix.shape}")
    sums = matrix.sum(1, keepdims=True)
    if matrix.min() < 0 or np.abs(sums - 1).max() > row_sum_tolerance(attention):
        raise ConfigError(
            "attention must be row-stochastic: no negative entry, and rows that sum to 1; "
            f"got a smallest entry of {matrix.min():.3g} and row sums of {sums.min():.5g} to {sums.max():.5g}. After "
            "the remedies attnscale and gfsa it is not, and the theorem says nothing about it"
        )
    return matrix / sums


def is_lower_triangular(matrix: Array) -> bool:
    """Return whether no position sees a later one.

    Example:
        >>> is_lower_triangular(np.eye(3)), is_lower_triangular(np.ones((3, 3)) / 3)
        (True, False)
    """
    return not np.triu(matrix, 1).any()


def _analyse_triangular(matrix: Array) -> Spectrum:
    """Take the eigenvalues from the diagonal, and compute the eigenvector by forward substitution."""
    diagonal = np.diag(matrix)
    order = np.argsort(-diagonal[1:], kind="stable") + 1
    second = diagonal[order[0]]
    # Of equal diagonal entries, only the last is certain to have its own eigenvector.
    start = int(np.flatnonzero(diagonal == second)[-1]) if second < 1 else int(order[0])
    vector = np.zeros(len(matrix))
    vector[start] = 1
    for row in range(start + 1, len(matrix)):
        gap = second - diagonal[row]
        vector[row] = matrix[row, :row] @ vector[:row] / gap if gap else 0.0
    third = float(diagonal[order[1]]) if len(order) > 1 else 0.0
    return Spectrum(np.eye(len(matrix))[0], complex(second), third, vector)
