"""The frequency response as an accumulator over batches."""

import torch
from torch import Tensor

from spectral.accumulator import Accumulator
from spectral.filter_response import AttentionPower, FilterResponse, attention_power
from spectral.fourier import check_c
from spectral.response import DEFAULT_C


class FrequencyResponseMetric(Accumulator):
    """Accumulates the power that attention passes; `compute` is `frequency_response` of all batches.

    The states are sums in float64 of L x H x (N // 2 + 1) numbers, whatever the number of users; they add up
    over processes.

    Args:
        num_layers: L, the layers of every update.
        num_heads: H.
        positions: N.
        c: Number of modes that count as low frequency.

    Raises:
        ValueError: If c is not odd or not in 1..N.
    """

    power: Tensor
    self_power: Tensor
    users: Tensor

    def __init__(self, num_layers: int, num_heads: int, positions: int, c: int = DEFAULT_C) -> None:
        super().__init__()
        self.positions = positions
        self.c = check_c(c, positions)
        zeros = torch.zeros(num_layers, num_heads, positions // 2 + 1, dtype=torch.float64)
        self.add_state("power", zeros, dist_reduce_fx="sum")
        self.add_state("self_power", zeros.clone(), dist_reduce_fx="sum")
        self.add_state("users", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, attention: Tensor | list[Tensor]) -> None:
        """Take in the attention of a batch; shapes and errors are those of `frequency_response`."""
        sums = self._sums() + attention_power(attention)
        self.power = sums.power.to(self.power.device)
        self.self_power = sums.self_power.to(self.self_power.device)
        self.users = torch.tensor(sums.users, device=self.users.device)

    def compute(self) -> FilterResponse:
        """Return the response averaged over all sequences so far; raises ValueError if there were none."""
        return self._sums().response(self.c)

    def _sums(self) -> AttentionPower:
        none = self.power.cpu().new_zeros(0, *self.power.shape)
        return AttentionPower(
            self.power.cpu(), self.self_power.cpu(), self.positions, int(self.users), none, none.new_zeros(0)
        )
