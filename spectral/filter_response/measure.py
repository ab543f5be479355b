"""What attention does to each frequency of a sequence: gain, cutoff, and how much passes above c modes.

For a row-stochastic matrix A (N x N) and the unitary DFT F, the transfer matrix is H = F A F^-1. Column k says where
the energy of a unit wave f_k of frequency k goes. F is unitary, so ||H[:, k]|| = ||A f_k||, and one Fourier transform
along the keys is enough. Power is averaged over sequences, and over heads for a head mean. Decibels are taken last.

Half precision is widened to float32 before the transform; sums over sequences are float64.

Contents: `frequency_response` for arrays; its result `FrequencyResponse`, which can also be measured from captures of a
model; and `AttentionPower`, the sums that it is computed from.

Source: Shin et al., AAAI 2024, Figure 2b. Here `gain` is the norm of a column of H, and `self_gain` is the modulus of
the diagonal entry.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectral.arrays import as_float, as_float64, check_finite
from spectral.capture import Capture
from spectral.fourier import check_c, frequencies
from spectral.response import DEFAULT_C, Array, Response, decibels
from spectral.result import Nulls, Result
from spectral.sums import CONSTANT, Sums, sum_of_attention

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(frozen=True, eq=False, kw_only=True)
class FrequencyResponse(Response, Result):
    """The frequency response of attention, per layer and head. `Response` has the other attributes.

    Attributes:
        gain: (L, H, F), root mean square over users of ||H[:, k]||; 1 passes frequency k, 0 removes it.
        self_gain: (L, H, F), root mean square of |H[k, k]|: what stays at frequency k. At most `gain`.
        resampled: (R, L, H, F), the gain of R bootstrap samples of the users; None if there are none.

    Example:
        Two heads, one uniform and one the identity. The head mean averages power, so the gain at the frequencies 1
        and 2 is sqrt((0 + 1) / 2), about 0.707.

        >>> maps = torch.stack([torch.full((4, 4), 1 / 4), torch.eye(4)])[None]  # (B, H, N, N)
        >>> response = frequency_response(maps)
        >>> response.gain[0].round(3)
        array([[1., 0., 0.],
               [1., 1., 1.]])
        >>> response.head_mean.gain[0].round(3)
        array([[1.   , 0.707, 0.707]])
        >>> list(response.table().columns)[:5]
        ['layer', 'head', 'frequency', 'angular_frequency', 'gain']
    """

    self_gain: Array
    resampled: Array | None = None

    KEYS: ClassVar = ("layer", "head", "frequency")
    VALUES: ClassVar = ("gain_db", "self_gain_db")

    @classmethod
    def from_captures(
        cls,
        captures: Iterable[Capture],
        c: int = DEFAULT_C,
        length: int | None = None,
        resamples: int = 0,
        seed: int = 0,
        padded: bool = False,
    ) -> "FrequencyResponse":
        """Average over the users of all captures.

        Args:
            captures: With attention.
            c: Number of modes that count as low frequency.
            length: Measure the last n positions only; None for all.
            resamples: R, the number of bootstrap samples of the users. How often a user is in a sample is a Poisson
                variable of mean 1, so that memory does not grow with users (Hanley and MacGibbon 2006).
            seed: Of the bootstrap samples.
            padded: Whether padding may be among the positions. Its rows then count like all others, so this shows what
                padding does, not what attention does.

        Raises ConfigError if the model has no attention or there is padding without `padded`, and ValueError for an
        impossible c or no captures.

        Example:
            >>> maps = torch.full((2, 1, 4, 4), 1 / 4)
            >>> captured = Capture((), (maps,), torch.ones(2, 4, dtype=torch.bool))
            >>> FrequencyResponse.from_captures([captured, captured]).users
            4
        """
        rng = np.random.default_rng(seed)
        sums, layers = sum_of_attention(
            (captured.last(length) for captured in captures),
            lambda maps: attention_power(maps, rng.poisson(1.0, (len(maps[0]), resamples)).T),
            padded,
        )
        return sums.response(c, layers)

    @property
    def self_gain_db(self) -> Array:
        """(L, H, F) self-gain in dB; minus infinity where nothing stays."""
        return decibels(self.self_gain)

    @property
    def head_mean(self) -> "FrequencyResponse":
        """The response with the power averaged over heads, (L, 1, F)."""
        return replace(
            self,
            gain=_root_mean_square(self.gain),
            self_gain=_root_mean_square(self.self_gain),
            resampled=None if self.resampled is None else _root_mean_square(self.resampled),
        )

    def band(self, level: float = 0.95) -> tuple[Array, Array]:
        """Return the ends, (L, H, F) each, of the interval that holds the gain of this share of bootstrap samples.

        Raises ValueError if there are no bootstrap samples.
        """
        if self.resampled is None or not len(self.resampled):
            raise ValueError("there are no bootstrap samples; ask for them with resamples=200")
        low, high = np.quantile(self.resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high

    def table(self) -> "DataFrame":
        """Return one row per layer, head and frequency. The head "mean" averages power over heads.

        With bootstrap samples, `low` and `high` are the ends of `band` in dB, of one model (`seeds`) over its users.
        """
        import pandas as pd

        return pd.concat([_long_table(self, range(1, self.gain.shape[1] + 1)), _long_table(self.head_mean, ["mean"])])

    def plot(self, ax: "Axes | None" = None, *, of: str | None = None, nulls: Nulls | None = None) -> "Axes | Figure":
        """Draw gain and self-gain against frequency, or one of them: of "gain" (on a given `ax`) or "self_gain"."""
        from spectral import plot

        if ax is None and of is None:
            return plot.frequency_response_panels(self._by_label(self), self._by_label(nulls or {}))
        return plot.frequency_response(self, of=of or "gain", nulls=nulls, label=self.label or None, ax=ax)

    def summary(self) -> list[dict[str, Any]]:
        """Return one record per layer and head, and for the head "mean": gains in dB, cutoff, passed ratio.

        `gain` is what leaves at any frequency, `self_gain` what stays at its own.
        """
        mean, heads = self.head_mean, self.gain.shape[1]
        return [
            record
            for row, layer in enumerate(self.layers)
            for record in [
                *(self._record(row, head, layer, head + 1) for head in range(heads)),
                mean._record(row, 0, layer, "mean"),
            ]
        ]

    def _record(self, row: int, column: int, layer: int, head: int | str) -> dict[str, Any]:
        return {
            "layer": layer,
            "head": head,
            "gain_dc_db": float(self.gain_db[row, column, 0]),
            "gain_nyquist_db": float(self.gain_db[row, column, -1]),
            "self_gain_nyquist_db": float(self.self_gain_db[row, column, -1]),
            "cutoff": float(self.cutoff[row, column]),
            "passed_ratio": float(self.passed_ratio[row, column]),
        }


@dataclass(frozen=True, eq=False)
class AttentionPower(Sums):
    """Sums over sequences, from which a response is computed.

    Attributes:
        power, self_power: (L, H, F) float64 on the CPU, sums of ||H[:, k]||^2 and of |H[k, k]|^2.
        positions: N.
        users: Number of sequences.
        resampled: (R, L, H, F), the sum of ||H[:, k]||^2 over each bootstrap sample.
        resampled_users: (R,), the number of users in each bootstrap sample.

    Example:
        >>> both = attention_power(torch.eye(4)) + attention_power(torch.full((4, 4), 1 / 4))
        >>> both.users, both.power[0, 0].numpy().round(3).tolist()
        (2, [2.0, 1.0, 1.0])
    """

    addends = "responses of the same layers, heads and positions"

    power: Tensor
    self_power: Tensor
    positions: int = field(metadata=CONSTANT)
    users: int
    resampled: Tensor
    resampled_users: Tensor

    def response(self, c: int = DEFAULT_C, layers: Sequence[int] | None = None) -> FrequencyResponse:
        """Return the average over sequences. Raises ValueError if there are none or c is impossible."""
        if self.users == 0:
            raise ValueError("there are no sequences to average over")
        check_finite(self.power, "attention")
        drawn = self.resampled_users > 0  # with very few users a sample may be empty
        resampled = self.resampled[drawn] / self.resampled_users[drawn, None, None, None]
        return FrequencyResponse(
            gain=(self.power / self.users).sqrt().numpy(),
            self_gain=(self.self_power / self.users).sqrt().numpy(),
            positions=self.positions,
            users=self.users,
            layers=tuple(layers or range(1, len(self.power) + 1)),
            c=check_c(c, self.positions),
            resampled=resampled.sqrt().numpy() if len(resampled) else None,
        )


def frequency_response(attention: Any, c: int = DEFAULT_C) -> FrequencyResponse:
    """Return the frequency response of attention maps, averaged over sequences.

    attention: (N, N), (B, H, N, N) or (L, B, H, N, N), or a list of L of (B, H, N, N); rows are queries. All N
    positions should be real items: see `full_windows`, `of_length` and `Capture.last`. The Fourier transform has the
    precision of the input, and sums are in float64.

    Raises ValueError for another shape, no sequences, numbers that are not finite, or a c that is not odd or not in
    1..N.

    Source: Shin et al., AAAI 2024, Figure 2b.

    Example:
        Uniform attention passes only the mean, and identity attention passes everything:

        >>> frequency_response(torch.full((4, 4), 1 / 4)).gain[0, 0].round(3)
        array([1., 0., 0.])
        >>> frequency_response(torch.eye(4)).gain[0, 0].round(3)
        array([1., 1., 1.])

        A query that attends half to itself and half to the next position averages two neighbours. The gain is
        |cos(pi k / N)|, the low-pass filter of a moving average:

        >>> pairs = (torch.eye(4) + torch.eye(4).roll(1, dims=1)) / 2
        >>> frequency_response(pairs).gain[0, 0].round(3)
        array([1.   , 0.707, 0.   ])
    """
    return attention_power(attention).response(c)


def attention_power(attention: Any, counts: NDArray[np.int64] | None = None) -> AttentionPower:
    """Return the sums over sequences of the power that attention passes.

    attention: as `frequency_response` takes it. counts: (R, B), how often each sequence is in each bootstrap sample;
    None for no samples. Raises ValueError for another shape, or layers of different shapes.

    Example:
        >>> attention_power(torch.eye(4)[None, None].expand(3, 2, 4, 4)).power.numpy().round(3)  # (1, H, F)
        array([[[3., 3., 3.],
                [3., 3., 3.]]])
    """
    maps = layers_of(attention)
    if len({a.shape for a in maps}) != 1:
        raise ValueError("all layers must have the same shape (B, H, N, N)")
    users, _, positions, _ = maps[0].shape
    weights = torch.zeros(0, users) if counts is None else torch.as_tensor(counts)
    powers, self_powers, resampled = zip(*(_power_of_layer(a, weights.double()) for a in maps), strict=True)
    return AttentionPower(
        torch.stack(powers),
        torch.stack(self_powers),
        positions,
        users,
        torch.stack(resampled, dim=1),
        weights.sum(1),
    )


def layers_of(attention: Any) -> list[Tensor]:
    """Return the layers, (B, H, N, N) each, of attention in one of the shapes that `frequency_response` takes.

    Raises ValueError for another shape, or no layers.

    Example:
        >>> [tuple(a.shape) for a in layers_of(torch.eye(4))]
        [(1, 1, 4, 4)]
    """
    if isinstance(attention, list | tuple):
        if not attention:
            raise ValueError("there are no layers")
        maps = [as_float(a) for a in attention]
    else:
        tensor = as_float(attention)
        maps = list(tensor) if tensor.ndim == 5 else [tensor[None, None] if tensor.ndim == 2 else tensor]
    for a in maps:
        if a.ndim != 4 or a.shape[-1] != a.shape[-2] or 0 in a.shape[1:]:
            raise ValueError(
                f"attention must be (N, N), (B, H, N, N) or (L, B, H, N, N), got a layer of {tuple(a.shape)}"
            )
    return maps


def _power_of_layer(attention: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the power that maps (B, H, N, N) pass, what stays at its frequency, and the power of bootstrap samples.

    weights: (R, B). Returns (H, F), (H, F) and (R, H, F), float64 on the CPU.
    """
    power, self_power = power_of_each(attention)
    return power.sum(0), self_power.sum(0), torch.einsum("rb,bhf->rhf", weights, power)


