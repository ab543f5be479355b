"""Bringing arrays into the form that the measures compute on."""

from typing import Any

import torch
from torch import Tensor


def as_float(x: Any) -> Tensor:
    """Return real numbers as a tensor: half precision becomes float32, integers become float64."""
    tensor = torch.as_tensor(x).detach()
    if tensor.is_complex():
        raise ValueError("expected real numbers, got complex ones")
    if not tensor.is_floating_point():
        return tensor.double()
    return tensor.float() if tensor.element_size() < 4 else tensor


def as_float64(x: Any) -> Tensor:
    """Return a float64 tensor on the CPU, where all sums are kept (some devices have no float64)."""
    return as_float(x).to("cpu", torch.float64)


def as_rows(x: Any) -> Tensor:
    """Return a matrix of one row per user, (n, D), as float64; raises ValueError for another shape."""
    rows = as_float64(x)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ValueError(f"expected a matrix of one row per user, (n, D), got shape {tuple(rows.shape)}")
    return rows


def check_finite(x: Tensor, what: str) -> Tensor:
    """Return x if all its numbers are finite; raises ValueError naming `what` otherwise."""
    if not bool(x.isfinite().all()):
        raise ValueError(f"{what} must be finite, got NaN or infinity")
    return x
