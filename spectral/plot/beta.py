"""The gain that BSARec's frequency branch learned for high frequencies, over dimensions and runs."""

from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from spectral.palette import NULL_LINE, NULL_STYLES, layer_styles
from spectral.plot.bands import BOTH, shade
from spectral.plot.figure import from_zero, legend, styled

if TYPE_CHECKING:
    from spectral.over_seeds import Betas


@styled()
def beta(found: "Betas", *, label: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw beta over the dimensions in ascending order: the mean over runs, and the 95% interval of that mean.

    The grey line is what training begins with, the square of a standard normal variable. The dotted line at 1 is a
    branch that leaves high frequencies as they are. label: written into the axes, such as a model's name.

    Example:
        >>> import numpy as np
        >>> from spectral.over_seeds import Betas
        >>> ax = beta(Betas(np.array([[[0.1, 0.3]], [[0.3, 0.5]]])))
        >>> ax.lines[0].get_ydata(), ax.get_legend_handles_labels()[1]
        (array([0.2, 0.4]), ['2 seeds (95%)', 'layer 1', 'untrained'])
    """
    assert ax is not None
    styles = layer_styles(found.layers)
    mean, size = found.beta, len(found.share)
    for row, layer in enumerate(found.layers):
        if mean.seeds > 1:
            ends, color = (mean.low[row], mean.high[row]), styles[layer]["color"]
            shade(ax, found.share, *ends, color, BOTH, f"{mean.seeds} seeds (95%)")
        marks = {"markersize": 2.5, "markevery": max(1, size // 12)}
        ax.plot(found.share, mean.value[row], **styles[layer] | marks)
    ax.plot(found.share, found.initial, **NULL_LINE | NULL_STYLES["untrained"])
    ax.axhline(1, color="0.3", linestyle=(0, (1, 1.5)), linewidth=0.7, zorder=1)
    ax.set_xlim(0, 1)
    from_zero(ax)
    ax.set_xlabel("share of dimensions, ascending")
    ax.set_ylabel(r"$\beta$")
    legend(ax, label)
    return ax
