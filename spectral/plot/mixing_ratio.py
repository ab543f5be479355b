"""How much of a block's output is its residual, by frequency."""

from matplotlib.axes import Axes

from spectral.mixing_ratio import MixingRatio
from spectral.palette import layer_styles
from spectral.plot.figure import angular_axis, drawable, legend, marked, styled

MOST_BANDS = 4  # layers whose bands can be told apart


@styled()
def mixing_ratio(result: MixingRatio, *, label: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the mixing ratio of each block against frequency, with a band of two standard errors on either side.

    At 1 nothing of the residual is left in the block's output, at 0 it is the residual alone. With more than four
    layers no bands are drawn. label: the name of the model, for the legend's title.

    Example:
        >>> import torch
        >>> from spectral import mixing_ratio as measure
        >>> part = torch.tensor([4.0, 1.0, 0.0, 0.0]).view(1, 4, 1)
        >>> ax = mixing_ratio(measure(torch.stack([part, -part])[None], ["residual", "attention"]))
        >>> ax.lines[0].get_ydata()
        array([0.5, 0.5, 0.5])
    """
    assert ax is not None
    omega = result.angular_frequency
    styles = layer_styles(result.layers)
    for row, (layer, style) in enumerate(styles.items()):
        ratio, error = drawable(result.mixing_ratio[row]), 2 * result.standard_error[row, 0]
        every = marked(len(omega), len(styles), layer, styles)
        ax.plot(omega, ratio, linewidth=1.2, markersize=3, markevery=every, **style)
        if len(styles) <= MOST_BANDS:
            ax.fill_between(omega, ratio - error, ratio + error, color=style["color"], alpha=0.2, linewidth=0)
    ax.set_ylim(0, 1)
    angular_axis(ax)
    ax.set_ylabel("mixing ratio")
    legend(ax, of=label)
    return ax
