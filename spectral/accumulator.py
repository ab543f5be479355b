"""Metrics of torchmetrics whose result is one of this package's frozen dataclasses."""

from collections.abc import Callable
from typing import Any

from torchmetrics import Metric


class _Opaque:
    """Holds a result that torchmetrics must not look into."""

    def __init__(self, result: Any) -> None:
        self.result = result


class Accumulator(Metric):
    """A Metric whose `compute` may return a frozen dataclass.

    torchmetrics searches what `compute` returns for tensors, to turn those of one element into scalars, and
    refuses frozen dataclasses; here it is handed the result in a box.
    """

    full_state_update = False

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        wrapped = super()._wrap_compute(lambda: _Opaque(compute()))
        return lambda: wrapped().result
