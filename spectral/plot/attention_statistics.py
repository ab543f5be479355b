"""Statistics of attention maps, layer by layer, and the rollout of attention."""

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
    """Draw one measure over layers: for each model the mean over heads as a line, and the heads as small dots.

    results: by model name. Raises ValueError for a measure that `spectral.attention_statistics` does not have.

    Example:
        >>> import torch
        >>> from spectral import attention_statistics as measure
        >>> ax = attention_statistics({"sasrec": measure(torch.full((4, 4), 1 / 4))}, "relative_entropy")
        >>> ax.get_ylabel(), ax.lines[0].get_ydata().round(3)  # uniform attention has the largest entropy
        ('entropy / uniform', array([1.]))
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
    """Draw the four measures of `OVERVIEW` on a figure of two columns' width, with one legend below.

    Example:
        >>> import torch
        >>> from spectral import attention_statistics as measure
        >>> figure = attention_statistics_panels({"sasrec": measure(torch.eye(4))})
        >>> len(figure.axes)
        4
    """
    return panels_of_measures(results, OVERVIEW, attention_statistics, columns=2)


@styled()
def attention_statistics_rollout(results: Mapping[str, AttentionStatistics], *, ax: Axes | None = None) -> Axes:
    """Draw how much of each position reaches the last output through attention and residuals only.

    Source: Abnar and Zuidema, ACL 2020.

    Example:
        Uniform attention with a residual of weight 1/2 gives every position 1/8, and the last one 1/2 more:

        >>> import torch
        >>> from spectral import attention_statistics as measure
        >>> ax = attention_statistics_rollout({"sasrec": measure(torch.full((4, 4), 1 / 4))})
        >>> ax.lines[0].get_ydata().round(3)
        array([0.125, 0.125, 0.125, 0.625])
    """
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