def power_of_each(attention: Tensor) -> tuple[Tensor, Tensor]:
    """Return ||H[:, k]||^2 and |H[k, k]|^2 of maps (B, H, N, N), (B, H, F) each, float64 on the CPU.

    Example:
        A shift by one position changes no energy and no frequency:

        >>> power, self_power = power_of_each(torch.eye(4).roll(1, dims=1)[None, None])
        >>> power[0, 0].numpy().round(3), self_power[0, 0].numpy().round(3)
        (array([1., 1., 1.]), array([1., 1., 1.]))
    """
    users, heads, positions, _ = attention.shape
    if users == 0:  # some Fourier transforms do not accept an empty batch
        nothing = torch.zeros(0, heads, positions // 2 + 1, dtype=torch.float64)
        return nothing, nothing
    waves = torch.fft.rfft(attention, dim=-1)  # (B, H, N, F): sqrt(N) A conj(f_k)
    power = as_float64(waves.abs().square().sum(-2) / positions)  # (B, H, F)
    k_n = torch.arange(positions)[:, None] * frequencies(positions) % positions
    back = torch.exp(2j * torch.pi * k_n.double() / positions).to(waves.dtype).to(waves.device)  # (N, F)
    self_power = ((waves * back).sum(-2) / positions).abs().square()  # |f_k^T A conj(f_k)|^2
    return power, as_float64(self_power)


def _root_mean_square(gain: Array) -> Array:
    """Return the square root of the mean power over heads: (..., H, F) -> (..., 1, F)."""
    return np.sqrt((gain**2).mean(axis=-2, keepdims=True))


def _long_table(response: FrequencyResponse, heads: Iterable[int | str]) -> "DataFrame":
    import pandas as pd

    index = pd.MultiIndex.from_product(
        [response.layers, heads, response.frequency], names=["layer", "head", "frequency"]
    )
    columns = {
        "angular_frequency": np.tile(response.angular_frequency, len(index) // len(response.frequency)),
        "gain": response.gain.ravel(),
        "gain_db": response.gain_db.ravel(),
        "self_gain": response.self_gain.ravel(),
        "self_gain_db": response.self_gain_db.ravel(),
        "positions": response.positions,
        "users": response.users,
    }
    if response.resampled is not None:
        low, high = (decibels(end).ravel() for end in response.band())
        columns |= {"low": low, "high": high, "seeds": 1}
    return pd.DataFrame(columns, index=index).reset_index()
