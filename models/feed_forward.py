"""The position-wise feed-forward network, run over blocks of rows that stay in the processor's cache.

Its inner layer is four times as wide as the rest of the model: for a whole batch it is written to main memory and
read back several times, which costs more than the arithmetic. Block by block it never leaves the cache.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CACHED_ROWS = 2048  # of 256 float32 inner units: 2 MB


class _BlockedFeedForward(torch.autograd.Function):
    """W2 gelu(W1 x + b1) + b2 over rows x (n, D), forward and backward one block of rows at a time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        inner, output = x.new_empty(len(x), len(w1)), x.new_empty(len(x), len(w2))
        for rows in _blocks(x):
            torch.addmm(b1, x[rows], w1.T, out=inner[rows])
            torch.addmm(b2, functional.gelu(inner[rows]), w2.T, out=output[rows])
        ctx.save_for_backward(x, inner, w1, w2)
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, inner, w1, w2 = ctx.saved_tensors
        grad_x, grad_w1, grad_w2 = torch.empty_like(x), torch.zeros_like(w1), torch.zeros_like(w2)
        grad_b1 = w1.new_zeros(len(w1))
        for rows in _blocks(x):
            grad_w2.addmm_(grad[rows].T, functional.gelu(inner[rows]))
            grad_inner = torch.ops.aten.gelu_backward(grad[rows] @ w2, inner[rows])
            grad_w1.addmm_(grad_inner.T, x[rows])
            grad_b1.add_(grad_inner.sum(0))
            torch.mm(grad_inner, w1, out=grad_x[rows])
        return grad_x, grad_w1, grad_b1, grad_w2, grad.sum(0)


def _blocks(x: Tensor) -> list[slice]:
    size = CACHED_ROWS if x.device.type == "cpu" else max(len(x), 1)
    return [slice(start, start + size) for start in range(0, len(x), size)]


def feed_forward(x: Tensor, inner: nn.Linear, outer: nn.Linear) -> Tensor:
    """Return outer(gelu(inner(x))) with the exact (erf) GELU; x: (..., D). First derivatives only."""
    rows = x.flatten(end_dim=-2)
    return _BlockedFeedForward.apply(rows, inner.weight, inner.bias, outer.weight, outer.bias).view(x.shape)
