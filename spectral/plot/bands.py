"""Bands of curves over runs: how far users move the mean, and how far users and seeds do."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from spectral.estimate import Estimate
from spectral.plot.figure import drawable

USERS, BOTH = 0.45, 0.18  # opacity of the bands
ONE_MODEL = "one model, users only"
NAMES = {USERS: "users (95%)", BOTH: "users and seeds (95%)"}
FAINTEST = 5  # with more curves in the axes only the band over all that is known is drawn


def band(ax: Axes, x: Any, found: Estimate, color: Any, row: Any = ..., outer_only: bool = False) -> None:
    """Shade the intervals of a curve, and name the bands once, in grey: darker over users, lighter over seeds as well.

    A single run has one band, which is named as that of one model. row: which part of the estimate is the curve.
    outer_only: leave out the band over users if there is one over seeds; for many curves.

    Example:
        >>> from spectral.estimate import estimate
        >>> from spectral.plot.figure import panels
        >>> _, [ax] = panels()
        >>> band(ax, [0, 1], estimate(np.ones((2, 2)), np.ones((5, 2, 2)), users=9), "red")
        >>> ax.get_legend_handles_labels()[1]
        ['users and seeds (95%)', 'users (95%)']
        >>> band(ax, [0, 1], estimate(np.ones((1, 2)), np.ones((5, 1, 2)), users=9), "blue")
        >>> ax.get_legend_handles_labels()[1][-1]
        'one model, users only'
    """
    several = found.seeds > 1
    ends = {BOTH: (found.low, found.high)} if several else {}
    if not (several and outer_only):
        ends[USERS] = (found.users_low, found.users_high)
    for alpha, (low, high) in ends.items():
        shade(ax, x, low[row], high[row], color, alpha, NAMES[alpha] if several else ONE_MODEL)


def shade(ax: Axes, x: Any, low: Any, high: Any, color: Any, alpha: float, name: str) -> None:
    """Shade between two curves, and name this kind of band once, in grey.

    Example:
        >>> from spectral.plot.figure import panels
        >>> _, [ax] = panels()
        >>> for color in ("red", "blue"):
        ...     shade(ax, [0, 1], [0, 0], [1, 2], color, USERS, ONE_MODEL)
        >>> ax.get_legend_handles_labels()[1]
        ['one model, users only']
    """
    ax.fill_between(x, drawable(low), drawable(high), color=color, alpha=alpha, linewidth=0)
    if name not in ax.get_legend_handles_labels()[1]:
        ax.fill([np.nan], [np.nan], color="0.3", alpha=alpha, linewidth=0, label=name)
