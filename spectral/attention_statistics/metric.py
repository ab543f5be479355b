"""Statistics of attention as an accumulator over batches."""

import torch
from torch import Tensor

from spectral.accumulator import Accumulator
from spectral.attention_statistics import MEASURES, RESIDUAL, AttentionStatistics, Sums, sum_over_sequences
from spectral.moments import Moments

_STATES = ("count", "total", "squares")


class AttentionStatisticsMetric(Accumulator):
    """Accumulates sums over sequences; `compute` gives what `attention_statistics` gives of all batches.

    The states are L x H x (18 + N) + N + 1 numbers, whatever the number of sequences; they add up over processes.

    Args:
        num_layers: L, the layers of every update.
        num_heads: H.
        positions: N.
        residual: Weight of the residual connection.
    """

    count: Tensor
    total: Tensor
    squares: Tensor
    perron: Tensor
    rollout: Tensor
    rollout_lambda2: Tensor

    def __init__(self, num_layers: int, num_heads: int, positions: int, residual: float = RESIDUAL) -> None:
        super().__init__()
        self.residual = residual
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(_STATES, (num_layers, num_heads, len(MEASURES)))
        shapes |= {"perron": (num_layers, num_heads, positions), "rollout": (positions,), "rollout_lambda2": ()}
        for name, shape in shapes.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, attention: Tensor | list[Tensor]) -> None:
        """Take in the attention of a batch; shapes and errors are those of `attention_statistics`."""
        sums = self._sums() + sum_over_sequences(attention, self.residual)
        for name in _STATES:
            setattr(self, name, getattr(sums.measures, name).to(self.count.device))
        for name in ("perron", "rollout", "rollout_lambda2"):
            setattr(self, name, getattr(sums, name).to(self.count.device))

    def compute(self) -> AttentionStatistics:
        """Return the means over all sequences so far; raises ValueError if there were none."""
        return self._sums().statistics(self.residual)

    def _sums(self) -> Sums:
        moments = Moments(self.count.cpu(), self.total.cpu(), self.squares.cpu())
        return Sums(moments, self.perron.cpu(), self.rollout.cpu(), self.rollout_lambda2.cpu())
