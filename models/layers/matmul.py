"""Fast matrix products of many rows, for linear layers and their derivatives on a CPU.

PyTorch computes float32 products on a CPU with MKL. On processors that are not Intel's, MKL uses only AVX2, which is
half the speed of AVX-512. oneDNN, which is part of PyTorch too, uses AVX-512. It compiles a kernel for every new shape,
so it is used only where shapes recur: where the number of rows is a multiple of eight. On Intel's own processors MKL is
as fast for linear layers, and up to twice as fast for the derivatives of their weights.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_RECURRING = 8  # rows; up to 1024 rows that makes at most 128 shapes, fewer than the kernels that oneDNN keeps


def _is_intel() -> bool:
    cpu = Path("/proc/cpuinfo")
    return cpu.exists() and "GenuineIntel" in cpu.read_text()


_FAST = (
    torch.backends.cpu.get_cpu_capability() == "AVX512"
    and not _is_intel()
    and torch.backends.mkldnn.is_available()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, add: Tensor | None = None) -> Tensor:
    """Return x weight^T + bias + add, (rows, out).

    x: (rows, in), weight: (out, in), bias: (out,) or None, add: (rows, out) or None. No gradient is recorded.

    >>> linear(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0], [0.0, 3.0]]), torch.tensor([10.0, 0.0])).tolist()
    [[13.0, 6.0]]
    """
    if _is_fast(x):
        fused = torch.ops.mkldnn._linear_pointwise
        return fused(x, weight, bias, "none", [], "") if add is None else fused.binary(x, add, weight, bias, "add")
    product = x @ weight.T
    for part in (bias, add):  # one after the other on what is still in the cache: addmm spreads a bias out first
        if part is not None:
            product.add_(part)
    return product


def outer(y: Tensor, x: Tensor) -> Tensor:
    """Return y^T x (out, in), the sum over rows of outer products, which is the derivative of a linear layer's weight.

    y: (rows, out), the gradient of the output; x: (rows, in), the input.
    """
    if not _is_fast(x):
        return y.T @ x
    if y.shape[1] > x.shape[1]:  # oneDNN takes the first factor's rows side by side, which is a slow copy of a wide y
        return outer(x, y).T
    return torch.ops.mkldnn._linear_pointwise(y.T, x.T, None, "none", [], "")


def project(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return x weight^T + bias, differentiable once; x: (..., in), weight: (out, in), bias: (out,)."""
    return _Projection.apply(x.flatten(end_dim=-2), weight, bias).view(*x.shape[:-1], -1)


class _Projection(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return linear(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, weight = ctx.saved_tensors
        return linear(grad, weight.T), outer(grad, x), grad.sum(0)


def _is_fast(x: Tensor) -> bool:
    """Whether oneDNN computes the product of these rows; the answer depends on their type, device and number alone."""
    return _FAST and x.dtype == torch.float32 and x.device.type == "cpu" and len(x) % _RECURRING == 0 and len(x) > 0
