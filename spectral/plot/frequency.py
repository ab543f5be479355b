"""Frequencies: the ring graph whose waves they are, and the gain of attention at each."""

import math
from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes

from spectral.filter_response import CUTOFF_DB, FilterResponse
from spectral.palette import MODEL_NAMES, MODEL_STYLES, layer_styles
from spectral.plot.figure import angular_axis, drawable, styled

LOWEST_DB = -60.0  # axes do not go on below, where only rounding is left to see


@styled(height=1.05)
def ring_graph(num_nodes: int = 16, frequencies: Iterable[int] = (0, 1, 2, 8), *, ax: Axes | None = None) -> Axes:
    """Draw a sequence as a ring graph, and on it the cosine eigenvectors of some frequencies (Figure 2a).

    A dot's distance outside or inside of the ring is the eigenvector's value at that position (position 0 on
    top, then clockwise); positive values are filled. Raises ValueError for a frequency outside of
    0..num_nodes // 2, or fewer than 3 nodes.
    """
    assert ax is not None
    chosen = list(frequencies)
    if num_nodes < 3 or not chosen or not all(0 <= k <= num_nodes // 2 for k in chosen):
        raise ValueError(f"frequencies must lie in 0..{num_nodes // 2} and a ring has 3 nodes or more, got {chosen}")
    for column, k in enumerate(chosen):
        _ring(ax, num_nodes, k, center=3.2 * column)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.set_xlim(-1.6, 3.2 * (len(chosen) - 1) + 1.6)
    ax.set_ylim(-2.25, 1.6)
    return ax


def _ring(ax: Axes, num_nodes: int, k: int, center: float) -> None:
    position = np.arange(num_nodes)
    angle = np.pi / 2 - 2 * np.pi * position / num_nodes  # position 0 on top, clockwise
    value = np.cos(2 * np.pi * k * position / num_nodes).round(12)  # a zero is positive, not what rounding makes of it
    unit = np.stack([np.cos(angle), np.sin(angle)])
    offset = np.array([[center], [0.0]])
    nodes, tips = unit + offset, unit * (1 + 0.42 * value) + offset
    ring = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(ring) + center, np.sin(ring), color="0.6", linewidth=0.8, zorder=1)
    ax.plot(*nodes, linestyle="", marker="o", markersize=1.8, color="0.4", zorder=2)
    ax.plot(*np.stack([nodes, tips], axis=1), color="0.35", linewidth=0.7, zorder=2)
    for chosen, fill in ((value >= 0, MODEL_STYLES["sasrec"]["color"]), (value < 0, "white")):
        ax.plot(
            *tips[:, chosen],
            linestyle="",
            marker="o",
            markersize=3.2,
            markerfacecolor=fill,
            markeredgecolor=MODEL_STYLES["sasrec"]["color"],
            zorder=3,
        )
    ax.text(center, -1.68, f"$k={k}$", ha="center", va="top")


@styled()
def frequency_response(
    response: FilterResponse, *, label: str | None = None, ax: Axes | None = None, floor: float = LOWEST_DB
) -> Axes:
    """Draw gain in dB against angular frequency: heads as thin lines, the head mean of each layer thick.

    `label` is written into the axes (a model's name, for panels side by side). The dashed line is 3 dB under
    DC, where the cutoff is read off. The axis ends at `floor` dB.
    """
    assert ax is not None
    layers = layer_styles(response.layers)
    mean, omega = response.head_mean, response.angular_frequency
    for row, layer in enumerate(response.layers):
        if response.gain.shape[1] > 1:
            for head in response.gain_db[row]:
                ax.plot(omega, drawable(head), color=layers[layer]["color"], linewidth=0.5, alpha=0.6)
        ax.plot(
            omega,
            drawable(mean.gain_db[row, 0]),
            **layers[layer] | {"marker": ""},
            linewidth=1.6,
        )
    ax.axhline(CUTOFF_DB, color="0.3", linestyle=(0, (1, 1.5)), linewidth=0.7, zorder=1)
    angular_axis(ax)
    drawn = response.gain_db[np.isfinite(response.gain_db)]
    lowest, highest = ax.get_ylim()  # of panels that share this axis, too
    lowest = min(lowest, math.floor(drawn.min(initial=-6.0) - 1))
    ax.set_ylim(max(floor, lowest), max(highest, drawn.max(initial=0.0) + 0.5))
    ax.set_ylabel("gain (dB)")
    ax.legend(title=label and MODEL_NAMES.get(label, label), title_fontsize=8)
    return ax
