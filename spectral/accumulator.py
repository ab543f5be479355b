"""The sums of a measure as a torchmetrics metric, for data that comes in batches or is spread over processes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torchmetrics import Metric

from models.precision import WITHOUT_FLOAT64
from spectral.sums import Sums

S = TypeVar("S", bound=Sums)
Result = TypeVar("Result")


class _Opaque:
    """Holds a result that torchmetrics must not look into."""

    def __init__(self, result: Any) -> None:
        self.result = result


class Accumulator(Metric, Generic[S, Result]):
    """Holds the sums of any measure: `update` adds the sums of a batch, `compute` turns the totals into the result.

    The states are the fields of the sums that add up. Their size does not depend on the number of sequences, and
    torchmetrics adds up the states of several processes.

    Args:
        sums: Takes what `update` is given, a batch, and returns its sums.
        finish: Takes the sums of all batches and returns the result.
        empty: A batch without sequences, with the shape of the others. The states start with its sums.

    Example:
        The mean of a quantity over sequences that come in two batches:

        >>> import torch
        >>> from spectral.moments import Moments
        >>> mean = Accumulator(Moments.of, lambda sums: float(sums.mean), torch.empty(0, dtype=torch.float64))
        >>> mean.update(torch.tensor([1.0, 3.0], dtype=torch.float64))
        >>> mean.update(torch.tensor([8.0], dtype=torch.float64))
        >>> mean.compute()
        4.0
    """

    full_state_update = False

    def __init__(self, sums: Callable[..., S], finish: Callable[[S], Result], empty: Any) -> None:
        super().__init__()
        self._sums_of, self._finish, self._nothing = sums, finish, sums(empty)
        for name, value in self._nothing.additive().items():
            dtype = torch.float64 if isinstance(value, float) else None
            self.add_state(name, torch.as_tensor(value, dtype=dtype), dist_reduce_fx="sum")

    @property
    def sums(self) -> S:
        """The sums of all batches so far, on the CPU."""
        states = {
            name: getattr(self, name).cpu() if isinstance(value, Tensor) else type(value)(getattr(self, name))
            for name, value in self._nothing.additive().items()
        }
        return replace(self._nothing, **states)

    def update(self, *batch: Any, **named: Any) -> None:
        """Add the sums of a batch."""
        for name, value in (self.sums + self._sums_of(*batch, **named)).additive().items():
            state = getattr(self, name)
            setattr(self, name, torch.as_tensor(value, dtype=state.dtype, device=state.device))

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> "Accumulator[S, Result]":
        """Move the states, unless to a device without float64; the sums of each batch are made on the CPU anyway."""
        if fn(torch.empty(0)).device.type in WITHOUT_FLOAT64:
            return self
        super()._apply(fn, exclude_state)
        return self

    def compute(self) -> Result:
        """Return the result of all batches so far, as `finish` makes it."""
        return self._finish(self.sums)

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        """Hide the result from torchmetrics, which looks for tensors in it and does not accept frozen dataclasses."""
        wrapped = super()._wrap_compute(lambda: _Opaque(compute()))
        return lambda: wrapped().result
