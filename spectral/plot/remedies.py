"""How well runs rank against how much they smooth."""

from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.choices import MONITOR
from spectral.palette import NULL_LINE, NULL_STYLES, styles_of
from spectral.plot.figure import grid, legend, shared_legend, style, styled

if TYPE_CHECKING:
    from spectral.remedies import Comparison

LABELS = {
    "between_users": "cosine between users",
    "within_sequence": "cosine within sequences",
    "effective_rank": "effective rank",
    "high_share": "HFC / total energy (dB)",
}


@styled()
def remedies(
    comparison: "Comparison",
    measure: str = "between_users",
    depth: int | None = None,
    *,
    nulls: Mapping[int, Mapping[str, float]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw NDCG@20 against a measure of smoothing, one point a run, with 95% intervals over users.

    depth: of the runs, by default the smallest; the ending "-<depth>" of a system's name is not in its label, so that a
    remedy looks the same at every depth. nulls: by depth and measure, the value of an untrained model, drawn as
    a vertical grey line, or named at the edge of the panel if it lies far beyond the runs. Raises ConfigError for a
    depth or a measure that was not compared.

    Example:
        One run:

        >>> import pandas as pd
        >>> from spectral.remedies import MEASURES, Comparison
        >>> point = {"system": "sasrec", "depth": 2, "seed": 42}
        >>> point |= {"NDCG@20": 0.05, "metric_low": 0.04, "metric_high": 0.06}
        >>> for name in MEASURES:
        ...     point |= {name: 0.5, f"{name}_low": 0.4, f"{name}_high": 0.6}
        >>> none = {"depth": 2, "rho": float("nan"), "low": float("nan"), "high": float("nan"), "runs": 1, "systems": 1}
        >>> correlations = pd.DataFrame([none | {"measure": name} for name in MEASURES])
        >>> ax = remedies(Comparison(pd.DataFrame([point]), correlations, pd.DataFrame()))
        >>> ax.get_xlabel(), ax.get_ylabel(), len(ax.containers)
        ('cosine between users', 'NDCG@20', 1)
    """
    assert ax is not None
    depth = int(comparison.points.depth.min()) if depth is None else depth
    comparison.verdict(depth, measure)  # refuses what was not compared
    points = comparison.points[comparison.points.depth == depth]
    points = points.assign(system=points.system.str.removesuffix(f"-{depth}"))
    for name, line in styles_of(dict.fromkeys(points.system)).items():
        rows = points[points.system == name]
        look = {"color": line["color"], "marker": line["marker"], "linestyle": "", "label": line["label"]}
        ends = [
            [rows[middle] - rows[f"{stem}_low"], rows[f"{stem}_high"] - rows[middle]]
            for middle, stem in ((measure, measure), (MONITOR, "metric"))
        ]
        x_error, y_error = ([side.clip(lower=0) for side in sides] for sides in ends)
        ax.errorbar(rows[measure], rows[MONITOR], y_error, x_error, elinewidth=0.5, markersize=4, **look)
    null = (nulls or {}).get(depth, {}).get(measure)
    if null is not None:
        _mark_untrained(ax, null)
    ax.set_xlabel(LABELS[measure])
    ax.set_ylabel(MONITOR)
    legend(ax)
    return ax


def _mark_untrained(ax: Axes, value: float) -> None:
    """Draw a line where an untrained model lies; one that would squeeze the runs together is an arrow at the edge."""
    low, high = ax.get_xlim()
    margin = (high - low) / 4
    if low - margin <= value <= high + margin:
        ax.axvline(value, **NULL_LINE | NULL_STYLES["untrained"])
        return
    beyond = value > high
    ax.annotate(
        f"untrained {value:.2g}",
        xy=(1 if beyond else 0, 0.04),
        xytext=(-8 if beyond else 8, 0),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right" if beyond else "left",
        va="center",
        color=NULL_LINE["color"],
        fontsize="x-small",
        arrowprops={"arrowstyle": "->", "color": NULL_LINE["color"]},
    )


def remedies_panels(comparison: "Comparison", nulls: Mapping[int, Mapping[str, float]] | None = None) -> Figure:
    """Return a figure with two panels in a row, one for each measure at each depth, and one legend below.

    nulls: as in `remedies`, which has an example.
    """
    depths = sorted(comparison.points.depth.unique())
    shown = [(int(depth), measure) for depth in depths for measure in LABELS]
    figure, rows = grid([1.9] * (len(shown) // 2), 2)
    with style():
        for (depth, measure), ax in zip(shown, chain(*rows), strict=True):
            remedies(comparison, measure, depth, nulls=nulls, ax=ax)
            ax.set_ylabel(f"{MONITOR}\n{depth} layers" if ax in [row[0] for row in rows] else "")
        shared_legend(figure)
    return figure
