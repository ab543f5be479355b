"""A copy of a model in which rounding cannot be mistaken for an effect."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def precise(model: Any, run: Callable[[Any], object]) -> tuple[Any, torch.dtype]:
    """Return a copy of a model in evaluation mode and in float64, and that type. The model itself is not changed.

    A model in bfloat16, float16 or float32 is converted; on a device without float64 the copy is on the CPU.

    run: something that runs the model. A model that makes float32 tensors of its own may not run in float64; then the
    copy is in float32. What is not an nn.Module is returned as it is, and float32 is assumed.

    >>> half = nn.Linear(2, 2).to(torch.bfloat16)
    >>> double, dtype = precise(half, lambda layer: layer(torch.ones(1, 2, dtype=layer.weight.dtype)))
    >>> double.weight.dtype, dtype, half.weight.dtype
    (torch.float64, torch.float64, torch.bfloat16)
    """
    if not isinstance(model, nn.Module):
        return model, torch.float32
    copied = copy.deepcopy(model).eval()
    if any(parameter.device.type == "mps" for parameter in copied.parameters()):
        copied = copied.to("cpu")
    try:
        with torch.no_grad():
            run(copied.double())
    except RuntimeError:
        return copied.float(), torch.float32
    return copied, torch.float64
