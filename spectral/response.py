"""What every frequency response has: the gain at each frequency, a cutoff, and how much passes above c modes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectral.fourier import angular_frequencies, frequencies, multiplicity

DEFAULT_C = 3  # modes that count as low frequency: DC and one cycle per sequence
CUTOFF_DB = -3.0  # at the cutoff the gain is this much below the gain of DC

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Response:
    """A frequency response of layers, averaged over users.

    Attributes:
        gain: (L, ..., F), the norm of what is left of a unit wave of each frequency, as root mean square over users.
        positions: N.
        users: Number of sequences in the average.
        layers: The layer number of each row, from 1.
        c: Number of modes that `passed_ratio` counts as low frequency.

    Example:
        One layer over four positions with gains 1, 1/2 and 1/4 at the frequencies 0, 1 and 2. With c = 1 only DC is
        low. Two modes of gain 1/2 and one of gain 1/4 are high: 2 / 4 + 1 / 16 = 0.5625.

        >>> response = Response(gain=np.array([[1, 1 / 2, 1 / 4]]), positions=4, users=1, layers=(1,), c=1)
        >>> response.gain_db.round(2)
        array([[  0.  ,  -6.02, -12.04]])
        >>> response.passed_ratio
        array([0.5625])
        >>> response.cutoff.round(3)  # 3 of the 6.02 dB between frequencies 0 and 1
        array([0.498])
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
        """(L, ...) lowest frequency at which the gain is 3 dB below DC, in cycles per sequence; NaN if there is none.

        The gain in dB is interpolated linearly between frequencies.
        """
        return np.apply_along_axis(_cutoff, -1, self.gain_db)

    @property
    def passed_ratio(self) -> Array:
        """(L, ...) power that passes in the modes above c, divided by the power that passes in the c lowest modes.

        Modes are counted, not frequencies: a conjugate pair counts twice, DC and Nyquist once.
        """
        power = self.gain**2 * multiplicity(self.positions).numpy()
        bins = self.c // 2 + 1
        return power[..., bins:].sum(-1) / power[..., :bins].sum(-1)


def decibels(gain: Array) -> Array:
    """Return an amplitude gain (...) in dB, 20 log10(gain); minus infinity for 0.

    Example:
        >>> decibels(np.array([1.0, 0.1, 0.0]))
        array([  0., -20., -inf])
    """
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
