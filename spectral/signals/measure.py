"""Histories of single users as signals: low and high frequencies of their items' embeddings.

Item embeddings along the positions of a window are a signal of N samples in D dimensions. A persisting taste appears in
its low frequencies, and an abrupt change in its high frequencies. Low frequencies are the mean, the level at which a
user stays, and a slow drift; they are told apart. What a user does is said of the axis that is drawn (`course`), so
that words and picture agree.

Half precision is widened to float64, like all embeddings.

Contents: `user_signal` and its result `UserSignal`, and `extreme_signals`, which finds the two users of the figure,
`ExtremeSignals`.

Source: Shin et al., AAAI 2024, Figure 1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ConfigError
from spectral.arrays import as_float64, check_finite
from spectral.capture import full_windows, in_batches
from spectral.choices import BATCH_SIZE
from spectral.decompositions import last_axis
from spectral.fourier import low_frequency, multiplicity
from spectral.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

DEFAULT_C = 3  # for models without their own c


@dataclass(frozen=True, eq=False)
class UserSignal(Result):
    """One user's signal and its spectrum.

    Attributes:
        signal: (N, D), one row per position.
        low: (N, D), LFC, its projection onto the c lowest modes.
        energy: (F,), the squared norm at each frequency 0..N//2. It sums to the squared norm of the signal.
        c: Number of low modes.
        items: (N,) item ids, oldest first; empty if the signal is not of items.
        user: The dataset's id of the user, or None.

    Example:
        A mean of 2 and an alternation of 1:

        >>> signal = user_signal([[3.0], [1.0], [3.0], [1.0]], c=1)
        >>> signal.low.ravel().round(3), signal.high.ravel().round(3)
        (array([2., 2., 2., 2.]), array([ 1., -1.,  1., -1.]))
        >>> round(signal.low_share, 3)  # 4 x 2^2 of 4 x 2^2 + 4 x 1^2
        0.8
    """

    signal: NDArray[np.float64]
    low: NDArray[np.float64]
    energy: NDArray[np.float64]
    c: int
    items: NDArray[np.int64]
    user: int | None = None

    @property
    def high(self) -> NDArray[np.float64]:
        """(N, D), HFC: the signal minus LFC."""
        return self.signal - self.low

    @property
    def low_share(self) -> float:
        """The share of the energy in the c lowest modes; c / N for white noise, NaN for a signal of zeros."""
        return self._share(self.c // 2 + 1)

    @property
    def mean_share(self) -> float:
        """The share of the energy at frequency 0; 1 / N for white noise, NaN for a signal of zeros."""
        return self._share(1)

    def _share(self, frequencies: int) -> float:
        total = self.energy.sum()
        return float(self.energy[:frequencies].sum() / total) if total else float("nan")

    @property
    def mean(self) -> NDArray[np.float64]:
        """(N, D), the mean over positions, at every position: the part of LFC at frequency 0."""
        return np.broadcast_to(self.signal.mean(0), self.signal.shape)

    @property
    def direction(self) -> NDArray[np.float64]:
        """(D,), the unit vector on which the larger of LFC and HFC exceeds the other by the most energy.

        So the part with more energy has more of it on this axis, too. The sign of an axis is arbitrary. Here the
        component of largest modulus is positive.
        """
        excess = self.low.T @ self.low - self.high.T @ self.high
        vector = last_axis(-excess if self.low_share < 0.5 else excess)
        return np.asarray(vector * np.sign(vector[np.abs(vector).argmax()]))

    @property
    def course(self) -> str:
        """What has the most energy on `direction`, in words: the mean, the other slow modes, or HFC."""
        if self.low_share < 0.5:
            return "changes abruptly"
        level, slow = (((part @ self.direction) ** 2).sum() for part in (self.mean, self.low - self.mean))
        return "stays at one level" if level >= slow else "drifts slowly"

    def summary(self) -> dict[str, Any]:
        """Return user, course, low_share, mean_share of DC alone, and expected_of_noise, low_share of white noise."""
        return {
            "user": self.user,
            "course": self.course,
            "low_share": self.low_share,
            "mean_share": self.mean_share,
            "expected_of_noise": self.c / len(self.signal),
        }

    def table(self) -> "DataFrame":
        """Return a tidy table: signal, mean, LFC and HFC along `direction` by position, share of energy by frequency.

        Columns: user, low_share, part (signal, mean, LFC, HFC or energy), index (position from 0, or frequency in
        cycles per window), item (of a position), value.
        """
        import pandas as pd

        lines = {"signal": self.signal, "mean": self.mean, "LFC": self.low, "HFC": self.high}
        parts = {name: values @ self.direction for name, values in lines.items()}
        parts["energy"] = self.energy / self.energy.sum()
        items = pd.array(self.items, dtype="Int64") if len(self.items) else None
        tables = [
            pd.DataFrame({"part": name, "index": np.arange(len(values)), "value": values})
            for name, values in parts.items()
        ]
        for table in tables[:-1]:
            table.insert(2, "item", items)
        together = pd.concat(tables, ignore_index=True)
        together.insert(0, "low_share", self.low_share)
        together.insert(0, "user", self.user)
        return together[["user", "low_share", "part", "index", "item", "value"]]

    def plot(self, ax: "Axes | None" = None, *, part: str | None = None) -> "Axes | Figure":
        """Draw the signal and its spectrum, or one of them: "signal" (on a given `ax`) or "spectrum"."""
        from spectral import plot

        if ax is None and part is None:
            return plot.user_signal_panels([self])
        return (plot.user_signal_spectrum if part == "spectrum" else plot.user_signal)(self, ax=ax)


@dataclass(frozen=True, eq=False)
class ExtremeSignals(Result, Sequence[UserSignal]):
    """The users with the most and the least low-frequency energy, in this order, as a sequence of two.

    Attributes:
        most: With the largest share of energy in the low modes.
        least: With the smallest.
    """

    most: UserSignal
    least: UserSignal

    def __getitem__(self, place: Any) -> Any:
        return (self.most, self.least)[place]

    def __len__(self) -> int:
        return 2

    def table(self) -> "DataFrame":
        """Return the tables of both users, one below the other."""
        import pandas as pd

        return pd.concat([signal.table() for signal in self])

    def summary(self) -> list[dict[str, Any]]:
        """Return the summary of each user."""
        return [signal.summary() for signal in self]

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Draw both users, a column each. Raises ConfigError for a given `ax`."""
        from spectral import plot

        if ax is not None:
            raise ConfigError("two users do not fit on a single Axes; draw one of them, as in signals.most.plot(ax)")
        return plot.user_signal_panels(self)


