"""How models and layers look in all figures: colour, marker, line style and name. They can be read in grey as well."""

from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
import numpy as np

from models.registry import KNOWN

# The colours of Okabe and Ito, which colour-blind readers can distinguish (yellow is darkened to be visible on white),
# and four of Tol's muted colours.
MODEL_STYLES: dict[str, dict[str, Any]] = {
    "sasrec": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "bsarec": {"color": "#D55E00", "marker": "s", "linestyle": "-"},
    "fmlprec": {"color": "#009E73", "marker": "^", "linestyle": "--"},
    "duorec": {"color": "#CC79A7", "marker": "D", "linestyle": "--"},
    "fearec": {"color": "#B09500", "marker": "v", "linestyle": "-."},
    "bert4rec": {"color": "#56B4E9", "marker": "P", "linestyle": "-."},
    "gru4rec": {"color": "#000000", "marker": "X", "linestyle": ":"},
    "caser": {"color": "#E69F00", "marker": "*", "linestyle": ":"},
    "tvrec": {"color": "#882255", "marker": "<", "linestyle": "-"},
    "wearec": {"color": "#44AA99", "marker": ">", "linestyle": "--"},
    "slime4rec": {"color": "#999933", "marker": "p", "linestyle": "-."},
    "lowarec": {"color": "#332288", "marker": "h", "linestyle": ":"},
}
MODEL_NAMES = {name: model.title for name, model in KNOWN.items()}
# Null models are grey, thin and have their own line styles.
NULL_STYLES: dict[str, dict[str, Any]] = {
    "uniform": {"linestyle": "-", "label": "uniform"},
    "untrained": {"linestyle": (0, (4, 1.5)), "label": "untrained"},
    "shuffled": {"linestyle": (0, (1, 1)), "label": "shuffled"},
    "gaussian": {"linestyle": "", "label": "Gaussian"},  # a band
}
NULL_LINE: dict[str, Any] = {"color": "0.45", "linewidth": 0.8, "marker": "", "zorder": 1.5}
LINE_STYLES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
MOST_LABELS = 8  # layers or matrices in a legend; of more than these, only some are named


def title_of(system: str) -> str:
    """Return the name of a system for people: the title of its model, and what sets a variant apart from it.

    Example:
        >>> title_of("sasrec"), title_of("sasrec-ce"), title_of("my model")
        ('SASRec', 'SASRec (CE)', 'my model')
        >>> title_of("bsarec-watched"), title_of("sasrec-ce-pre-norm-8")
        ('BSARec', 'SASRec (CE, pre-norm, 8 layers)')
    """
    model, *rest = (
        str(system).removesuffix("-watched").replace("-watched-", "-").split("-")
    )  # watching changes no model
    if model not in MODEL_NAMES:
        return str(system)
    loss = [rest.pop(0).upper()] if rest and rest[0] in ("ce", "bce", "bpr") else []
    depth = [f"{rest.pop()} layers"] if rest and rest[-1].isdigit() else []
    variant = ", ".join(loss + (["-".join(rest)] if rest else []) + depth)
    return f"{MODEL_NAMES[model]} ({variant})" if variant else MODEL_NAMES[model]


def styles_of(names: Iterable[Any]) -> dict[Any, dict[str, Any]]:
    """Return the style and label of each line, as arguments of `plot`.

    Known models have fixed styles, layers (numbers) have a colour scale, and other names get the unused styles in turn.

    Example:
        >>> {name: style["label"] for name, style in styles_of(["sasrec", "my model"]).items()}
        {'sasrec': 'SASRec', 'my model': 'my model'}
    """
    names = list(names)
    layers: list[int] = [name for name in names if isinstance(name, int)]
    styles = layer_styles(layers)
    spare = [key for key in MODEL_STYLES if key not in names]
    for name in names:
        if name in layers:
            continue
        key = name if name in MODEL_STYLES else spare.pop(0) if spare else next(iter(MODEL_STYLES))
        styles[name] = MODEL_STYLES[key] | {"label": title_of(name)}
    return styles


def layer_styles(layers: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Return a style for each layer: a colour from dark to light, and line styles that differ between neighbours.

    With more than eight layers only some are named.

    Example:
        >>> [style["linestyle"] for style in layer_styles([1, 2]).values()]
        ['-', '--']
    """
    layers = list(layers)
    count = len(layers)
    colors = mpl.colormaps["viridis"](np.linspace(0, 0.85, max(count, 2)))
    named = set(np.linspace(0, count - 1, min(count, MOST_LABELS if count <= MOST_LABELS else 5)).round().astype(int))
    return {
        layer: {
            "color": tuple(colors[index]),
            "linestyle": LINE_STYLES[index % len(LINE_STYLES)],
            "marker": _MARKERS[index % len(_MARKERS)],
            "label": f"layer {layer}" if index in named else f"_layer {layer}",
        }
        for index, layer in enumerate(layers)
    }
