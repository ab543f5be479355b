"""The gain of whole layers at each position, as maps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spectral.block_response.positions import PositionResponse
from spectral.plot.figure import maps_of_layers, styled
from spectral.response import decibels

DARKEST_DB, LIGHTEST_DB = 10.0, -20.0
SIDE = 2.1  # inches, of a map in a figure of several
GREYS = colormaps["Greys"].copy()
# A gain beyond the ends has the colour of the end, and the scale says so. The type in matplotlib is a mistake.
GREYS.colorbar_extend = "both"  # type: ignore[assignment]


@styled(height=2.9)
def position_response(
    result: PositionResponse, layer: int | None = None, *, ax: Axes | None = None, bar: bool = True
) -> Axes:
    """Draw the gain of one layer by output position (row) and frequency (column); dark passes more.

    All rows of a circular filter are equal. layer: its number; None for the first. bar: whether to draw the scale, in
    dB. Raises ValueError for a layer that the result does not have.

    Example:
        >>> response = PositionResponse(gain=np.array([[[1.0, 1.0], [1.0, 0.1]]]), users=1, layers=(1,))
        >>> ax = position_response(response)
        >>> ax.get_ylabel(), ax.images[0].get_array().tolist()
        ('output position', [[0.0, 0.0], [0.0, -20.0]])
    """
    assert ax is not None
    layer = result.layers[0] if layer is None else layer
    if layer not in result.layers:
        raise ValueError(f"layer must be one of {', '.join(map(str, result.layers))}, got {layer}")
    gain_db = np.clip(decibels(result.gain[result.layers.index(layer)]), LIGHTEST_DB, DARKEST_DB)
    positions, frequencies = gain_db.shape
    look: dict[str, Any] = {"cmap": GREYS, "vmin": LIGHTEST_DB, "vmax": DARKEST_DB, "interpolation": "nearest"}
    extent = (-0.5, frequencies - 0.5, 0.5, positions + 0.5)  # positions count from 1, as in the table
    image = ax.imshow(gain_db, origin="lower", aspect="auto", extent=extent, **look)
    ax.grid(visible=False)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    ax.set_xlabel("cycles per sequence")
    ax.set_ylabel("output position")
    if bar:
        ax.figure.colorbar(image, ax=ax, label="gain (dB)", shrink=0.8)
    return ax


def position_response_panels(results: Mapping[str, PositionResponse]) -> Figure:
    """Draw the maps of all layers: a row for each model, by name, a column for each layer, and one scale for all.

    Raises ValueError if there are no results.

    Example:
        >>> response = PositionResponse(gain=np.ones((2, 4, 3)), users=1, layers=(1, 2))
        >>> figure = position_response_panels({"tvrec": response})
        >>> [ax.get_title() for ax in figure.axes[:2]]
        ['TV-Rec, layer 1', 'TV-Rec, layer 2']
    """
    return maps_of_layers(results, position_response, SIDE, "gain (dB)")
