"""Similarities by groups of users."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spectral.palette import layer_styles
from spectral.plot.figure import drawable, layer_axis, legend, panels_of_measures, styled
from spectral.strata import SIMILARITIES, StratifiedSimilarity

LABELS = {
    "between_users": "cosine of users",
    "within_sequence": "cosine of positions",
    "cka_with_last": "CKA with last layer",
    "overlap": "overlap with last item",
}


@styled()
def strata(result: StratifiedSimilarity, similarity: str = "between_users", *, ax: Axes | None = None) -> Axes:
    """Draw a similarity of each stratum over layers, or over k for `overlap`; thin dotted lines are by chance.

    Raises ValueError for a similarity that `spectral.strata` does not have.

    Example:
        >>> import torch
        >>> from models.registry import build, configure
        >>> from spectral.strata import length
        >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8, num_layers=1))
        >>> model.initialise(seed=0)
        >>> windows = torch.tensor([[0, 0, 3, 1], [5, 6, 7, 8], [0, 0, 2, 9], [1, 2, 3, 4]])
        >>> ax = strata(StratifiedSimilarity.of_model(model, windows, length(windows), "length", groups=2))
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['length 2 (2 users)', 'length 4 (2 users)']
    """
    assert ax is not None
    styles = layer_styles(range(1, len(result.strata) + 1))
    for number, (label, style) in enumerate(zip(result.labels, styles.values(), strict=True)):
        at, values, by_chance = result.curve(number, similarity)
        ax.plot(at, drawable(values), markersize=3, linewidth=1.2, **style | {"label": label})
        ax.plot(at, drawable(by_chance), color=style["color"], linestyle=":", linewidth=0.8, label="_by chance")
    layer_axis(ax, LABELS[similarity])
    if similarity == "overlap":
        ax.set_xlabel("$k$")
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    legend(ax)
    return ax


def strata_panels(result: StratifiedSimilarity) -> Figure:
    """Draw all four similarities on a figure of two columns' width, with one legend below.

    Example:
        >>> import torch
        >>> from models.registry import build, configure
        >>> from spectral.strata import length
        >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8, num_layers=1))
        >>> model.initialise(seed=0)
        >>> windows = torch.tensor([[0, 0, 3, 1], [5, 6, 7, 8], [0, 0, 2, 9], [1, 2, 3, 4]])
        >>> measured = StratifiedSimilarity.of_model(model, windows, length(windows), "length", groups=2)
        >>> len(strata_panels(measured).axes)
        4
    """
    return panels_of_measures(result, SIMILARITIES, strata, columns=2)
