"""The history of a user as a signal: low and high frequencies, spectrum, and the attributes of the items (Figure 1)."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from spectral.fourier import angular_frequencies, multiplicity
from spectral.palette import MODEL_STYLES
from spectral.plot.figure import COLUMN_WIDTH, angular_axis, drawable, grid, style, styled
from spectral.signals import UserSignal

LOW, HIGH = MODEL_STYLES["sasrec"]["color"], MODEL_STYLES["bsarec"]["color"]
MOST_ATTRIBUTES = 6


class ItemAttributes(Protocol):
    """The part of what `models.datasets.load_attributes` returns that is drawn."""

    names: tuple[str, ...]

    def of(self, item: int) -> NDArray[np.int64]:
        """Return the attributes of an item, as numbers from 1."""


@styled()
def user_signal(signal: UserSignal, *, ax: Axes | None = None) -> Axes:
    """Draw a signal, its mean, LFC and HFC by position, on the axis where the larger of LFC and HFC stands out most.

    Example:
        >>> from spectral import user_signal as measure
        >>> ax = user_signal(measure([[3.0], [1.0], [3.0], [1.0]], c=1))
        >>> for line in ax.lines:
        ...     print(line.get_label(), line.get_ydata().round(3))
        signal [3. 1. 3. 1.]
        LFC [2. 2. 2. 2.]
        mean [2. 2. 2. 2.]
        HFC [ 1. -1.  1. -1.]
    """
    assert ax is not None
    position = np.arange(len(signal.signal))
    lines: dict[str, tuple[Any, dict[str, Any]]] = {
        "signal": (signal.signal, {"color": "0.55", "linewidth": 0.8, "marker": "o", "markersize": 1.8}),
        "LFC": (signal.low, {"color": LOW, "linewidth": 1.8}),
        "mean": (signal.mean, {"color": "black", "linewidth": 1.0, "linestyle": ":"}),
        "HFC": (signal.high, {"color": HIGH, "linewidth": 0.9, "linestyle": "--"}),
    }
    for name, (values, line) in lines.items():
        ax.plot(position, values @ signal.direction, label=name, **line)
    _position_axis(ax, len(position))
    ax.set_ylabel(f"embedding, axis of {'HFC' if signal.low_share < 0.5 else 'LFC'}")
    ax.legend(ncols=4, loc="upper left", bbox_to_anchor=(0, 1.12), handlelength=1.4, columnspacing=1.0)
    return ax


@styled()
def user_signal_spectrum(signal: UserSignal, *, ax: Axes | None = None) -> Axes:
    """Draw the share of the energy in one mode of each frequency. The low modes are shaded; white noise is dotted.

    Example:
        A mean of 2 and an alternation of 1 have energies 4 x 2^2 and 4 x 1^2:

        >>> from spectral import user_signal as measure
        >>> ax = user_signal_spectrum(measure([[3.0], [1.0], [3.0], [1.0]], c=1))
        >>> ax.lines[0].get_ydata().round(3)
        array([0.8, 0. , 0.2])
    """
    assert ax is not None
    length = len(signal.signal)
    omega = angular_frequencies(length).numpy()
    share = signal.energy / multiplicity(length).numpy() / signal.energy.sum()
    ax.axvspan(0, (signal.c // 2 + 0.5) * 2 * np.pi / length, color=LOW, alpha=0.15, linewidth=0, label="low modes")
    ax.plot(omega, drawable(share), color="black", marker="o", markersize=2.0, linewidth=0.9)
    ax.axhline(1 / length, color="0.4", linestyle=":", linewidth=1.0, label="white noise")
    ax.set_yscale("log")
    angular_axis(ax)
    ax.set_ylabel("share of energy")
    ax.legend()
    return ax


@styled(height=1.1)
def user_signal_items(items: Any, attributes: ItemAttributes, *, ax: Axes | None = None) -> Axes:
    """Draw which items of a history have its most common attributes: one row each, the most common at the top.

    items: (N,) item ids. attributes: of all items.

    Example:
        >>> from types import SimpleNamespace
        >>> genres = SimpleNamespace(names=("drama", "comedy"), of=lambda item: np.array([[1], [1, 2]][item - 1]))
        >>> [label.get_text() for label in user_signal_items([1, 2, 1], genres).get_yticklabels()]
        ['drama', 'comedy']
    """
    import pandas as pd
    import seaborn  # slow to import

    assert ax is not None
    of_items = [set(attributes.of(int(item)).tolist()) for item in items]
    counts = Counter(attribute for found in of_items for attribute in sorted(found))
    common = sorted(counts, key=lambda attribute: (-counts[attribute], attribute))[:MOST_ATTRIBUTES]
    names = [attributes.names[number - 1] if attributes.names else f"attribute {number}" for number in common]
    if common:
        cells = [[float(attribute in found) for found in of_items] for attribute in common]
        table = pd.DataFrame(cells, index=names)
        look = {"cmap": "Greys", "vmin": 0, "vmax": 1.4, "linewidths": 0.4, "linecolor": "white", "cbar": False}
        seaborn.heatmap(table, xticklabels=max(1, len(of_items) // 5), ax=ax, **look)
        ax.tick_params(axis="both", length=0, rotation=0)
    ax.set_xlabel("position")
    return ax


def user_signal_panels(
    chosen: Sequence[UserSignal],
    attributes: ItemAttributes | None = None,
    note: str = "",
    width: float = COLUMN_WIDTH,
) -> Figure:
    """Return a figure with a column for each user: signal, attributes of the items, and spectrum.

    attributes: None leaves out the panels of items. note: text below the figure. width: of a column, in inches. Raises
    ValueError if there is no user.

    Example:
        >>> from spectral import user_signal as measure
        >>> figure = user_signal_panels([measure([[3.0], [1.0], [3.0], [1.0]], c=1, user=7)])
        >>> figure.axes[0].get_title()
        'user 7 stays at one level (80% low)'
    """
    if not chosen:
        raise ValueError("expected the signal of at least one user, got none")
    figure, rows = grid([1.7, 1.7] if attributes is None else [1.7, 1.2, 1.7], len(chosen), width, share_y=False)
    with style():
        for column, signal in enumerate(chosen):
            axes = [row[column] for row in rows]
            user_signal(signal, ax=axes[0])
            if attributes is not None:
                user_signal_items(signal.items, attributes, ax=axes[1])
                axes[0].set_xlabel("")
            user_signal_spectrum(signal, ax=axes[-1])
            axes[0].set_title(f"user {signal.user} {signal.course} ({signal.low_share:.0%} low)", pad=14)
        limits = [ax.get_ylim() for ax in rows[-1]]
        for ax in rows[-1]:  # the same scale, so that users can be compared
            ax.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        if note:
            figure.supxlabel(note, fontsize=7)
    return figure


def _position_axis(ax: Axes, length: int) -> None:
    ax.set_xlim(-0.5, length - 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("position")
