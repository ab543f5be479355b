"""How similar users and positions become, layer by layer."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectral.cosine_similarity import CosineSimilarity
from spectral.estimate import Estimate
from spectral.over_seeds import Similarities
from spectral.palette import styles_of
from spectral.plot.bands import FAINTEST, ONE_MODEL, USERS, band, shade
from spectral.plot.figure import HEIGHT, grid, layer_axis, legend, shared_legend, style, styled
from spectral.plot.nulls import Nulls, null_lines, null_marker
from spectral.resampling import interval


@styled()
def cosine_similarity(
    similarities: Mapping[str, CosineSimilarity],
    *,
    kind: str = "between_users",
    nulls: Mapping[str, Nulls[CosineSimilarity]] | None = None,
    intervals: Mapping[str, Estimate] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw mean cosine similarity over layers, one line per model.

    similarities: by model name. kind: "between_users" or "within_sequence". nulls: by model and by
    the null's name, the similarities of its draws, in thin grey with the model's marker. intervals: by model, (L + 1,)
    each, to shade. Raises ValueError for another kind.

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
    for name, found in (intervals or {}).items():
        many = len(similarities) > FAINTEST
        band(ax, similarities[name].layers, found, styles[name]["color"], outer_only=many)
    for name, similarity in similarities.items():
        ax.plot(similarity.layers, getattr(similarity, kind), **styles[name])
    layer_axis(ax, labels[kind])
    legend(ax)
    return ax


def cosine_similarity_panels(rows: Mapping[str, Mapping[str, Similarities]]) -> Figure:
    """Draw both similarities over the runs of systems, users left, positions right, with intervals and null models.

    rows: a row of panels each, such as for each depth: by title, results by system. A single row has no title. A
    null model is the mean of its draws. One legend below serves all.

    Example:
        >>> import torch
        >>> from models.registry import build, configure
        >>> from spectral.over_seeds import similarities
        >>> from spectral.summary import summarise
        >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8))
        >>> found = similarities([summarise(model, torch.tensor([[5, 6, 7, 8], [1, 2, 3, 4]]), {"model": "sasrec"})])
        >>> [ax.get_ylabel() for ax in cosine_similarity_panels({"2 layers": {"sasrec": found}}).axes]
        ['cosine similarity of users', 'cosine similarity of positions']
    """
    figure, axes = grid([HEIGHT] * len(rows), 2)
    for (title, results), row in zip(rows.items(), axes, strict=True):
        for kind, ax in zip(("between_users", "within_sequence"), row, strict=True):
            cosine_similarity(
                {name: found.similarity for name, found in results.items()},
                kind=kind,
                nulls={name: found.mean_nulls for name, found in results.items()},
                intervals={name: getattr(found, kind) for name, found in results.items()},
                ax=ax,
            )
            if row is not axes[-1]:
                ax.set_xlabel("")
            with style():
                ax.set_title(title if len(rows) > 1 else "")
    shared_legend(figure)
    return figure


@styled()
def cosine_similarity_kinds(
    name: str,
    similarity: CosineSimilarity,
    *,
    nulls: Nulls[CosineSimilarity] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw both similarities of one model over layers: between users, and within a sequence.

    With bootstrap samples of the users, their 95% intervals are shaded. nulls: by name, the similarities of each draw
    of a null model, in thin grey with the markers of the model's lines.

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
        if similarity.deviation is not None:
            ends = interval(getattr(similarity, kind), similarity.deviation[kind])
            shade(ax, similarity.layers, *ends, color, USERS, ONE_MODEL)
        curves = {null: [getattr(draw, kind) for draw in draws] for null, draws in (nulls or {}).items()}
        null_lines(ax, similarity.layers, curves, **null_marker(look))
    layer_axis(ax, "mean cosine similarity")
    legend(ax)
    return ax
