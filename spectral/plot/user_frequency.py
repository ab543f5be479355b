"""How well models rank for users of low and of high frequency."""

import numpy as np
from matplotlib.axes import Axes

from spectral.palette import styles_of
from spectral.plot.figure import from_zero, legend, styled
from spectral.user_frequency import RankingByGroup

WIDTH = 0.5  # of all markers of one group, as a share of the distance between groups


@styled()
def user_frequency(result: RankingByGroup, *, ax: Axes | None = None) -> Axes:
    """Draw the mean of a metric for each group of users: one marker with its 95% interval per model, side by side.

    Example:
        >>> import pandas as pd
        >>> from spectral import by_group
        >>> measure = pd.Series([0.1, 0.2, 0.8, 0.9], name="dc_excess")
        >>> ax = user_frequency(by_group(measure, {"sasrec": [0, 0, 1, 1]}, groups=2, resamples=100, called="HR@20"))
        >>> [label.get_text() for label in ax.get_xticklabels()]
        ['0.10-0.20', '0.80-0.90']
    """
    assert ax is not None
    groups = result.table()
    styles = styles_of(groups["model"].unique())
    for place, (name, style) in enumerate(styles.items()):
        rows = groups[groups["model"] == name]
        x = rows["group"] + WIDTH * ((place + 0.5) / len(styles) - 0.5)
        error = np.stack([rows["mean"] - rows["low"], rows["high"] - rows["mean"]])
        ax.errorbar(x.to_numpy(), rows["mean"].to_numpy(), yerr=error, elinewidth=0.8, **style | {"linestyle": ""})
    first = groups[groups["model"] == groups["model"].iloc[0]]
    ax.set_xticks(first["group"], [f"{row['from']:.2f}-{row['to']:.2f}" for _, row in first.iterrows()])
    ax.set_xlabel(f"{result.measure.replace('_', ' ')} of users, quantile groups")
    ax.set_ylabel(result.metric)
    from_zero(ax)
    legend(ax, loc="upper left")  # models rank worst for the users on the left, so there is room above them
    return ax
