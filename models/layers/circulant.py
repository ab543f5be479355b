"""Signals as circulant matrices, and the sums along wrapped diagonals that undo them.

Each of the two is the derivative of the other. Both are written with strides: gathering element by element, and above
all its derivative, would take longer than the rest of a layer.
"""

from typing import Any

import torch
from torch import Tensor


def circulant(weight: Tensor) -> Tensor:
    """Return the matrices (B, N, N) that sum a signal over delays: weight[b, (s - n) mod N] at row n, column s."""
    return _Circulant.apply(weight)


def wrapped_diagonal_sums(matrix: Tensor) -> Tensor:
    """Return the sums (B, N) over n of matrix[b, n, (n + t) mod N], for each delay t."""
    return _WrappedDiagonalSums.apply(matrix)


def _circulant(weight: Tensor) -> Tensor:
    batch, length = weight.shape
    twice = torch.cat([weight, weight], dim=1)
    # Row n starts at N - n; strides cannot be negative, so the last row is taken first.
    return twice.as_strided((batch, length, length), (2 * length, 1, 1), 1).flip(1)


def _wrapped_diagonal_sums(matrix: Tensor) -> Tensor:
    batch, length, _ = matrix.shape
    twice = torch.cat([matrix, matrix], dim=2)
    return twice.as_strided((batch, length, length), (2 * length * length, 2 * length + 1, 1)).sum(1)


class _Circulant(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        return _circulant(weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _wrapped_diagonal_sums(grad)


class _WrappedDiagonalSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        return _wrapped_diagonal_sums(matrix)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _circulant(grad)
