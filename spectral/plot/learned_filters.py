"""Filters that models learned in the frequency domain."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectral.learned_filters import LearnedFilters
from spectral.palette import layer_styles
from spectral.plot.figure import HEIGHT, MOST_INSIDE, angular_axis, drawable, from_zero, grid, legend, styled

SPAN_DB = 40.0  # what a map of gains shows; a single zero would leave no colours to the others


@styled()
def learned_filters(filters: LearnedFilters, *, label: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the gain of each layer's filter against angular frequency: median over dimensions, and the middle 80%.

    With more than four layers only the medians are drawn, because bands would cover each other. label: written into
    the axes, such as a model's name for panels side by side.

    Example:
        >>> filters = LearnedFilters(np.array([[[1, 1], [1, 1], [0.5, 0.7]]], dtype=complex), positions=4)
        >>> learned_filters(filters).lines[0].get_ydata().round(3)  # the median of two dimensions
        array([1. , 1. , 0.6])
    """
    import seaborn  # slow to import

    assert ax is not None
    layers = layer_styles(filters.layers)
    table = filters.table()
    band = ("pi", 80) if len(layers) <= MOST_INSIDE else None
    for layer, style in layers.items():
        of_layer = table[table["layer"] == layer]
        look = style | {"marker": "", "linewidth": 1.6, "err_kws": {"alpha": 0.2, "linewidth": 0}}
        seaborn.lineplot(of_layer, x="angular_frequency", y="gain", estimator="median", errorbar=band, ax=ax, **look)
    angular_axis(ax)
    from_zero(ax)
    ax.set_ylabel("gain")
    legend(ax, label)
    return ax


@styled()
def learned_filters_sorted(
    filters: LearnedFilters, *, label: str = "gain at the highest frequency", ax: Axes | None = None
) -> Axes:
    """Draw the gain at the highest frequency over dimensions in ascending order, one line per layer.

    label: of the y axis. For BSARec's frequency branch this gain is beta.

    Example:
        >>> filters = LearnedFilters(np.array([[[1, 1], [1, 1], [0.7, 0.5]]], dtype=complex), positions=4)
        >>> learned_filters_sorted(filters).lines[0].get_ydata()
        array([0.5, 0.7])
    """
    assert ax is not None
    layers = layer_styles(filters.layers)
    size = filters.filters.shape[-1]
    share = (np.arange(size) + 0.5) / size
    for row, layer in enumerate(filters.layers):
        gain = np.sort(filters.gain[row, -1])
        ax.plot(share, gain, **layers[layer], markersize=2.5, markevery=max(1, size // 12))
    ax.set_xlim(0, 1)
    from_zero(ax)
    ax.set_xlabel("share of dimensions, ascending")
    ax.set_ylabel(label)
    legend(ax)
    return ax


@styled()
def learned_filters_map(
    filters: LearnedFilters, layer: int = 1, part: str = "magnitude", *, ax: Axes | None = None
) -> Axes:
    """Draw a layer's filter over angular frequency and dimension, part "magnitude" in dB or "phase" in rad.

    Dimensions are sorted by the centre of gravity of their power over frequency: those that pass low frequencies come
    first. Both parts of a layer have the same order. Gains more than 40 dB below the largest have the darkest colour.
    Raises ValueError for another part, or a layer that is not there.

    Example:
        >>> filters = LearnedFilters(np.array([[[1, 1], [1, 1], [0.7, 0.5]]], dtype=complex), positions=4)
        >>> ax = learned_filters_map(filters, layer=1, part="phase")
        >>> ax.collections[0].get_array().shape  # dimensions, frequencies
        (2, 3)
    """
    assert ax is not None
    if part not in ("magnitude", "phase"):
        raise ValueError(f"part must be magnitude or phase, got {part!r}")
    row = filters.layers.index(layer)
    power = filters.gain[row] ** 2
    total = np.maximum(power.sum(0), np.finfo(float).tiny)
    order = np.argsort((filters.angular_frequency[:, None] * power).sum(0) / total, kind="stable")
    values = (filters.gain_db if part == "magnitude" else filters.phase)[row][:, order]
    look: dict[str, Any] = {"cmap": "twilight", "vmin": -np.pi, "vmax": np.pi}
    if part == "magnitude":
        largest = float(values.max(initial=-400))  # of a filter that passes nothing at all
        look = {"cmap": "viridis", "vmin": max(float(values.min()), largest - SPAN_DB), "vmax": largest}
    mesh = ax.pcolormesh(
        filters.angular_frequency,
        np.arange(1, values.shape[1] + 1),
        drawable(values).T,
        shading="nearest",
        rasterized=True,
        **look,
    )
    angular_axis(ax)
    ax.grid(False)
    ax.set_ylabel(f"dimension of layer {layer}, sorted")
    cut = part == "magnitude" and values.min() < look["vmin"]
    bar = ax.figure.colorbar(mesh, ax=ax, extend="min" if cut else "neither")
    bar.set_label("gain (dB)" if part == "magnitude" else "phase (rad)")
    return ax


def learned_filters_panels(filters: LearnedFilters, model: str = "") -> Figure:
    r"""Draw the gain against frequency, and sorted at the highest frequency.

    model: its name; for "bsarec" the gain at the highest frequency is called beta.

    Example:
        >>> filters = LearnedFilters(np.array([[[1, 1], [1, 1], [0.7, 0.5]]], dtype=complex), positions=4)
        >>> [ax.get_ylabel() for ax in learned_filters_panels(filters, "bsarec").axes]
        ['gain', '$\\beta$']
    """
    figure, [(left, right)] = grid([HEIGHT], 2)
    learned_filters(filters, ax=left)
    learned_filters_sorted(filters, ax=right, **{"label": r"$\beta$"} if model == "bsarec" else {})
    return figure
