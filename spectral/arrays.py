"""Conversion of arrays to the form that the measures compute on."""

from typing import Any

import torch
from torch import Tensor

ROW_SUM_TOLERANCE = {torch.bfloat16: 1e-2, torch.float16: 2e-3}


def as_float(x: Any) -> Tensor:
    """Return real numbers as a tensor: half precision becomes float32, integers become float64 on the CPU.

    x: a tensor, an array or nested lists, of any shape. Raises ValueError for complex numbers.

    Example:
        >>> import torch
        >>> as_float([1, 2]).dtype, as_float(torch.ones(2, dtype=torch.float16)).dtype
        (torch.float64, torch.float32)
    """
    tensor = torch.as_tensor(x).detach()
    if tensor.is_complex():
        raise ValueError("expected real numbers, got complex ones")
    return widened(tensor)


def widened(x: Tensor) -> Tensor:
    """Return half precision as float32 and whole numbers as float64 on the CPU; the rest as it is. It has a derivative.

    Example:
        >>> widened(torch.ones(2, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    if not x.is_floating_point():
        return x.cpu().double()
    return x.float() if x.element_size() < 4 else x


def row_sum_tolerance(x: Any) -> float:
    """Return how far from 1 the row sums of attention may be: 1e-3, or 1e-2 for bfloat16 and 2e-3 for float16.

    x: the maps in the precision in which the model computed them, also a list of tensors.

    Example:
        >>> row_sum_tolerance(torch.ones(2)), row_sum_tolerance([torch.ones(2, dtype=torch.bfloat16)])
        (0.001, 0.01)
    """
    dtypes = [each.dtype for each in (x if isinstance(x, list | tuple) else [x]) if isinstance(each, Tensor)]
    return max((ROW_SUM_TOLERANCE.get(dtype, 1e-3) for dtype in dtypes), default=1e-3)


def as_float64(x: Any) -> Tensor:
    """Return x as a float64 tensor on the CPU. All sums are kept there, because some devices have no float64.

    So it is moved before it is widened.

    Raises ValueError for complex numbers.

    Example:
        >>> as_float64([[1, 2], [3, 4]]).dtype
        torch.float64
    """
    return as_float(x).cpu().double()


def as_rows(x: Any) -> Tensor:
    """Return a matrix of one row per user, (n, D), as float64; raises ValueError for another shape."""
    rows = as_float64(x)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ValueError(f"expected a matrix of one row per user, (n, D), got shape {tuple(rows.shape)}")
    return rows


def check_finite(x: Tensor, what: str) -> Tensor:
    """Return x if all its numbers are finite. Raises ValueError with the name `what` otherwise.

    Example:
        >>> check_finite(torch.tensor([1.0, torch.inf]), "attention")
        Traceback (most recent call last):
        ValueError: attention must be finite, got NaN or infinity
    """
    if not bool(x.isfinite().all()):
        raise ValueError(f"{what} must be finite, got NaN or infinity")
    return x
