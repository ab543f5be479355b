"""The sums of a small measure that is not of this toolkit."""

from dataclasses import dataclass, field

from torch import Tensor

from spectral.sums import CONSTANT, Sums


@dataclass(frozen=True, eq=False)
class Waits(Sums):
    """Sums of a measure that the package does not have."""

    addends = "waits in one unit"

    unit: str = field(metadata=CONSTANT)
    longest_first: Tensor
    total: float
    users: int


def waits(times: Tensor, unit: str = "s") -> Waits:
    return Waits(unit, times.sort(descending=True).values.sum(0, keepdim=True), float(times.sum()), len(times))
