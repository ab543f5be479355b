"""Means over sequences with their standard errors, computed from sums that add up over batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectral.arrays import as_float64
from spectral.sums import Sums

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moments(Sums):
    """Number, sum and sum of squares of some quantities over sequences.

    Attributes:
        count: (...) float64 on the CPU, the number of sequences that have the quantity.
        total: (...) the sum over these sequences.
        squares: (...) the sum of squares over these sequences.

    Example:
        The values 1 and 3, then a batch with the value 5 and a sequence that does not have the quantity. The mean of
        1, 3 and 5 is 3, their standard deviation is 2, and the standard error is 2 / sqrt(3).

        >>> import torch
        >>> moments = Moments.of(torch.tensor([1.0, 3.0])) + Moments.of(torch.tensor([5.0, torch.nan]))
        >>> float(moments.count), float(moments.mean), round(float(moments.standard_error), 3)
        (3.0, 3.0, 1.155)
    """

    count: Tensor
    total: Tensor
    squares: Tensor

    @classmethod
    def of(cls, values: Tensor) -> "Moments":
        """Sum values (..., S) over their last axis, the sequences. NaN marks a sequence without the quantity."""
        values = as_float64(values)
        known = ~values.isnan()
        values = values.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)
        return cls(known.sum(-1).double(), values.sum(-1), values.square().sum(-1))

    @property
    def mean(self) -> Array:
        """The mean over sequences, (...); NaN where there is no sequence."""
        return (self.total / self.count).numpy()

    def named(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the means by the names of the last axis, and under `standard_error` their errors by the same names."""
        means, errors = self.mean, self.standard_error
        found: dict[str, Any] = {name: means[..., column] for column, name in enumerate(names)}
        return found | {"standard_error": {name: errors[..., column] for column, name in enumerate(names)}}

    @property
    def standard_error(self) -> Array:
        """The standard deviation (n - 1 in the denominator) over sqrt(n), (...); NaN for fewer than two sequences."""
        n = self.count
        variance = (self.squares - self.total.square() / n).clamp(min=0) / (n - 1)
        return torch.where(n > 1, (variance / n).sqrt(), torch.nan).numpy()
