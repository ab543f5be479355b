"""Lines and bands of null models, thin and grey, beneath those of the models."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes

from spectral.palette import NULL_LINE, NULL_STYLES
from spectral.plot.figure import drawable

Result = TypeVar("Result")
Nulls = Mapping[str, Sequence[Result]]  # by the null's name, the result of each of its draws


def null_lines(ax: Axes, x: Any, nulls: Mapping[str, Iterable[Any]], **look: Any) -> None:
    """Draw the curves of null models against x, and name each null once. look: further arguments of `plot`.

    nulls: the curves by the null's name, one for each draw and layer.

    Example:
        >>> from spectral.plot.figure import panels
        >>> _, [ax] = panels()
        >>> null_lines(ax, [0, 1], {"uniform": [[1, 1]], "untrained": [[2, 2], [3, 3]]})
        >>> [line.get_label() for line in ax.lines]
        ['uniform', 'untrained', '_untrained']
    """
    named = set(ax.get_legend_handles_labels()[1])
    for name, curves in nulls.items():
        style = NULL_LINE | NULL_STYLES[name] | look
        for curve in curves:
            label = f"_{style['label']}" if style["label"] in named else style["label"]
            ax.plot(x, drawable(curve), **style | {"label": label})
            named.add(style["label"])


def null_marker(style: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of `null_lines` that mark the null of a line by that line's marker, small and open.

    Example:
        >>> null_marker({"marker": "s", "color": "red"})
        {'marker': 's', 'markersize': 3.0, 'markerfacecolor': 'white'}
    """
    return {"marker": style["marker"], "markersize": 3.0, "markerfacecolor": "white"}


def null_band(ax: Axes, x: Any, nulls: Mapping[str, Any]) -> None:
    """Shade the range of all draws of a null model, and name each null once. nulls: curves (draws, points) by name.

    Example:
        >>> from spectral.plot.figure import panels
        >>> _, [ax] = panels()
        >>> null_band(ax, [0, 1], {"gaussian": [[1, 1], [2, 3]]})
        >>> ax.get_legend_handles_labels()[1]
        ['Gaussian']
    """
    named = set(ax.get_legend_handles_labels()[1])
    for name, curves in nulls.items():
        label = NULL_STYLES[name]["label"]
        ends = drawable(np.min(curves, axis=0)), drawable(np.max(curves, axis=0))
        look = {"color": NULL_LINE["color"], "alpha": 0.35, "linewidth": 0.8, "zorder": 1.4}
        ax.fill_between(x, *ends, **look, label=f"_{label}" if label in named else label)