def user_signal(x: Any, c: int = DEFAULT_C, items: Any = (), user: int | None = None) -> UserSignal:
    """Return a signal (N, D) split into low and high frequencies, with its spectrum.

    c: number of low modes. items: (N,) item ids, or none. user: the dataset's id of the user. Raises ValueError for
    another shape, a c that N positions cannot have, or numbers that are not finite.

    Source: Shin et al., AAAI 2024, Figure 1 and the definition of LFC and HFC.

    Example:
        All energy of a persisting taste is at frequency 0, that of a constant alternation at the highest one:

        >>> user_signal([[1.0], [1.0], [1.0], [1.0]], c=1).energy
        array([4., 0., 0.])
        >>> alternating = user_signal([[1.0], [-1.0], [1.0], [-1.0]], c=1, user=7)
        >>> alternating.energy
        array([0., 0., 4.])
        >>> alternating.summary()
        {'user': 7, 'course': 'changes abruptly', 'low_share': 0.0, 'mean_share': 0.0, 'expected_of_noise': 0.25}
    """
    signal = check_finite(as_float64(x), "the signal")
    if signal.ndim != 2 or 0 in signal.shape:
        raise ValueError(f"expected a signal of N positions and D dimensions, (N, D), got shape {tuple(signal.shape)}")
    low = low_frequency(signal, c)
    spectrum = torch.fft.rfft(signal, dim=0, norm="ortho").abs().square().sum(1)
    energy = spectrum * multiplicity(len(signal))
    ids = np.asarray(items, dtype=np.int64)
    if len(ids) not in (0, len(signal)):
        raise ValueError(f"expected an item for each of {len(signal)} positions, got {len(ids)}")
    return UserSignal(signal.numpy(), low.numpy(), energy.numpy(), c, ids, user)


