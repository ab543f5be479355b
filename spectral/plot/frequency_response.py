"""Frequencies: the ring graph whose waves they are, and the gain of attention at each."""

import math
from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes

from spectral.block_response import BlockResponse
from spectral.filter_response import FilterResponse
from spectral.palette import MODEL_NAMES, MODEL_STYLES, layer_styles
from spectral.plot.figure import angular_axis, drawable, legend, styled
from spectral.response import CUTOFF_DB, Array, Response, decibels

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
    """Draw the gain of attention in dB against angular frequency: heads as thin lines, each layer's mean thick.

    With bootstrap samples of the users the interval that holds 95% of them is shaded. `label` is written into the
    axes (a model's name, for panels side by side). The dotted line is 3 dB under DC, where the cutoff is read off.
    The axis ends at `floor` dB.
    """
    assert ax is not None
    layers = layer_styles(response.layers)
    mean = response.head_mean
    if response.gain.shape[1] > 1:
        for row, layer in enumerate(response.layers):
            for head in response.gain_db[row]:
                ax.plot(
                    response.angular_frequency, drawable(head), color=layers[layer]["color"], linewidth=0.5, alpha=0.6
                )
    if mean.resampled is not None:
        low, high = (drawable(decibels(end)) for end in mean.band())
        for row, layer in enumerate(response.layers):
            shade = {"color": layers[layer]["color"], "alpha": 0.25, "linewidth": 0}
            ax.fill_between(response.angular_frequency, low[row, 0], high[row, 0], **shade)
    _layer_lines(ax, response, mean.gain_db[:, 0])
    _gain_axis(ax, response.gain_db, floor, "gain (dB)")
    legend(ax, title=label and MODEL_NAMES.get(label, label), title_fontsize=8)
    return ax


@styled()
def block_response(
    response: BlockResponse,
    *,
    label: str | None = None,
    at: str = "all",
    ax: Axes | None = None,
    floor: float = LOWEST_DB,
) -> Axes:
    """Draw the gain of whole layers relative to that of a constant signal, in dB, against angular frequency.

    at: "all" positions of the output, or the "last" alone. `label`, the dotted line and `floor` are those of
    `frequency_response`.
    """
    assert ax is not None
    if at not in ("all", "last"):
        raise ValueError(f"at must be all or last, got {at!r}")
    gain_db = response.relative_db if at == "all" else response.last_relative_db
    _layer_lines(ax, response, gain_db)
    _gain_axis(ax, gain_db, floor, "gain relative to DC (dB)")
    legend(ax, title=label and MODEL_NAMES.get(label, label), title_fontsize=8)
    return ax


def _layer_lines(ax: Axes, response: Response, gain_db: Array) -> None:
    """Draw a thick line for each layer; gain_db: (L, F)."""
    layers = layer_styles(response.layers)
    for layer, line in zip(response.layers, gain_db, strict=True):
        ax.plot(response.angular_frequency, drawable(line), **layers[layer] | {"marker": ""}, linewidth=1.6)


def _gain_axis(ax: Axes, gain_db: Array, floor: float, label: str) -> None:
    ax.axhline(CUTOFF_DB, color="0.3", linestyle=(0, (1, 1.5)), linewidth=0.7, zorder=1)
    angular_axis(ax)
    drawn = gain_db[np.isfinite(gain_db)]
    lowest, highest = ax.get_ylim()  # of panels that share this axis, too
    lowest = min(lowest, math.floor(drawn.min(initial=-6.0) - 1))
    ax.set_ylim(max(floor, lowest), max(highest, drawn.max(initial=0.0) + 0.5))
    ax.set_ylabel(label)
