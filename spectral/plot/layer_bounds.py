"""The factor by which layers of attention scale what is not constant, between its bounds."""

from collections.abc import Mapping

from matplotlib.axes import Axes

from spectral.attention_statistics.bounds import LayerBounds
from spectral.palette import styles_of
from spectral.plot.figure import drawable, layer_axis, legend, styled


@styled()
def layer_bounds(results: Mapping[str, LayerBounds], *, ax: Axes | None = None) -> Axes:
    """Draw the measured factor over layers, one line per model, with a bar from the lower to the upper bound.

    The dotted line at 1 is a layer that smooths nothing. results: by model name.

    Example:
        >>> import torch
        >>> from spectral import layer_bounds as measure
        >>> bounds = measure(torch.eye(4), torch.full((1, 1, 1), 0.5), torch.tensor([[[1.0], [0.0], [0.0], [0.0]]]))
        >>> layer_bounds({"sasrec": bounds}).lines[0].get_ydata().round(3)
        array([1.5])
    """
    assert ax is not None
    for place, (name, style) in enumerate(styles_of(results).items()):
        result = results[name]
        at = [layer + 0.12 * (place - (len(results) - 1) / 2) for layer in result.layers]
        ax.plot(at, drawable(result.measured), **style)
        ax.vlines(at, result.lower, result.upper, color=style["color"], linewidth=2.5, alpha=0.35)
    ax.axhline(1, color="0.3", linestyle=(0, (1, 1.5)), linewidth=0.7, zorder=1)
    ax.set_ylim(bottom=0)
    layer_axis(ax, "factor of what is not DC")
    legend(ax)
    return ax
