"""Smoothness along positions as an accumulator over batches."""

from collections.abc import Sequence

import torch
from torch import Tensor

from spectral.accumulator import Accumulator
from spectral.moments import Moments
from spectral.response import DEFAULT_C
from spectral.smoothing import MEASURES, Smoothing, smoothing_moments, stack


class SmoothingMetric(Accumulator):
    """Accumulates sums over sequences; `compute` gives what `smoothing` gives of all batches.

    The states are three numbers per layer and measure, whatever the number of sequences; they add up over processes.

    Args:
        num_layers: Layers of every update, the embedding output included.
        c: Number of modes that count as low frequency.
    """

    count: Tensor
    total: Tensor
    squares: Tensor

    def __init__(self, num_layers: int, c: int = DEFAULT_C) -> None:
        super().__init__()
        self.c = c
        for name in ("count", "total", "squares"):
            zeros = torch.zeros(num_layers, len(MEASURES), dtype=torch.float64)
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(self, hidden: Sequence[Tensor] | Tensor, mask: Tensor | None = None) -> None:
        """Take in hidden states (B, N, D), one per layer, and the real positions, (B, N); errors as `smoothing`."""
        sums = self._sums() + stack(smoothing_moments(x, mask, self.c) for x in hidden)
        self.count = sums.count.to(self.count.device)
        self.total = sums.total.to(self.total.device)
        self.squares = sums.squares.to(self.squares.device)

    def compute(self) -> Smoothing:
        """Return the means over all sequences so far; NaN if there were none."""
        return Smoothing.from_moments(self._sums(), self.c)

    def _sums(self) -> Moments:
        return Moments(self.count.cpu(), self.total.cpu(), self.squares.cpu())
