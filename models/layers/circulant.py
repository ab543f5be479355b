"""Circulant matrices, and sums along wrapped diagonals.

The two maps are adjoint: each is the derivative of the other. Both are written with strides, because gathering element
by element, and its derivative in particular, would take longer than the rest of a layer.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_Map = Callable[[Tensor], Tensor]


def circulant(weight: Tensor) -> Tensor:
    """Return circulant matrices (B, N, N) with weight[b, (s - n) mod N] at row n, column s; weight: (B, N).

    Such a matrix maps a signal x (N,) to the sum over delays t of weight[t] x[n + t], with n + t taken modulo N.

    >>> circulant(torch.tensor([[1, 2, 3]]))[0].tolist()
    [[1, 2, 3], [3, 1, 2], [2, 3, 1]]
    """
    return _WithAdjoint.apply(weight, _circulant, _wrapped_diagonal_sums)


def wrapped_diagonal_sums(matrix: Tensor) -> Tensor:
    """Return the sums (B, N) over n of matrix[b, n, (n + t) mod N], one for each delay t; matrix: (B, N, N).

    >>> wrapped_diagonal_sums(torch.tensor([[[1, 2, 3], [4, 5, 6], [7, 8, 9]]])).tolist()  # 1+5+9, 2+6+7, 3+4+8
    [[15, 15, 15]]
    >>> wrapped_diagonal_sums(circulant(torch.tensor([[1, 2, 3]]))).tolist()  # N times the weights
    [[3, 6, 9]]
    """
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
    """A linear map, differentiated by its adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, linear: _Map, adjoint: _Map) -> Tensor:
        ctx.adjoint = adjoint
        return linear(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return ctx.adjoint(grad), None, None
