"""How smooth sequences are along their positions, layer by layer."""

from collections.abc import Mapping
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectral.palette import styles_of
from spectral.plot.figure import drawable, layer_axis, legend, panels_of_measures, styled
from spectral.plot.nulls import Nulls, null_lines, null_marker
from spectral.smoothing import MEASURES, Smoothing

LABELS = {
    "mad": "MAD of positions",
    "dirichlet_path": "Dirichlet energy, path",
    "dirichlet_ring": "Dirichlet energy, ring",
    "dirichlet_path_relative": "Dirichlet / total, path",
    "dirichlet_ring_relative": "Dirichlet / total, ring",
    "effective_rank": "effective rank",
    "stable_rank": "stable rank",
    "dc_share": "DC / total energy",
    "high_low_ratio": "HFC / LFC energy",
}
OVERVIEW = ("mad", "dirichlet_path_relative", "effective_rank", "stable_rank", "dc_share", "high_low_ratio")


@styled()
def smoothing(
    results: Mapping[str, Smoothing],
    measure: str = "mad",
    *,
    nulls: Mapping[str, Nulls[Smoothing]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one measure over layers, one line per model, with bars of two standard errors on either side.

    results: by model name. nulls: by model and by the null's name, the results of its draws, in thin grey with the
    model's marker. Raises ValueError for a measure that `spectral.smoothing` does not have.

    Example:
        Alternating sequences that a layer makes constant:

        >>> import torch
        >>> from spectral import smoothing as measure
        >>> alternating = torch.tensor([1.0, -1.0, 1.0, -1.0]).expand(2, 4)[..., None]
        >>> ax = smoothing({"sasrec": measure([alternating, torch.ones(2, 4, 1)])}, "dc_share")
        >>> ax.get_ylabel(), ax.lines[0].get_ydata()
        ('DC / total energy', array([0., 1.]))
    """
    assert ax is not None
    if measure not in MEASURES:
        raise ValueError(f"measure must be one of {', '.join(MEASURES)}, got {measure!r}")
    for name, style in styles_of(results).items():
        curves = {
            null: [getattr(draw, measure) for draw in draws] for null, draws in (nulls or {}).get(name, {}).items()
        }
        null_lines(ax, results[name].layers, curves, **null_marker(style))
        result = results[name]
        error = 2 * result.standard_error[measure]
        ax.errorbar(result.layers, drawable(getattr(result, measure)), yerr=error, elinewidth=0.8, **style)
    layer_axis(ax, LABELS[measure])
    legend(ax)
    return ax


def smoothing_panels(results: Mapping[str, Smoothing], nulls: Mapping[str, Nulls[Smoothing]] | None = None) -> Figure:
    """Draw the six measures of `OVERVIEW` on a figure of two columns' width, with one legend below.

    nulls: as in `smoothing`.

    Example:
        >>> import torch
        >>> from spectral import smoothing as measure
        >>> len(smoothing_panels({"sasrec": measure(torch.ones(2, 4, 1))}).axes)
        6
    """
    return panels_of_measures(results, OVERVIEW, partial(smoothing, nulls=nulls), columns=3, width=2.22)
