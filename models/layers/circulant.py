"""Signals as circulant matrices, and the sums along wrapped diagonals that undo them.

Each of the two is the derivative of the other. Both are written with strides: gathering element by element, and above
all its derivative, would take longer than the rest of a layer.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_Map = Callable[[Tensor], Tensor]


def circulant(weight: Tensor) -> Tensor:
    """Return the matrices (B, N, N) that sum a signal over delays: weight[b, (s - n) mod N] at row n, column s."""
    return _WithAdjoint.apply(weight, _circulant, _wrapped_diagonal_sums)


def wrapped_diagonal_sums(matrix: Tensor) -> Tensor:
    """Return the sums (B, N) over n of matrix[b, n, (n + t) mod N], for each delay t."""
    return _WithAdjoint.apply(matrix, _wrapped_diagonal_sums, _circulant)


def _circulant(weight: Tensor) -> Tensor:
    batch, length = weight.shape
    twice = torch.cat([weight, weight], dim=1)
    # Row n starts at N - n; strides cannot be negative, so the last row is taken first.
    return twice.as_strided((batch, length, length), (2 * length, 1, 1), 1).flip(1)


def _wrapped_diagonal_sums(matrix: Tensor) -> Tensor:
    batch, length, _ = matrix.shape
    twice = torch.cat([matrix, matrix], dim=2)
    return twice.as_strided((batch, length, length), (2 * length * length, 2 * length + 1, 1)).sum(1)


class _WithAdjoint(torch.autograd.Function):
    """A linear map, whose derivative is its adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, linear: _Map, adjoint: _Map) -> Tensor:
        ctx.adjoint = adjoint
        return linear(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return ctx.adjoint(grad), None, None
