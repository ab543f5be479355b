"""How similar users and positions become, layer by layer."""

from collections.abc import Mapping

from matplotlib.axes import Axes

from spectral.cosine_similarity import CosineSimilarity
from spectral.palette import styles_of
from spectral.plot.figure import layer_axis, legend, styled
from spectral.plot.nulls import Nulls, null_lines, null_marker


@styled()
def cosine_similarity(
    similarities: Mapping[str, CosineSimilarity],
    *,
    kind: str = "between_users",
    nulls: Mapping[str, Nulls[CosineSimilarity]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw mean cosine similarity over layers, one line per model.

    similarities: by model name. kind: "between_users" or "within_sequence". nulls: by model and by
    the null's name, the similarities of its draws, in thin grey with the model's marker. Raises ValueError for another
    kind.

    Example:
        >>> import numpy as np
        >>> similarity = CosineSimilarity(np.arange(3), np.array([0, 0.5, 1]), np.array([0, 0.2, 0.4]), 30, 20)
        >>> ax = cosine_similarity({"sasrec": similarity})
        >>> ax.get_ylabel(), ax.lines[0].get_ydata()
        ('cosine similarity of users', array([0. , 0.5, 1. ]))
    """
    assert ax is not None
    labels = {
        "between_users": "cosine similarity of users",
        "within_sequence": "cosine similarity of positions",
    }
    if kind not in labels:
        raise ValueError(f"kind must be one of {', '.join(labels)}, got {kind!r}")
    styles = styles_of(similarities)
    for name, of_model in (nulls or {}).items():
        curves = {null: [getattr(draw, kind) for draw in draws] for null, draws in of_model.items()}
        null_lines(ax, similarities[name].layers, curves, **null_marker(styles[name]))
    for name, similarity in similarities.items():
        ax.plot(similarity.layers, getattr(similarity, kind), **styles[name])
    layer_axis(ax, labels[kind])
    legend(ax)
    return ax


@styled()
def cosine_similarity_kinds(
    name: str,
    similarity: CosineSimilarity,
    *,
    nulls: Nulls[CosineSimilarity] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw both similarities of one model over layers: between users, and within a sequence.

    nulls: by name, the similarities of each draw of a null model, in thin grey with the markers of the model's lines.

    Example:
        >>> import numpy as np
        >>> similarity = CosineSimilarity(np.arange(3), np.array([0, 0.5, 1]), np.array([0, 0.2, 0.4]), 30, 20)
        >>> [line.get_label() for line in cosine_similarity_kinds("sasrec", similarity).lines]
        ['between users', 'within a sequence']
    """
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
    for kind, look in (("between_users", {"marker": "o"}), ("within_sequence", {"marker": "s"})):
        curves = {null: [getattr(draw, kind) for draw in draws] for null, draws in (nulls or {}).items()}
        null_lines(ax, similarity.layers, curves, **null_marker(look))
    layer_axis(ax, "mean cosine similarity")
    legend(ax)
    return ax
