"""A sequence as a ring graph, and its frequencies as waves on the ring."""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes

from spectral.palette import MODEL_STYLES
from spectral.plot.figure import styled


@styled(height=1.05)
def ring_graph(num_nodes: int = 16, frequencies: Iterable[int] = (0, 1, 2, 8), *, ax: Axes | None = None) -> Axes:
    """Draw a sequence as a ring graph, once for each frequency, with the cosine eigenvector of this frequency on it.

    The distance of a dot from the ring is the eigenvector's value at that position: outside and filled if positive,
    inside and open if negative. Position 0 is at the top, and positions go clockwise. Raises ValueError for a frequency
    that is not in 0..num_nodes // 2, or fewer than 3 nodes.

    Source: Shin et al., AAAI 2024, Figure 2a.

    Example:
        >>> [text.get_text() for text in ring_graph(8, frequencies=(0, 1, 4)).texts]
        ['$k=0$', '$k=1$', '$k=4$']
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
    value = np.cos(2 * np.pi * k * position / num_nodes).round(12)  # so that zeros do not get a sign from rounding
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
