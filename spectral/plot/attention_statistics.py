"""What attention maps are like, layer by layer, and where their weight comes from."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectral.attention_statistics import MEASURES, AttentionStatistics
from spectral.palette import styles_of
from spectral.plot.figure import from_zero, layer_axis, legend, marked, panels_of_measures, styled

LABELS = {
    "entropy": "entropy (nats)",
    "relative_entropy": "entropy / uniform",
    "distance": "distance (positions)",
    "lambda2": r"$|\lambda_2|$",
    "hfc_factor": "largest HFC factor",
    "residual_hfc_factor": "HFC factor, residual",
}
OVERVIEW = ("relative_entropy", "distance", "lambda2", "hfc_factor")


@styled()
def attention_statistics(
    results: Mapping[str, AttentionStatistics], measure: str = "lambda2", *, ax: Axes | None = None
) -> Axes:
    """Draw one measure over layers, for each model the mean over heads as a line and the heads as small dots.

    Raises ValueError for a measure that `spectral.attention_statistics` does not have.
    """
    assert ax is not None
    if measure not in MEASURES:
        raise ValueError(f"measure must be one of {', '.join(MEASURES)}, got {measure!r}")
    for name, style in styles_of(results).items():
        values = getattr(results[name], measure)
        ax.plot(results[name].layers, values.mean(1), **style)
        if values.shape[1] > 1:
            ax.plot(
                results[name].layers, values, linestyle="", marker=".", markersize=3, alpha=0.6, color=style["color"]
            )
    from_zero(ax)
    layer_axis(ax, LABELS[measure])
    legend(ax)
    return ax


def attention_statistics_panels(results: Mapping[str, AttentionStatistics]) -> Figure:
    """Draw the four measures of `OVERVIEW` on a figure of two columns' width, with one legend below."""
    return panels_of_measures(results, OVERVIEW, attention_statistics, columns=2)


@styled()
def attention_statistics_rollout(results: Mapping[str, AttentionStatistics], *, ax: Axes | None = None) -> Axes:
    """Draw how much of each position reaches the last output by attention and residuals alone."""
    assert ax is not None
    for name, style in styles_of(results).items():
        values = results[name].rollout
        ago = np.arange(len(values))[::-1]
        ax.plot(ago, values, **style, markevery=marked(len(values), len(results), name, results))
    ax.invert_xaxis()
    ax.set_yscale("log")
    ax.set_xlabel("positions ago")
    ax.set_ylabel("share of the rollout")
    legend(ax)
    return ax
