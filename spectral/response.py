"""What every frequency response has: gain at each frequency, in decibels, a cutoff, and how much passes above c."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectral.fourier import angular_frequencies, frequencies, multiplicity

DEFAULT_C = 3  # modes that count as low frequency: DC and one cycle per sequence
CUTOFF_DB = -3.0  # the cutoff is where the gain has fallen this far under that of DC

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Response:
    """A frequency response of layers, averaged over users.

    Attributes:
        gain: (L, ..., F), root mean square over users of what is left of a unit wave of each frequency.
        positions: N.
        users: Number of sequences that were averaged.
        layers: The layer number of each row, from 1.
        c: Number of modes that `hfc_lfc` counts as low frequency.
    """

    gain: Array
    positions: int
    users: int
    layers: tuple[int, ...]
    c: int = DEFAULT_C

    @property
    def frequency(self) -> NDArray[np.int64]:
        """(F,) cycles per sequence, 0..N//2."""
        return frequencies(self.positions).numpy()

    @property
    def angular_frequency(self) -> Array:
        """(F,) rad per position, 0 to pi."""
        return angular_frequencies(self.positions).numpy()

    @property
    def gain_db(self) -> Array:
        """(L, ..., F) gain in dB; minus infinity where nothing passes."""
        return decibels(self.gain)

    @property
    def cutoff(self) -> Array:
        """(L, ...) frequency in cycles per sequence where the gain falls 3 dB under DC; NaN if it never does.

        The first such frequency, interpolated linearly in dB between frequencies.
        """
        return np.apply_along_axis(_cutoff, -1, self.gain_db)

    @property
    def hfc_lfc(self) -> Array:
        """(L, ...) power that passes in the modes above c, divided by the power that passes in the c lowest.

        Counts modes, not frequencies: a conjugate pair twice, DC and Nyquist once.
        """
        power = self.gain**2 * multiplicity(self.positions).numpy()
        bins = self.c // 2 + 1
        return power[..., bins:].sum(-1) / power[..., :bins].sum(-1)


def decibels(gain: Array) -> Array:
    """Return an amplitude gain in dB, 20 log10; minus infinity for 0."""
    with np.errstate(divide="ignore"):
        return 20 * np.log10(gain)


def _cutoff(gain_db: Array) -> float:
    """gain_db: (F,)."""
    threshold = gain_db[0] + CUTOFF_DB
    below = np.flatnonzero(gain_db[1:] <= threshold)
    if not np.isfinite(threshold) or len(below) == 0:
        return float("nan")
    last_above = int(below[0])
    fall = gain_db[last_above] - gain_db[last_above + 1]
    return float(last_above + (gain_db[last_above] - threshold) / fall)
