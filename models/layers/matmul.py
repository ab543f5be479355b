"""Matrix products of many rows, as linear layers and their derivatives make them, at the speed of the processor.

PyTorch leaves products of float32 on a CPU to MKL, which keeps to AVX2 on processors that are not Intel's: half of what
those with AVX-512 can do. oneDNN, which PyTorch brings as well, uses all of it. It builds a kernel for every shape that
it meets, so it is asked only where shapes recur: where the rows come in eights, not as many as happen to be real.
"""

from typing import Any

import torch
from torch import Tensor

_RECURRING = 8  # rows of a batch or a block; at most 128 shapes up to 1024 rows, fewer than the kernels that are kept
_FAST = (
    torch.backends.cpu.get_cpu_capability() == "AVX512"
    and torch.backends.mkldnn.is_available()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, add: Tensor | None = None) -> Tensor:
    """Return x weight^T + bias + add; x: (rows, in), weight: (out, in), bias: (out,), add: (rows, out)."""
    if _is_fast(x):
        fused = torch.ops.mkldnn._linear_pointwise
        return fused(x, weight, bias, "none", [], "") if add is None else fused.binary(x, add, weight, bias, "add")
    product = x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)
    return product if add is None else product.add_(add)


def outer(y: Tensor, x: Tensor) -> Tensor:
    """Return the sum over rows of outer products, y^T x (out, in), as derivatives of weights are; y: (rows, out)."""
    if _is_fast(x):
        return torch.ops.mkldnn._linear_pointwise(y.T, x.T, None, "none", [], "")
    return y.T @ x


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
    """Whether the product of these rows is one for oneDNN; the same on every call with as many rows."""
    return _FAST and x.dtype == torch.float32 and x.device.type == "cpu" and len(x) % _RECURRING == 0 and len(x) > 0
