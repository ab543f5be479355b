"""How alike layers are, of one model or of two."""

from itertools import combinations_with_replacement

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectral.cka import LinearCKA
from spectral.palette import MODEL_NAMES
from spectral.plot.figure import drawable, grid, styled

MOST_NUMBERS = 6  # layers along an axis, up to which the numbers are written into the cells


@styled(height=2.8)
def cka(result: LinearCKA, model: str, other: str | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw the linear CKA of the layers of a model with each other, or with those of another model, as a map.

    Dark is alike. A layer without CKA, in which all users are equal, is left white and crossed out. Raises ValueError
    for a model that was not measured.

    Example:
        >>> import torch
        >>> from spectral.cka import cross_gram
        >>> measured = cross_gram([torch.eye(3), torch.eye(3).flip(0)]).result([("sasrec", 0), ("sasrec", 1)])
        >>> ax = cka(measured, "sasrec")
        >>> ax.get_xlabel(), ax.images[0].get_array().round(3).tolist()
        ('layer of SASRec', [[1.0, 1.0], [1.0, 1.0]])
    """
    assert ax is not None
    other = model if other is None else other
    values = drawable(result.between(model, other))
    image = ax.imshow(values, origin="lower", cmap="Greys", vmin=0, vmax=1.25, aspect="auto")
    ax.grid(visible=False)
    for row, column in np.argwhere(np.isnan(values)):
        ax.text(column, row, "×", ha="center", va="center", color="0.4")
    if max(values.shape) <= MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                color = "white" if value > 0.7 else "black"
                ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize=7)
    numbers = {name: [layer for measured, layer in result.layers if measured == name] for name in (model, other)}
    for axis, name in ((ax.yaxis, model), (ax.xaxis, other)):
        step = -(-len(numbers[name]) // 9)
        axis.set_ticks(range(0, len(numbers[name]), step), [str(layer) for layer in numbers[name][::step]])
        axis.set_label_text(f"layer of {MODEL_NAMES.get(name, name)}")
    bar = ax.figure.colorbar(image, ax=ax, boundaries=np.linspace(0, 1, 101), ticks=[0, 0.5, 1])
    bar.set_label("linear CKA")
    return ax


def cka_panels(result: LinearCKA) -> Figure:
    """Return a figure with a map for each model, and one for each pair of models.

    Example:
        >>> import torch
        >>> from spectral.cka import cross_gram
        >>> measured = cross_gram([torch.eye(3), torch.eye(3).flip(0)]).result([("sasrec", 0), ("bsarec", 0)])
        >>> [ax.get_xlabel() for ax in cka_panels(measured).axes[:3]]
        ['layer of SASRec', 'layer of BSARec', 'layer of BSARec']
    """
    pairs = list(combinations_with_replacement(dict.fromkeys(name for name, _ in result.layers), 2))
    columns = min(len(pairs), 3)
    figure, rows = grid([2.6] * -(-len(pairs) // columns), columns, width=2.9 if columns > 1 else 3.33)
    axes = [ax for row in rows for ax in row]
    for ax, (model, other) in zip(axes, pairs, strict=False):
        cka(result, model, other, ax=ax)
    for ax in axes[len(pairs) :]:
        ax.remove()
    return figure
