"""How a layer's response differs between positions: the map of time-variant filters.

A circular filter does the same at every position. TV-Rec's taps differ between positions, attention and its low-rank
forms average other items at each of them, and padding ends a window: their response is a map over positions,

    gain(n, k)^2 = N ||J_n (f_k x I)||_F^2 / D

with J_n the rows of the layer's derivative that belong to output position n. Its mean square over n is the gain of
`block_response`, and of a circular filter all rows are equal. J is taken at the hidden states of real users, as there,
and half precision is widened to float32 (a copy of the model).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from models.precision import widened
from spectral.arrays import check_finite
from spectral.block_response import layers_and_inputs, probe_weights, wave_power
from spectral.capture import Capture
from spectral.fourier import angular_frequencies, frequencies
from spectral.response import Array
from spectral.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(frozen=True, eq=False, kw_only=True)
class PositionResponse(Result):
    """The frequency response of whole layers at each output position, averaged over users.

    Attributes:
        gain: (L, N, F), root mean square over users of sqrt(N / D) ||J_n (f_k x I)||_F.
        users: Number of sequences in the average.
        layers: The layer number of each row, from 1.

    Example:
        A layer that keeps the first position and averages both at the second is no time-invariant filter:

        >>> response = PositionResponse(gain=np.array([[[1.0, 1.0], [1.0, 0.0]]]), users=1, layers=(1,))
        >>> response.variation
        array([[0., 1.]])
    """

    gain: Array
    users: int
    layers: tuple[int, ...]

    @property
    def variation(self) -> Array:
        """(L, F) standard deviation of the gain over positions, divided by its mean; 0 for a circular filter.

        It is NaN where nothing passes.
        """
        mean = self.gain.mean(1)
        return np.divide(self.gain.std(1), mean, out=np.full_like(mean, np.nan), where=mean > 0)

    def table(self) -> "DataFrame":
        """Return one row per layer, position (from 1) and frequency (cycles per sequence): the gain."""
        import pandas as pd

        positions = self.gain.shape[1]
        parts = [self.layers, range(1, positions + 1), frequencies(positions).tolist()]
        index = pd.MultiIndex.from_product(parts, names=["layer", "position", "frequency"])
        omega = np.tile(angular_frequencies(positions).numpy(), len(self.layers) * positions)
        return pd.DataFrame({"angular_frequency": omega, "gain": self.gain.ravel()}, index=index).reset_index()

    def plot(self, ax: "Axes | None" = None, *, layer: int | None = None) -> "Axes | Figure":
        """Draw the map over positions of every layer, or of one (on a given `ax` the first)."""
        from spectral import plot

        if ax is None and layer is None:
            return plot.position_response_panels(self._by_label(self))
        return plot.position_response(self, layer, ax=ax)


def position_response(
    model: Any, batches: Iterable[Tensor], length: int | None = None, probes: int = 1, seed: int = 0
) -> PositionResponse:
    """Return the frequency response of each layer of a model at each position, averaged over sequences.

    Args:
        model: As for `block_response`.
        batches: Int tensors (B, N) of full windows, as for `block_response`.
        length: Measure the last n positions only; None for all.
        probes: Random outputs per user and position; with D or more, all unit vectors, and the result is exact. It
            costs N / 8 times as much as `block_response` with its 8 probes.
        seed: Of the random outputs.

    Raises as `block_response` does.

    Example:
        >>> from models.registry import build, configure
        >>> model = build(configure("tvrec", num_items=9, max_len=8, hidden_size=4, order=3))
        >>> model.initialise(0)
        >>> position_response(model.eval(), [torch.ones(1, 8, dtype=torch.int64)]).gain.shape
        (2, 8, 5)
    """
    if probes < 1:
        raise ValueError(f"at least one probe is needed, got {probes}")
    model = widened(model)
    generator = torch.Generator().manual_seed(seed)
    power: Tensor | None = None
    users = 0
    for batch in batches:
        Capture((), (), batch > 0).last(length).check_real()
        found = torch.stack(
            [_power_at_positions(*each, length, probes, generator) for each in layers_and_inputs(model, batch)]
        )
        users += len(batch)
        power = found if power is None else power + found
    if power is None or users == 0:
        raise ValueError("there are no sequences to average over")
    gain = (check_finite(power, "the derivative of a layer") * power.shape[1] / users).sqrt().numpy()
    return PositionResponse(gain=gain, users=users, layers=tuple(range(1, len(gain) + 1)))


def _power_at_positions(layer: Any, x: Tensor, length: int | None, probes: int, generator: torch.Generator) -> Tensor:
    """Return the power of each wave in each output position, summed over users, (N, F) float64."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        output = layer(x)
    rows = slice(-length if length else None, None)
    at_positions = []
    for position in range(x.shape[1])[rows]:
        only = slice(position, position + 1)
        powers = [wave_power(output, x, weights, rows) for weights in probe_weights(output, only, probes, generator)]
        at_positions.append(torch.stack(powers).sum((0, 1)))  # over probes and users
    return torch.stack(at_positions)
