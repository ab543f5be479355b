"""How well models rank for users of low and of high frequency."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from spectral.palette import styles_of
from spectral.plot.figure import from_zero, legend, styled

if TYPE_CHECKING:
    from pandas import DataFrame

WIDTH = 0.5  # of the markers of all models of one group, in groups


@styled()
def user_frequency(
    groups: "DataFrame", *, metric: str = "NDCG@20", measure: str = "measure", ax: Axes | None = None
) -> Axes:
    """Draw the mean of a metric for each group of users, a marker with its 95% interval per model, side by side.

    groups: what `spectral.user_frequency.by_group` returns.
    """
    assert ax is not None
    styles = styles_of(groups["model"].unique())
    for place, (name, style) in enumerate(styles.items()):
        rows = groups[groups["model"] == name]
        x = rows["group"] + WIDTH * ((place + 0.5) / len(styles) - 0.5)
        error = np.stack([rows["mean"] - rows["low"], rows["high"] - rows["mean"]])
        ax.errorbar(x.to_numpy(), rows["mean"].to_numpy(), yerr=error, elinewidth=0.8, **style | {"linestyle": ""})
    first = groups[groups["model"] == groups["model"].iloc[0]]
    ax.set_xticks(first["group"], [f"{row['from']:.2f}-{row['to']:.2f}" for _, row in first.iterrows()])
    ax.set_xlabel(f"{measure.replace('_', ' ')} of users, quantile groups")
    ax.set_ylabel(metric)
    from_zero(ax)
    legend(ax, loc="upper left")  # the corner of users that are the hardest to rank for
    return ax
