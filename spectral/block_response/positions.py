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
from spectral.findings import MARGINS, in_layers
from spectral.fourier import angular_frequencies, frequencies
from spectral.response import Array, decibels
from spectral.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

ALIKE_DB = 2 * MARGINS["gain_db"]  # positions whose gains differ by less are said to be alike
FAINT_DB = -60.0  # gains below are taken for this one, so that no difference to nothing at all is stated in dB


@dataclass(frozen=True, eq=False, kw_only=True)
class PositionResponse(Result):
    """The frequency response of whole layers at each output position, averaged over users.

    Random outputs are the same at all positions, so that a difference between positions is one of the layer.

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
    def gain_db(self) -> Array:
        """(L, N, F) gain in dB; minus infinity where nothing passes."""
        return decibels(self.gain)

    @property
    def last_db(self) -> Array:
        """(L, F) gain at the last position in dB, relative to the root mean square over positions."""
        return decibels(self.gain[:, -1]) - decibels(np.sqrt(np.square(self.gain).mean(1)))

    @property
    def variation(self) -> Array:
        """(L, F) standard deviation of the gain over positions, divided by its mean; 0 for a circular filter.

        It is NaN where nothing passes.
        """
        mean = self.gain.mean(1)
        return np.divide(self.gain.std(1), mean, out=np.full_like(mean, np.nan), where=mean > 0)

    def table(self) -> "DataFrame":
        """Return one row per layer, position (from 1) and frequency (cycles per sequence): the gain, and in dB."""
        import pandas as pd

        positions = self.gain.shape[1]
        parts = [self.layers, range(1, positions + 1), frequencies(positions).tolist()]
        index = pd.MultiIndex.from_product(parts, names=["layer", "position", "frequency"])
        omega = np.tile(angular_frequencies(positions).numpy(), len(self.layers) * positions)
        columns = {
            "angular_frequency": omega,
            "gain": self.gain.ravel(),
            "gain_db": self.gain_db.ravel(),
            "users": self.users,
        }
        return pd.DataFrame(columns, index=index).reset_index()

    def plot(self, ax: "Axes | None" = None, *, layer: int | None = None) -> "Axes | Figure":
        """Draw the map over positions of every layer, or of one (on a given `ax` the first)."""
        from spectral import plot

        if ax is None and layer is None:
            return plot.position_response_panels(self._by_label(self))
        return plot.position_response(self, layer, ax=ax)

    def summary(self) -> list[dict[str, Any]]:
        """Return one record per layer: `variation` and `last_db` at DC and at the highest frequency."""
        return [
            {
                "layer": layer,
                "variation_dc": float(self.variation[row, 0]),
                "variation_nyquist": float(self.variation[row, -1]),
                "last_dc_db": float(self.last_db[row, 0]),
                "last_nyquist_db": float(self.last_db[row, -1]),
            }
            for row, layer in enumerate(self.layers)
        ]

    def predicate(self) -> str:
        """Return what is to be said of the model: in which layers positions are alike, and by how much others differ.

        Example:
            >>> gain = np.array([[[1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 0.5]]])
            >>> PositionResponse(gain=gain, users=1, layers=(1, 2)).predicate()
            'passes each frequency alike at all positions in layer 1, and in layer 2 up to 6 dB more at position 1 \
than at position 2 (at frequency 1)'
        """
        spread = np.ptp(np.maximum(self.gain_db, FAINT_DB), axis=1)  # (L, F)
        alike = [layer for layer, widest in zip(self.layers, spread.max(1), strict=True) if widest <= ALIKE_DB]
        said = [f"each frequency alike at all positions {in_layers(alike)}"] if alike else []
        for row, layer in enumerate(self.layers):
            if layer in alike:
                continue
            frequency = int(spread[row].argmax())
            most, least = (end(self.gain[row, :, frequency]) + 1 for end in (np.argmax, np.argmin))
            said.append(
                f"{in_layers([layer])} up to {spread[row, frequency]:.0f} dB more at position {most} than at position "
                f"{least} (at frequency {frequency})"
            )
        return f"passes {', and '.join(said)}"


def position_response(
    model: Any, batches: Iterable[Tensor], length: int | None = None, probes: int = 1, seed: int = 0
) -> PositionResponse:
    """Return the frequency response of each layer of a model at each position, averaged over sequences.

    Args:
        model: As for `block_response`.
        batches: Int tensors (B, N) of full windows, as for `block_response`.
        length: Measure the last n positions only; None for all.
        probes: Random outputs per user and position; with D or more, all unit vectors, and the result is exact. A layer
            is differentiated N times for each, by `block_response` D times and once for each probe.
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
    at_positions, drawn_from = [], generator.get_state()
    for position in range(x.shape[1])[rows]:
        only = slice(position, position + 1)
        generator.set_state(drawn_from)  # the same random outputs at every position
        powers = [wave_power(output, x, weights, rows) for weights in probe_weights(output, only, probes, generator)]
        at_positions.append(torch.stack(powers).sum((0, 1)))  # over probes and users
    return torch.stack(at_positions)