def low_frequency_share(x: Tensor, c: int = DEFAULT_C) -> Tensor:
    """Return the share of the energy of signals (B, N, D) in the c lowest modes, (B,) float64, 0 to 1.

    NaN for a signal of zeros. Raises ValueError for a c that N positions cannot have.

    Example:
        A constant signal, an alternating one, and half of each:

        >>> signals = torch.tensor([[1.0, 1, 1, 1], [1.0, -1, 1, -1], [2.0, 0, 2, 0]])[..., None]
        >>> low_frequency_share(signals, c=1).numpy().round(3)
        array([1. , 0. , 0.5])
    """
    signals = as_float64(x)
    return low_frequency(signals, c).square().sum((-2, -1)) / signals.square().sum((-2, -1))


def extreme_signals(
    model: Any, windows: Tensor, users: Any = None, c: int | None = None, batch_size: int = BATCH_SIZE
) -> ExtremeSignals:
    """Return the users with the largest and the smallest share of low-frequency energy among those with full windows.

    The signal consists of the model's item embeddings, without position embeddings, and the mean is not removed. Of
    users with equal shares the first is taken. Only the shares of all users are kept in memory.

    Args:
        model: With a table of item embeddings, `model.items`.
        windows: (P, N) item ids as the model gets them, padded on the left with 0. A model may instead repeat the items
            of short histories; then all windows are full, repetitions included.
        users: (P,) the dataset's ids of the users; None counts them from 0.
        c: Number of low modes; None for the model's own c, or 3.
        batch_size: Users at a time; changes memory and speed only.

    Raises DataError if no window is full.

    Example:
        User 10 takes one item all the time, user 11 alternates between two items with opposite embeddings:

        >>> from types import SimpleNamespace
        >>> model = SimpleNamespace(items=torch.nn.Embedding.from_pretrained(torch.tensor([[0.0], [1.0], [-1.0]])))
        >>> windows = torch.tensor([[1, 1, 1, 1], [1, 2, 1, 2]])
        >>> most, least = extreme_signals(model, windows, users=[10, 11], c=1)
        >>> most.user, round(most.low_share, 3), least.user, round(least.low_share, 3)
        (10, 1.0, 11, 0.0)
    """
    full_windows(windows)
    c = own_c(model) if c is None else c
    embeddings = model.items.weight.detach()
    names = np.arange(len(windows)) if users is None else np.asarray(users)
    rows = (windows > 0).all(1).nonzero().squeeze(1)
    shares = torch.cat([low_frequency_share(x, c) for x in _embedded(embeddings, windows[rows], batch_size)])
    chosen = [int(rows[shares.nan_to_num(-1).argmax()]), int(rows[shares.nan_to_num(2).argmin()])]
    most, least = (user_signal(embeddings[windows[row].long()], c, windows[row], int(names[row])) for row in chosen)
    return ExtremeSignals(most, least)


def own_c(model: Any) -> int:
    """Return the model's own number of low modes (BSARec), or 3 for other models.

    Example:
        >>> from types import SimpleNamespace
        >>> own_c(SimpleNamespace(config=SimpleNamespace(c=5))), own_c(SimpleNamespace(config=SimpleNamespace()))
        (5, 3)
    """
    return int(getattr(model.config, "c", DEFAULT_C))


def _embedded(embeddings: Tensor, windows: Tensor, batch_size: int) -> Iterator[Tensor]:
    for batch in in_batches(windows, batch_size):
        yield embeddings[batch.long().to(embeddings.device)]
