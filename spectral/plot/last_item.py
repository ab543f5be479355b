"""How much of the recommendations the last item alone explains."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from spectral.last_item import LastItemOverlap
from spectral.palette import styles_of
from spectral.plot.figure import legend, styled


@styled()
def last_item(results: Mapping[str, LastItemOverlap], *, ax: Axes | None = None) -> Axes:
    """Draw the overlap of the top k with that of the last item alone against k, one line per model.

    Bars are two standard errors on either side. The thin dotted line of each model is what the lists of different users
    have in common. results: by model name.

    Example:
        >>> from spectral import last_item_overlap as measure
        >>> ax = last_item({"sasrec": measure([[1, 2], [3, 4]], [[2, 1], [3, 5]])})
        >>> ax.lines[0].get_ydata(), ax.lines[0].get_xdata()
        (array([0.5 , 0.75]), array([1, 2]))
    """
    assert ax is not None
    for name, style in styles_of(results).items():
        result = results[name]
        k = np.arange(1, len(result.overlap) + 1)
        error = 2 * result.standard_error["overlap"]
        ax.errorbar(k, result.overlap, yerr=error, elinewidth=0.8, markersize=3, **style)
        ax.plot(k, result.by_chance, color=style["color"], linestyle=":", linewidth=0.9, label=f"_{name} by chance")
    ax.plot([], [], color="0.3", linestyle=":", linewidth=0.9, label="other users, by chance")
    ax.set_ylim(0, 1)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set_xlabel("$k$")
    ax.set_ylabel("overlap@k with last item alone")
    legend(ax)
    return ax
