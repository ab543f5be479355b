"""Where the energy of each frequency leaves attention: at the frequency at which it entered, or at another one.

For a row-stochastic matrix A (N x N) and the unitary DFT F, the transfer matrix is H = F A F^-1. A unit wave of
frequency k that enters leaves |H[j, k]|^2 of its energy at frequency j. Here k and j are 0..N//2, and the energy that
leaves at j and at -j is added up:

    power[j, k] = |H[j, k]|^2 + |H[-j, k]|^2      (once for j = 0 and j = N/2, which are their own mirrors).

The sum of column k is the squared gain of `spectral.filter_response`, what leaves at any frequency. The diagonal entry
is what leaves at k or at its mirror -k; its part |H[k, k]|^2 is the squared self-gain.

With c low modes, four sums say how much low and high frequencies pass on, each a mean over the modes that enter,
two-sided:

    lfc_lfc, lfc_hfc    of the energy that enters in a low mode, what leaves in the low and what in the high modes;
    hfc_lfc, hfc_hfc    of the energy that enters in a high mode, what leaves in the low and what in the high modes.

lfc_lfc + lfc_hfc is the mean squared gain of the low modes, hfc_lfc + hfc_hfc that of the high modes.

Half precision is widened to float32 before the transforms; sums over sequences are float64.

Contents: `transfer_map` for arrays; its result `TransferMap`, which can also be measured from captures of a model; and
`TransferPower`, the sums that it is computed from.

Source: H is that of Shin et al., AAAI 2024, who draw its column norms in Figure 2b; that a map of what enters to what
leaves describes a linear system that is not time-invariant: Zadeh, Proc. IRE 38, 1950, "bi-frequency" system function.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from spectral.arrays import as_float64, check_finite
from spectral.capture import Capture
from spectral.filter_response import layers_of
from spectral.fourier import check_c, frequencies, multiplicity
from spectral.response import DEFAULT_C, Array
from spectral.result import Result
from spectral.sums import CONSTANT, Sums, sum_of_attention

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

SUMS = ("lfc_lfc", "lfc_hfc", "hfc_lfc", "hfc_hfc")


@dataclass(frozen=True, eq=False, kw_only=True)
class TransferMap(Result):
    """Where energy leaves that enters at each frequency, per layer and head, averaged over users.

    Attributes:
        power: (L, H, F, F), the mean over users of the energy that leaves at frequency j (row) when a unit wave of
            frequency k (column) enters; F = N // 2 + 1, and j and its mirror -j are one row.
        positions: N.
        users: Number of sequences in the average.
        layers: The layer number of each map, from 1.
        c: Number of modes that count as low frequency in the four sums.

    Example:
        A shift by one position moves no energy to another frequency. Uniform attention removes all but the mean:

        >>> shift = transfer_map(torch.eye(4).roll(1, dims=1), c=1)
        >>> shift.power[0, 0].round(3)
        array([[1., 0., 0.],
               [0., 1., 0.],
               [0., 0., 1.]])
        >>> {name: float(value[0, 0].round(3)) for name, value in shift.sums.items()}
        {'lfc_lfc': 1.0, 'lfc_hfc': 0.0, 'hfc_lfc': 0.0, 'hfc_hfc': 1.0}
        >>> transfer_map(torch.full((4, 4), 1 / 4)).power[0, 0].sum(0).round(3)
        array([1., 0., 0.])
    """

    power: Array
    positions: int
    users: int
    layers: tuple[int, ...]
    c: int = DEFAULT_C

    @classmethod
    def from_captures(cls, captures: Iterable[Capture], c: int = DEFAULT_C, length: int | None = None) -> "TransferMap":
        """Average over the users of all captures. length: measure the last n positions only; None for all.

        Raises ConfigError if the model has no attention, and ValueError for an impossible c or no captures.

        Example:
            >>> captured = Capture((), (torch.eye(4)[None, None],), torch.ones(1, 4, dtype=torch.bool))
            >>> TransferMap.from_captures([captured, captured]).users
            2
        """
        sums, layers = sum_of_attention((captured.last(length) for captured in captures), transfer_power)
        return sums.transfer_map(c, layers)

    @property
    def frequency(self) -> np.ndarray:
        """(F,) cycles per sequence, 0..N//2, of rows and columns."""
        return frequencies(self.positions).numpy()

    @property
    def power_db(self) -> Array:
        """(L, H, F, F) in dB, 10 log10(power); minus infinity where nothing leaves."""
        with np.errstate(divide="ignore"):
            return 10 * np.log10(self.power)

    @property
    def head_mean(self) -> "TransferMap":
        """The map with the power averaged over heads, (L, 1, F, F)."""
        return replace(self, power=self.power.mean(axis=1, keepdims=True))

    @property
    def sums(self) -> dict[str, Array]:
        """The four sums by name, (L, H) each, see the module; NaN from high modes if all N modes are low."""
        modes, bins = multiplicity(self.positions).numpy(), self.c // 2 + 1
        found = {}
        for entered, columns in (("lfc", slice(None, bins)), ("hfc", slice(bins, None))):
            for left, rows in (("lfc", slice(None, bins)), ("hfc", slice(bins, None))):
                total = (self.power[..., rows, columns].sum(-2) * modes[columns]).sum(-1)
                with np.errstate(invalid="ignore"):
                    found[f"{entered}_{left}"] = total / modes[columns].sum()
        return found

    def table(self) -> "DataFrame":
        """Return one row per layer, head, frequency that enters and frequency that leaves, with the power and in dB.

        The head "mean" averages power over heads.
        """
        import pandas as pd

        heads = range(1, self.power.shape[1] + 1)
        return pd.concat([_long_table(self, heads), _long_table(self.head_mean, ["mean"])], ignore_index=True)

    def plot(self, ax: "Axes | None" = None, *, layer: int | None = None) -> "Axes | Figure":
        """Draw the map of every layer, or of one (on a given `ax` the first)."""
        from spectral import plot

        if ax is None and layer is None:
            return plot.transfer_map_panels(self._by_label(self))
        return plot.transfer_map(self, layer, ax=ax)

    def summary(self) -> list[dict[str, Any]]:
        """Return one record per layer and head, and for the head "mean": the four sums."""
        mean, heads = self.head_mean, self.power.shape[1]
        return [
            {"layer": layer, "head": head} | {name: float(values[row, column]) for name, values in of.sums.items()}
            for row, layer in enumerate(self.layers)
            for of, column, head in [*((self, column, column + 1) for column in range(heads)), (mean, 0, "mean")]
        ]


