"""How alike users and positions become, layer by layer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from spectral.cosine_similarity import LayerSimilarity
from spectral.palette import styles_of
from spectral.plot.figure import drawable, layer_axis, legend, marked, styled
from spectral.singular_values import SingularValues


@styled()
def singular_values(
    spectra: Mapping[Any, SingularValues],
    *,
    ax: Axes | None = None,
    normalised: bool = True,
    effective_rank: bool = False,
) -> Axes:
    """Draw singular value spectra on a logarithmic axis, a line per model (a name) or layer (a number).

    `normalised` divides each by its largest value, which is needed to compare different numbers of users;
    `effective_rank` adds that to the names.
    """
    assert ax is not None
    styles = styles_of(spectra)
    for name, spectrum in spectra.items():
        values = spectrum.normalised if normalised else spectrum.values
        index = np.arange(1, len(values) + 1)
        rank = f" ({spectrum.effective_rank:.1f})" if effective_rank else ""
        ax.plot(
            index,
            drawable(values),
            **styles[name] | {"label": f"{styles[name]['label']}{rank}"},
            markevery=marked(len(values), len(spectra), name, spectra),
        )
    ax.set_yscale("log")
    ax.set_xlabel("index of the singular value")
    ax.set_ylabel("singular value / largest" if normalised else "singular value")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(ax)
    return ax


@styled()
def cosine_similarity(
    similarities: Mapping[str, LayerSimilarity],
    *,
    kind: str = "between_users",
    ax: Axes | None = None,
) -> Axes:
    """Draw mean cosine similarity over layers, a line per model; between_users or within_sequence."""
    assert ax is not None
    labels = {
        "between_users": "cosine similarity of users",
        "within_sequence": "cosine similarity of positions",
    }
    if kind not in labels:
        raise ValueError(f"kind must be one of {', '.join(labels)}, got {kind!r}")
    styles = styles_of(similarities)
    for name, similarity in similarities.items():
        ax.plot(similarity.layers, getattr(similarity, kind), **styles[name])
    layer_axis(ax, labels[kind])
    legend(ax)
    return ax


@styled()
def similarities_of(name: str, similarity: LayerSimilarity, *, ax: Axes | None = None) -> Axes:
    """Draw both similarities of one model over layers: between users, and within a sequence."""
    assert ax is not None
    color = styles_of([name])[name]["color"]
    ax.plot(similarity.layers, similarity.between_users, color=color, marker="o", label="between users")
    ax.plot(
        similarity.layers,
        similarity.within_sequence,
        color=color,
        marker="s",
        markerfacecolor="white",
        linestyle="--",
        label="within a sequence",
    )
    layer_axis(ax, "mean cosine similarity")
    legend(ax)
    return ax
