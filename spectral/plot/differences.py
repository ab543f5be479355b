"""Differences of a measure between systems, layer by layer."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from spectral.palette import styles_of, title_of
from spectral.plot.figure import layer_axis, legend, styled

if TYPE_CHECKING:
    from spectral.compare import Differences


@styled()
def differences(result: "Differences", *, ax: Axes | None = None) -> Axes:
    """Draw the difference of each system to the reference over layers, with its 95% interval; 0 is dotted.

    Example:
        >>> import pandas as pd
        >>> from spectral.compare import Differences
        >>> row = {"system": "bsarec", "reference": "sasrec", "layer": 1, "difference": 2.0, "low": 1.0, "high": 3.0}
        >>> ax = differences(Differences("effective_rank", pd.DataFrame([row])))
        >>> ax.get_ylabel(), ax.get_xlabel()
        ('effective rank, difference to SASRec', 'layer')
    """
    assert ax is not None
    rows = result.rows
    styles = styles_of(dict.fromkeys(rows.system))
    for place, (name, style) in enumerate(styles.items()):
        own = rows[rows.system == name]
        at = own.layer + 0.12 * (place - (len(styles) - 1) / 2)
        error = np.stack([own.difference - own.low, own.high - own.difference])
        ax.errorbar(at.to_numpy(), own.difference.to_numpy(), yerr=error, elinewidth=0.8, **style)
    ax.axhline(0, color="0.3", linestyle=(0, (1, 1.5)), linewidth=0.7, zorder=1)
    layer_axis(ax, f"{result.measure.replace('_', ' ')}, difference to {title_of(rows.reference.iloc[0])}")
    legend(ax)
    return ax
