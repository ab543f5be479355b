"""Copies of a model in which rounding cannot be mistaken for an effect, and what the devices can compute in."""

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

HALF = (torch.bfloat16, torch.float16)
WITHOUT_FLOAT64 = ("mps",)  # kinds of devices that have no float64


def exact_products() -> None:
    """Have GPUs multiply float32 numbers as such, for the rest of the process.

    By default cuDNN rounds them to the 10 bits of TF32 on a GPU that has it, and a measure would depend on where it is
    made: gradients of GRU4Rec and Caser, which use cuDNN, differed by 4e-4 and 5e-2 between an H100 and a CPU.

    >>> exact_products()
    >>> torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    (False, 'highest')
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Have a GPU add numbers in the same order every time, within the block; a processor does so anyway.

    Otherwise many threads of the GPU add to one sum as they come, as in the gradient of an embedding, and equal runs
    on the same card differ. torch warns of an operation that it cannot do in a fixed order.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at the first product
    deterministic: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill = deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    deterministic.fill_uninitialized_memory = False  # costs a pass over every new tensor, and changes no result
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        deterministic.fill_uninitialized_memory = fill


def widened(model: Any) -> Any:
    """Return the model, or a copy with float32 in place of half precision (bfloat16 and float16), on the same device.

    Scores in half precision have ties that the model does not mean, derivatives lose most of their digits, and some
    transforms do not exist in it. What is not an nn.Module is returned as it is.

    >>> half = nn.Linear(2, 2).to(torch.bfloat16)
    >>> widened(half).weight.dtype, half.weight.dtype
    (torch.float32, torch.bfloat16)
    """
    if not isinstance(model, nn.Module):
        return model
    if not any(tensor.dtype in HALF for tensor in [*model.parameters(), *model.buffers()]):
        return model
    return copy.deepcopy(model)._apply(lambda tensor: tensor.float() if tensor.dtype in HALF else tensor)


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
    if any(parameter.device.type in WITHOUT_FLOAT64 for parameter in copied.parameters()):
        copied = copied.to("cpu")
    try:
        with torch.no_grad():
            run(copied.double())
    except RuntimeError:
        return copied.float(), torch.float32
    return copied, torch.float64
