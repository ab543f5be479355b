"""What the pictures of all frequency responses share: a line for each layer, and an axis of gains in dB."""

import math

import numpy as np
from matplotlib.axes import Axes

from spectral.palette import layer_styles
from spectral.plot.figure import angular_axis, drawable
from spectral.response import CUTOFF_DB, Array, Response

LOWEST_DB = -60.0  # the lower end of axes; below it there is only rounding


def layer_lines(ax: Axes, response: Response, gain_db: Array) -> None:
    """Draw a thick line for each layer. gain_db: (L, F).

    Example:
        >>> from spectral.plot.figure import panels
        >>> response = Response(gain=np.array([[1.0, 0.5, 0.1]]), positions=4, users=1, layers=(1,))
        >>> _, [ax] = panels()
        >>> layer_lines(ax, response, response.gain_db)
        >>> ax.lines[0].get_label(), ax.lines[0].get_ydata().round(1)
        ('layer 1', array([  0.,  -6., -20.]))
    """
    layers = layer_styles(response.layers)
    for layer, line in zip(response.layers, gain_db, strict=True):
        ax.plot(response.angular_frequency, drawable(line), **layers[layer] | {"marker": ""}, linewidth=1.6)


def gain_axis(ax: Axes, gain_db: Array, floor: float, label: str) -> None:
    """Label the axes of gains (..., F) in dB against frequency, and draw a dotted line 3 dB below DC.

    The y axis does not go below `floor`.

    Example:
        >>> from spectral.plot.figure import panels
        >>> _, [ax] = panels()
        >>> gain_axis(ax, np.array([0.0, -6.0, -100.0]), floor=-40.0, label="gain (dB)")
        >>> [round(float(end), 1) for end in ax.get_ylim()]
        [-40.0, 0.5]
    """
    ax.axhline(CUTOFF_DB, color="0.3", linestyle=(0, (1, 1.5)), linewidth=0.7, zorder=1)
    angular_axis(ax)
    drawn = gain_db[np.isfinite(gain_db)]
    lowest, highest = ax.get_ylim()  # includes the panels that share this axis
    lowest = min(lowest, math.floor(drawn.min(initial=-6.0) - 1))
    ax.set_ylim(max(floor, lowest), max(highest, drawn.max(initial=0.0) + 0.5))
    ax.set_ylabel(label)