@dataclass(frozen=True, eq=False)
class TransferPower(Sums):
    """Sums over sequences, from which a map is computed.

    Attributes:
        power: (L, H, F, F) float64 on the CPU, the sum of the energy that leaves at j when k enters.
        positions: N.
        users: Number of sequences.

    Example:
        >>> both = transfer_power(torch.eye(4)) + transfer_power(torch.full((4, 4), 1 / 4))
        >>> both.users, both.power[0, 0].diag().numpy().round(3).tolist()
        (2, [2.0, 1.0, 1.0])
    """

    addends = "maps of the same layers, heads and positions"

    power: Tensor
    positions: int = field(metadata=CONSTANT)
    users: int

    def transfer_map(self, c: int = DEFAULT_C, layers: Sequence[int] | None = None) -> TransferMap:
        """Return the average over sequences. Raises ValueError if there are none or c is impossible."""
        if self.users == 0:
            raise ValueError("there are no sequences to average over")
        return TransferMap(
            power=(check_finite(self.power, "attention") / self.users).numpy(),
            positions=self.positions,
            users=self.users,
            layers=tuple(layers or range(1, len(self.power) + 1)),
            c=check_c(c, self.positions),
        )


def transfer_map(attention: Any, c: int = DEFAULT_C) -> TransferMap:
    """Return the transfer map of attention maps, averaged over sequences.

    attention: (N, N), (B, H, N, N) or (L, B, H, N, N), or a list of L of (B, H, N, N); rows are queries. The Fourier
    transform has the precision of the input, and sums are in float64.

    Raises ValueError for another shape, no sequences, numbers that are not finite, or a c that is not odd or not in
    1..N.

    Source: see the module.

    Example:
        A query that looks only at the first position turns every wave into a constant: all energy leaves at DC.

        >>> first = torch.zeros(4, 4)
        >>> first[:, 0] = 1
        >>> transfer_map(first, c=1).power[0, 0].round(3)
        array([[1., 1., 1.],
               [0., 0., 0.],
               [0., 0., 0.]])
    """
    return transfer_power(attention).transfer_map(c)


def transfer_power(attention: Any) -> TransferPower:
    """Return the sums over sequences of the energy that attention moves from each frequency to each.

    attention: as `transfer_map` takes it. Raises ValueError for another shape, or layers of different shapes.

    Example:
        >>> transfer_power(torch.eye(4)[None, None].expand(3, 2, 4, 4)).power.shape  # (L, H, F, F)
        torch.Size([1, 2, 3, 3])
    """
    maps = layers_of(attention)
    if len({a.shape for a in maps}) != 1:
        raise ValueError("all layers must have the same shape (B, H, N, N)")
    users, _, positions, _ = maps[0].shape
    return TransferPower(torch.stack([_power_of_layer(a) for a in maps]), positions, users)


def _power_of_layer(attention: Tensor) -> Tensor:
    """Return the energy that leaves at each frequency, summed over sequences: (B, H, N, N) -> (H, F, F) float64."""
    users, heads, positions, _ = attention.shape
    bins = positions // 2 + 1
    if users == 0:  # some Fourier transforms do not accept an empty batch
        return torch.zeros(heads, bins, bins, dtype=torch.float64)
    # Columns of the conjugate frequencies, |H[j, -k]| = |H[-j, k]|; j and -j are added up, so it makes no difference.
    columns = torch.fft.rfft(attention, dim=-1)  # (B, H, N, F)
    power = as_float64(torch.fft.fft(columns, dim=-2).abs().square()).sum(0) / positions**2  # (H, N, F)
    folded = power[:, :bins].clone()
    mirrored = torch.arange(1, (positions + 1) // 2)  # neither DC nor Nyquist
    folded[:, mirrored] += power[:, positions - mirrored]
    return folded


def _long_table(measured: TransferMap, heads: Iterable[int | str]) -> "DataFrame":
    import pandas as pd

    frequency = measured.frequency
    index = pd.MultiIndex.from_product(
        [measured.layers, heads, frequency, frequency], names=["layer", "head", "leaves_at", "enters_at"]
    )
    columns = {
        "power": measured.power.ravel(),
        "power_db": measured.power_db.ravel(),
        "positions": measured.positions,
        "users": measured.users,
    }
    return pd.DataFrame(columns, index=index).reset_index()
