"""Means over sequences with their standard errors, from sums that add up over batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectral.sums import Sums

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moments(Sums):
    """Number, sum and sum of squares of some quantities over sequences, float64 on the CPU, all of one shape."""

    count: Tensor
    total: Tensor
    squares: Tensor

    @classmethod
    def of(cls, values: Tensor) -> "Moments":
        """Sum values (..., S) over their last axis, the sequences; NaN is a sequence without the quantity."""
        known = ~values.isnan()
        values = values.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)
        return cls(known.sum(-1).double(), values.sum(-1), values.square().sum(-1))

    @property
    def mean(self) -> Array:
        """The mean over sequences; NaN where there is none."""
        return (self.total / self.count).numpy()

    def named(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the means by the names of the last axis, and under `standard_error` their errors by the same names."""
        means, errors = self.mean, self.standard_error
        found: dict[str, Any] = {name: means[..., column] for column, name in enumerate(names)}
        return found | {"standard_error": {name: errors[..., column] for column, name in enumerate(names)}}

    @property
    def standard_error(self) -> Array:
        """The standard deviation (of n - 1) over the square root of n; NaN for fewer than two sequences."""
        n = self.count
        variance = (self.squares - self.total.square() / n).clamp(min=0) / (n - 1)
        return torch.where(n > 1, (variance / n).sqrt(), torch.nan).numpy()
