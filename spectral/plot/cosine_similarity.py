"""How alike users and positions become, layer by layer."""

from collections.abc import Mapping

from matplotlib.axes import Axes

from spectral.cosine_similarity import CosineSimilarity
from spectral.palette import styles_of
from spectral.plot.figure import layer_axis, legend, styled


@styled()
def cosine_similarity(
    similarities: Mapping[str, CosineSimilarity],
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
def cosine_similarity_kinds(name: str, similarity: CosineSimilarity, *, ax: Axes | None = None) -> Axes:
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
