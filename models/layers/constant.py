"""Fixed matrices of layers."""

import torch
from torch import Tensor


class Constant:
    """A fixed tensor of a layer, in float64 and on the CPU, and its copies in the types and on the devices in use.

    A buffer of the module would be rounded when the model is converted to a smaller type and back, and some devices
    have no float64. A copy is made once, because a copy to another device makes a training step wait for it.

    >>> projection = Constant(torch.eye(2, dtype=torch.float64) / 3)
    >>> projection.like(torch.ones(1)).dtype
    torch.float32
    >>> projection.like(torch.ones(1)) is projection.like(torch.zeros(5))
    True
    """

    def __init__(self, value: Tensor) -> None:
        self.value = value
        self._copies: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def like(self, x: Tensor) -> Tensor:
        """Return the tensor in the type and on the device of x."""
        key = x.dtype, x.device
        if key not in self._copies:
            with torch.inference_mode(False):  # a copy that evaluation makes is used in training too
                self._copies[key] = self.value.to(x.dtype).to(x.device)
        return self._copies[key]
