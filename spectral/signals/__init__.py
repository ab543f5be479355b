"""Histories of single users as signals: low and high frequencies of their items' embeddings (Figure 1).

Item embeddings along the positions of a window are a signal of N samples in D dimensions. A persisting taste is in its
low frequencies, an abrupt change in its high ones.

Here live `user_signal` with its result `UserSignal`, and `extreme_signals`, which finds the two users of the figure.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectral.arrays import as_float64, check_finite
from spectral.capture import BATCH_SIZE, full_windows, in_batches
from spectral.fourier import low_frequency, multiplicity

if TYPE_CHECKING:
    from pandas import DataFrame

DEFAULT_C = 3  # where the model has no c of its own


@dataclass(frozen=True, eq=False)
class UserSignal:
    """One user's signal and its spectrum.

    Attributes:
        signal: (N, D), a row per position.
        low: (N, D), LFC, its projection onto the c lowest modes.
        energy: (F,), the squared norm of what belongs to each frequency 0..N//2; sums to that of the signal.
        c: How many modes are low.
        items: (N,) item ids, oldest first; empty if the signal is not of items.
        user: As the dataset calls the user, or None.
    """

    signal: NDArray[np.float64]
    low: NDArray[np.float64]
    energy: NDArray[np.float64]
    c: int
    items: NDArray[np.int64]
    user: int | None = None

    @property
    def high(self) -> NDArray[np.float64]:
        """(N, D), HFC: the signal without LFC."""
        return self.signal - self.low

    @property
    def low_share(self) -> float:
        """The share of the energy that is in the c lowest modes; c / N for white noise, NaN for a signal of zeros."""
        total = self.energy.sum()
        return float(self.energy[: self.c // 2 + 1].sum() / total) if total else float("nan")

    @property
    def direction(self) -> NDArray[np.float64]:
        """(D,), the unit vector that holds most of the energy: the first right singular vector, not centred.

        Its largest component is positive, for singular vectors have no sign of their own.
        """
        vector = np.linalg.svd(self.signal, full_matrices=False)[2][0]
        return np.asarray(vector * np.sign(vector[np.abs(vector).argmax()]))

    def summary(self) -> dict[str, Any]:
        """Return user, low_share and what white noise would have in its place, expected_of_noise."""
        return {"user": self.user, "low_share": self.low_share, "expected_of_noise": self.c / len(self.signal)}

    def table(self) -> "DataFrame":
        """Return the tidy table: signal, LFC and HFC along `direction` by position, share of energy by frequency.

        Columns: user, low_share, part (signal, LFC, HFC or energy), index (position from 0, or frequency in cycles
        per window), item (of a position), value.
        """
        import pandas as pd

        lines = {"signal": self.signal, "LFC": self.low, "HFC": self.high}
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


def user_signal(x: Any, c: int = DEFAULT_C, items: Any = (), user: int | None = None) -> UserSignal:
    """Return a signal (N, D) split into low and high frequencies, with its spectrum.

    Raises ValueError for another shape, a c that N positions do not have, or numbers that are not finite.

    Source: Shin et al., AAAI 2024, Figure 1 and the definition of LFC and HFC.
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
    """Return the share of the energy of signals (B, N, D) that is in the c lowest modes, (B,) float64.

    NaN for a signal of zeros. Raises ValueError for a c that N positions do not have.
    """
    signals = as_float64(x)
    return low_frequency(signals, c).square().sum((-2, -1)) / signals.square().sum((-2, -1))


def extreme_signals(
    model: Any, windows: Tensor, users: Any = None, c: int | None = None, batch_size: int = BATCH_SIZE
) -> tuple[UserSignal, UserSignal]:
    """Return the users with the largest and the smallest share of low-frequency energy among those with full windows.

    The signal is that of the model's item embeddings, as they are: without positions, and with their mean. Of users
    with equal shares the first is taken. Only the shares of all users are kept in memory.

    Args:
        model: With a table of item embeddings, `model.items`.
        windows: (P, N) item ids as the model is given them, padded on the left with 0; or with the items of shorter
            histories, if that is the model's padding: then all are full, repetitions included.
        users: (P,) what the dataset calls them; None counts them from 0.
        c: Modes that are low; None is the model's own c, or 3.
        batch_size: Users at a time; changes memory and speed only.

    Raises DataError if no window is full.
    """
    full_windows(windows)
    c = own_c(model) if c is None else c
    embeddings = model.items.weight.detach()
    names = np.arange(len(windows)) if users is None else np.asarray(users)
    rows = (windows > 0).all(1).nonzero().squeeze(1)
    shares = torch.cat([low_frequency_share(x, c) for x in _embedded(embeddings, windows[rows], batch_size)])
    chosen = [int(rows[shares.nan_to_num(-1).argmax()]), int(rows[shares.nan_to_num(2).argmin()])]
    most, least = (user_signal(embeddings[windows[row].long()], c, windows[row], int(names[row])) for row in chosen)
    return most, least


def own_c(model: Any) -> int:
    """Return the number of low modes of a model that has one (BSARec), 3 of others."""
    return int(getattr(model.config, "c", DEFAULT_C))


def _embedded(embeddings: Tensor, windows: Tensor, batch_size: int) -> Iterator[Tensor]:
    for batch in in_batches(windows, batch_size):
        yield embeddings[batch.long().to(embeddings.device)]
