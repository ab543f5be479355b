"""Metrics against a setting of a model, with a band over seeds."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectral.palette import LINE_STYLES, MODEL_NAMES, MODEL_STYLES
from spectral.plot.figure import COLUMN_WIDTH, drawable, grid, legend, shared_legend, style, styled

if TYPE_CHECKING:
    from pandas import DataFrame

    from models.results.sensitivity import Sensitivity

METRICS = ("HR@20", "NDCG@20")
BANDS = ("std", "interval")
_SYMBOLS = {"alpha": r"$\alpha$", "c": "$c$"}
_BAND: dict[str, Any] = {"alpha": 0.15, "linewidth": 0}
_STAR: dict[str, Any] = {"marker": "*", "markersize": 10, "markeredgecolor": "black", "markeredgewidth": 0.6}


@styled()
def sensitivity(curve: "Sensitivity", *, metric: str = "NDCG@20", band: str = "std", ax: Axes | None = None) -> Axes:
    """Draw a metric against the setting: the mean over seeds, a band around it, and the baselines as horizontal lines.

    A star marks the model's own setting. It is filled for a published best setting, and empty for the default setting
    on a dataset that the paper does not have. band: "std" is one standard deviation over seeds on either side, and
    "interval" is the 95% interval of the mean. For a single seed there is no band.

    Raises ValueError for another band, or a metric that was not measured.

    Example:
        >>> import pandas as pd
        >>> from models.results.sensitivity import Sensitivity
        >>> values = pd.DataFrame({"value": [0.3, 0.7], "metric": "NDCG@20", "mean": [0.05, 0.06], "std": 0.01})
        >>> baselines = values[["metric", "mean", "std"]][:0].assign(system=[], model=[])
        >>> ax = sensitivity(Sensitivity("lastfm", "bsarec", "alpha", 0.7, 9, values, baselines))
        >>> ax.get_ylabel(), ax.lines[0].get_ydata()
        ('NDCG@20', array([0.05, 0.06]))
    """
    assert ax is not None
    values = curve.values[curve.values.metric == metric].sort_values("value")
    if values.empty:
        raise ValueError(f"metric must be one of {', '.join(curve.values.metric.unique())}, got {metric!r}")
    line = MODEL_STYLES[curve.model]
    ax.fill_between(values.value, *_ends(values, band), color=line["color"], **_BAND)
    ax.plot(values.value, values["mean"], **line, label=MODEL_NAMES[curve.model])
    best = values[values.value == curve.best]
    face = line["color"] if curve.is_published else "white"
    ax.plot(best.value, best["mean"], **_STAR, markerfacecolor=face, linestyle="", zorder=4, label=curve.best_name)
    _baselines(ax, curve.baselines[curve.baselines.metric == metric], band)
    ax.set_xticks(values.value, [f"{value:g}" for value in values.value])
    ax.set_xlabel(_SYMBOLS.get(curve.setting, curve.setting))
    ax.set_ylabel(metric)
    ax.margins(y=0.12)
    legend(ax)
    return ax


def _baselines(ax: Axes, rows: "DataFrame", band: str) -> None:
    """Draw the systems without this setting as horizontal lines. Several of one model differ in their dashes."""
    for place, (row, low, high) in enumerate(zip(rows.itertuples(), *_ends(rows, band), strict=True)):
        color = MODEL_STYLES[row.model]["color"]
        if np.isfinite([low, high]).all():
            ax.axhspan(low, high, color=color, **_BAND)
        ax.axhline(row.mean, color=color, linestyle=LINE_STYLES[(place + 1) % len(LINE_STYLES)], label=row.system)


def _ends(rows: "DataFrame", band: str) -> tuple[Any, Any]:
    """Return the lower and upper ends of the band, NaN where there is no band."""
    if band not in BANDS:
        raise ValueError(f"band must be one of {', '.join(BANDS)}, got {band!r}")
    if band == "interval":
        return drawable(rows.low), drawable(rows.high)
    return drawable(rows["mean"] - rows["std"]), drawable(rows["mean"] + rows["std"])


def sensitivity_panels(
    curves: Mapping[str, "Sensitivity"], *, band: str = "std", width: float = 2 * COLUMN_WIDTH
) -> Figure:
    """Return a figure with a column for each dataset, HR@20 above NDCG@20, and one legend below.

    curves: by dataset. width: the most that the figure may have, in inches. Datasets differ in scale, so every panel
    has its own scale. If there are several datasets, their names are titles. Raises ValueError if there is none.

    Example:
        >>> import pandas as pd
        >>> from models.results.sensitivity import Sensitivity
        >>> rows = [(value, metric, 0.05, 0.01) for metric in METRICS for value in (0.3, 0.7)]
        >>> values = pd.DataFrame(rows, columns=["value", "metric", "mean", "std"])
        >>> curve = Sensitivity("lastfm", "bsarec", "alpha", 0.7, 9, values, values[:0].assign(system=[], model=[]))
        >>> [ax.get_ylabel() for ax in sensitivity_panels({"lastfm": curve}).axes]
        ['HR@20', 'NDCG@20']
    """
    if not curves:
        raise ValueError("expected the curve of at least one dataset, got none")
    figure, rows = grid([1.5] * len(METRICS), len(curves), min(width / len(curves), COLUMN_WIDTH))
    with style():
        for metric, axes in zip(METRICS, rows, strict=True):
            for (dataset, curve), ax in zip(curves.items(), axes, strict=True):
                sensitivity(curve, metric=metric, band=band, ax=ax)
                if ax in rows[0]:
                    ax.set(xlabel="", title=dataset if len(curves) > 1 else "")
                if ax is not axes[0]:
                    ax.set_ylabel("")
        shared_legend(figure)
    return figure
