"""A device that has no float64, as MPS has none, simulated on the CPU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

DEVICE = torch.device("mps")
DOUBLE = (torch.float64, torch.complex128)


class DeviceWithoutFloat64(TorchFunctionMode):
    """While it is active, some tensors count as being on `DEVICE`, and float64 made of them there is an error.

    These are the tensors given to `put`, and all that is computed from them until it is moved to the CPU. Their
    numbers are on the CPU all the time.
    """

    def put(self, moved: Any) -> Any:
        """Return a model or a tensor that counts as being on the device."""
        if isinstance(moved, nn.Module):
            for tensor in [*moved.parameters(), *moved.buffers()]:
                tensor.is_away = True
            return moved
        moved = moved.clone()
        moved.is_away = True
        return moved

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        inputs, _ = tree_flatten((args, kwargs))
        away = any(is_away(x) for x in inputs)
        if function == Tensor.device.__get__:
            return DEVICE if away else function(*args)
        if away and function is Tensor.numpy:
            raise RuntimeError("a tensor on the device cannot be converted to numpy; move it to the CPU first")
        target = next(
            (torch.device(x) for x in inputs if (isinstance(x, str) and x == "cpu") or isinstance(x, torch.device)),
            None,
        )
        if target is not None:  # the numbers stay where they are
            args = tuple("cpu" if isinstance(x, torch.device) else x for x in args)
            kwargs = {name: "cpu" if isinstance(x, torch.device) else x for name, x in kwargs.items()}
        found = function(*args, **kwargs)
        on_device = away or (target is not None and target.type == DEVICE.type)
        outputs, _ = tree_flatten(found)
        made = [x for x in outputs if isinstance(x, Tensor)]
        if on_device and any(x.dtype in DOUBLE for x in made):
            raise RuntimeError(f"{function.__name__} makes float64 on a device that has none")
        if function is Tensor.cpu or (target is not None and target.type == "cpu"):
            return found.view_as(found) if function is Tensor.cpu else _home(found)
        if on_device:
            for x in made:
                x.is_away = True
        return found


def is_away(x: Any) -> bool:
    """Return whether a tensor counts as being on the device."""
    return isinstance(x, Tensor) and getattr(x, "is_away", False)


def _home(x: Any) -> Any:
    return x.view_as(x) if is_away(x) else x
