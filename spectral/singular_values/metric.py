"""Singular values as an accumulator over batches of rows."""

import torch
from torch import Tensor

from spectral.accumulator import Accumulator
from spectral.singular_values import Gram, SingularValues, gram


class SingularValuesMetric(Accumulator):
    """Accumulates the Gram matrix of rows; `compute` gives what `singular_values` gives of all rows.

    The states are D x D + D + 1 numbers in float64, whatever the number of users; they add up over processes.

    Args:
        size: D, the columns of every update.
        center: Whether the mean row is removed.
    """

    products: Tensor
    total: Tensor
    users: Tensor

    def __init__(self, size: int, center: bool = False) -> None:
        super().__init__()
        self.center = center
        self.add_state("products", torch.zeros(size, size, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("users", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        """Take in rows (n, D); raises ValueError for another shape."""
        sums = self._sums() + gram(x)
        self.products = sums.products.to(self.products.device)
        self.total = sums.total.to(self.total.device)
        self.users = torch.tensor(sums.users, device=self.users.device)

    def compute(self) -> SingularValues:
        """Return the singular values of all rows so far; raises ValueError if there were none."""
        return self._sums().singular_values(self.center)

    def _sums(self) -> Gram:
        return Gram(self.products.cpu(), self.total.cpu(), int(self.users))
