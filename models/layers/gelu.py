"""The exact (erf) GELU of rows whose number differs from batch to batch, as it does where padding is left out.

Source: Hendrycks and Gimpel, 2016, "Gaussian error linear units".
"""

from itertools import accumulate
from typing import Any

import torch
from torch import Tensor


def gelu(x: Tensor) -> Tensor:
    """Return the GELU of rows (..., D), with first derivatives.

    >>> gelu(torch.tensor([[0.0, 1.0]]))
    tensor([[0.0000, 0.8413]])
    """
    return _Gelu.apply(x.flatten(end_dim=-2)).view(x.shape)


def gelu_forward(x: Tensor) -> Tensor:
    """Return the GELU of rows (M, D), for functions with derivatives of their own."""
    activated = torch.empty_like(x)
    for rows in _powers_of_two(x):
        torch.ops.aten.gelu.out(x[rows], out=activated[rows])
    return activated


def gelu_backward(grad: Tensor, x: Tensor) -> Tensor:
    """Return the gradient by the rows x (M, D); grad: (M, D), the one by their GELU."""
    grad_x = torch.empty_like(x)
    for rows in _powers_of_two(x):
        torch.ops.aten.gelu_backward.grad_input(grad[rows], x[rows], grad_input=grad_x[rows])
    return grad_x


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return gelu_forward(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return gelu_backward(grad, *ctx.saved_tensors)


def _powers_of_two(x: Tensor) -> list[slice]:
    """Return rows of x in parts of few different sizes on a CPU; all of them elsewhere.

    There GELU is oneDNN's, which compiles a kernel for every new number of rows and keeps a thousand of them. With the
    uneven last blocks of packed batches as they come, a training run would grow by a gigabyte.
    """
    if x.device.type != "cpu":
        return [slice(None)]
    sizes = [1 << bit for bit in reversed(range(len(x).bit_length())) if len(x) >> bit & 1]
    return [slice(stop - size, stop) for size, stop in zip(sizes, accumulate(sizes), strict=True)]
