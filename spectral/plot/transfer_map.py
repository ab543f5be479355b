"""Where the energy of each frequency leaves attention, as maps."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spectral.plot.figure import maps_of_layers, styled
from spectral.transfer_map import TransferMap

DARKEST_DB, LIGHTEST_DB = 0.0, -40.0  # black is all energy of a unit wave, white a ten-thousandth of it or less
SIDE = 1.9  # inches, of a map in a figure of several


@styled(height=2.9)
def transfer_map(result: TransferMap, layer: int | None = None, *, ax: Axes | None = None, bar: bool = True) -> Axes:
    """Draw the map of one layer, mean over heads: dark where energy leaves (row) that entered at a frequency (column).

    On the thin diagonal line energy leaves at the frequency at which it entered. The dashed lines separate the low
    modes from the high ones. layer: its number; None for the first of the result. bar: whether to draw the scale, in
    dB. Raises ValueError for a layer that the result does not have.

    Example:
        >>> import torch
        >>> from spectral import transfer_map as measure
        >>> ax = transfer_map(measure(torch.eye(8)))
        >>> ax.get_xlabel(), ax.images[0].get_array().shape
        ('enters at frequency', (5, 5))
    """
    assert ax is not None
    layer = result.layers[0] if layer is None else layer
    if layer not in result.layers:
        raise ValueError(f"layer must be one of {', '.join(map(str, result.layers))}, got {layer}")
    power_db = result.head_mean.power_db[result.layers.index(layer), 0]
    shown = np.clip(power_db, LIGHTEST_DB, DARKEST_DB)
    image = ax.imshow(shown, cmap="Greys", vmin=LIGHTEST_DB, vmax=DARKEST_DB, origin="lower", interpolation="nearest")
    last = len(shown) - 0.5
    ax.plot([-0.5, last], [-0.5, last], color="#D55E00", linewidth=0.5)
    for draw in (ax.axhline, ax.axvline):
        draw(result.c // 2 + 0.5, color="#0072B2", linestyle="--", linewidth=0.7)
    ax.set_xlim(-0.5, last)
    ax.set_ylim(-0.5, last)
    ax.grid(False)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    ax.set_xlabel("enters at frequency")
    ax.set_ylabel("leaves at frequency")
    if bar:
        ax.figure.colorbar(image, ax=ax, label="energy (dB)", shrink=0.8)
    return ax


def transfer_map_panels(results: Mapping[str, TransferMap]) -> Figure:
    """Draw the maps of all layers: a row for each model, by name, a column for each layer, and one scale for all.

    Raises ValueError if there are no results.

    Example:
        >>> import torch
        >>> from spectral import transfer_map as measure
        >>> figure = transfer_map_panels({"sasrec": measure(torch.eye(8).expand(2, 1, 1, 8, 8))})
        >>> [ax.get_title() for ax in figure.axes[:2]]
        ['SASRec, layer 1', 'SASRec, layer 2']
    """
    return maps_of_layers(results, transfer_map, SIDE, "energy (dB)")
