"""The filters that models learn in the frequency domain, one number per frequency and dimension of each layer.

FMLP-Rec multiplies the spectrum of a layer's input by complex numbers (Zhou et al., WWW 2022, section 4.2). BSARec's
frequency branch multiplies the c lowest modes by 1 and the others by beta >= 0 (Shin et al., AAAI 2024, section 4.2).
The filters are the same for every input, so no users are needed.

Half precision is widened to float32 (a copy of the model), and the filters are complex128.

Contents: `learned_filters` and its result `LearnedFilters`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.errors import ConfigError
from models.precision import widened
from spectral.fourier import angular_frequencies
from spectral.response import Array, decibels
from spectral.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(frozen=True, eq=False)
class LearnedFilters(Result):
    """The filters of a model.

    Attributes:
        filters: (L, F, D) complex, the factor of frequency k in dimension d of each layer.
        positions: N.

    Example:
        One layer over four positions in two dimensions. The first dimension passes everything. The second one is a
        delay by one position, exp(-i omega).

        >>> delay = np.exp(-1j * np.pi * np.array([0, 0.5, 1]))
        >>> filters = LearnedFilters(np.stack([np.ones(3), delay], axis=1)[None], positions=4)
        >>> filters.gain[0].round(3)
        array([[1., 1.],
               [1., 1.],
               [1., 1.]])
        >>> (filters.phase[0, :2, 1] / np.pi).round(3) + 0.0
        array([ 0. , -0.5])
    """

    filters: NDArray[np.complex128]
    positions: int

    @property
    def layers(self) -> tuple[int, ...]:
        """The layer numbers, from 1."""
        return tuple(range(1, len(self.filters) + 1))

    @property
    def angular_frequency(self) -> Array:
        """(F,) rad per position, 0 to pi."""
        return angular_frequencies(self.positions).numpy()

    @property
    def gain(self) -> Array:
        """(L, F, D) magnitude of the filters."""
        return np.abs(self.filters)

    @property
    def gain_db(self) -> Array:
        """(L, F, D) magnitude of the filters in dB; minus infinity where nothing passes."""
        return decibels(self.gain)

    @property
    def phase(self) -> Array:
        """(L, F, D) phase of the filters in rad, in -pi..pi."""
        return np.angle(self.filters)

    @property
    def power_gain(self) -> Array:
        """(L, F) root mean square of the gain over dimensions."""
        return np.sqrt((self.gain**2).mean(-1))

    def summary(self) -> list[dict[str, Any]]:
        """Return one record per layer: gain at DC and at the highest frequency, and quantiles of the latter over D."""
        return [
            {
                "layer": layer,
                "gain_dc": float(self.power_gain[row, 0]),
                "gain_nyquist": float(self.power_gain[row, -1]),
                "nyquist_10%": float(np.quantile(self.gain[row, -1], 0.1)),
                "nyquist_median": float(np.median(self.gain[row, -1])),
                "nyquist_90%": float(np.quantile(self.gain[row, -1], 0.9)),
            }
            for row, layer in enumerate(self.layers)
        ]

    def table(self) -> "DataFrame":
        """Return one row per layer, frequency and dimension."""
        import pandas as pd

        layers, frequencies, dimensions = self.filters.shape
        index = pd.MultiIndex.from_product(
            [self.layers, range(frequencies), range(dimensions)], names=["layer", "frequency", "dimension"]
        )
        columns = {
            "angular_frequency": np.tile(self.angular_frequency.repeat(dimensions), layers),
            "gain": self.gain.ravel(),
            "phase": self.phase.ravel(),
        }
        return pd.DataFrame(columns, index=index).reset_index()

    def plot(self, ax: "Axes | None" = None) -> "Axes | Figure":
        """Draw the gain against frequency and, sorted, at the highest one; on a given `ax` against frequency."""
        from spectral import plot

        if ax is None:
            return plot.learned_filters_panels(self, self.label)
        return plot.learned_filters(self, label=self.label or None, ax=ax)


def learned_filters(model: Any) -> LearnedFilters:
    """Return the filters of FMLP-Rec, SLIME4Rec or BSARec. Raises ConfigError for a model without such filters.

    Sources: Zhou et al., WWW 2022, section 4.2; Shin et al., AAAI 2024, section 4.2.

    Example:
        BSARec's frequency branch passes the c = 3 lowest modes, DC and one cycle per sequence, as they are:

        >>> from models.registry import build, configure
        >>> model = build(configure("bsarec", num_items=20, max_len=6, hidden_size=2, num_layers=1, num_heads=1, c=3))
        >>> model.initialise(seed=0)
        >>> learned_filters(model).gain[0, :2].round(3)
        array([[1., 1.],
               [1., 1.]])
    """
    model = widened(model)
    window = torch.zeros(1, model.config.max_len, dtype=torch.int64, device=next(model.parameters()).device)
    with torch.inference_mode():
        filters = model.trace(window).filters
    if filters is None:
        raise ConfigError(f"{model.title} has no learned filters; FMLP-Rec, SLIME4Rec and BSARec have")
    learned = torch.stack(list(filters)).detach().cpu().to(torch.complex128).numpy()
    positions = model.config.max_len
    # These modes are real: the inverse transform ignores the imaginary part of their factors.
    own_conjugate = [0, positions // 2] if positions % 2 == 0 else [0]
    learned[:, own_conjugate] = learned[:, own_conjugate].real
    return LearnedFilters(learned, positions)
