"""How far hidden states are from rank one: layer by layer, and through the parts of blocks."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from spectral.palette import MODEL_STYLES, styles_of
from spectral.plot.figure import from_zero, layer_axis, legend, styled
from spectral.rank_one import LAYER, STAGES, RankOneDistance

LABEL = "distance to rank one"
NOISE: dict[str, Any] = {"color": "0.5", "linestyle": (0, (1, 2)), "linewidth": 0.9, "zorder": 0}
# A step's line goes from what it adds, a hollow marker, over the sum with the residual to the LayerNorm's output.
FEED_FORWARD: dict[str, Any] = {"color": "0.45", "marker": "D", "linestyle": ":"}
MIXING: list[dict[str, Any]] = [
    {"color": MODEL_STYLES["sasrec"]["color"], "marker": "s", "linestyle": "--"},
    {"color": MODEL_STYLES["bsarec"]["color"], "marker": "^", "linestyle": "-."},
]
ALONE_SIZE, SIZE = 4.5, 2.5


@styled()
def rank_one(results: Mapping[str, RankOneDistance], *, ax: Axes | None = None) -> Axes:
    """Draw the distance to rank one over layers, one line per model, with bars of two standard errors on either side.

    The dotted grey line is white noise with the positions of the first model's users. results: by model name.

    Example:
        Alternating sequences that a layer makes constant:

        >>> import torch
        >>> from spectral import rank_one_distance as measure
        >>> alternating = torch.tensor([1.0, -1.0, 1.0, -1.0]).expand(2, 4)[..., None]
        >>> rank_one({"sasrec": measure([alternating, torch.ones(2, 4, 1)])}).lines[0].get_ydata()
        array([1., 0.])
    """
    assert ax is not None
    for name, style in styles_of(results).items():
        outputs = results[name].outputs
        layers = [layer for layer, _, _ in outputs.parts]
        ax.errorbar(layers, outputs.distance, yerr=2 * outputs.standard_error, elinewidth=0.8, **style)
    first = next(iter(results.values())).outputs
    ax.plot([layer for layer, _, _ in first.parts], first.noise, label="white noise", **NOISE)
    _finish(ax)
    return ax


@styled(height=2.8)
def rank_one_parts(result: RankOneDistance, *, label: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the distance to rank one through the parts of each block, from left to right in the order they are computed.

    The black line joins the outputs of the layers. Between two of them, each sub-layer has a line of three points: what
    it adds (a larger, hollow marker), this with the residual, and the LayerNorm of both. The dotted grey line is white
    noise of the same lengths. label: the name of the model, for the legend's title.

    Example:
        >>> import torch
        >>> from models.registry import build, configure
        >>> model = build(configure("bsarec", num_items=20, max_len=4, hidden_size=8, num_layers=1))
        >>> model.initialise(seed=0)
        >>> ax = rank_one_parts(RankOneDistance.of_parts(model, [torch.tensor([[5, 6, 7, 8]])]))
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['layer output', 'attention', 'frequency filter', 'feed-forward', 'white noise']
    """
    assert ax is not None
    outputs = result.outputs
    layers = [layer for layer, _, _ in outputs.parts]
    ax.plot(layers, outputs.distance, color="black", marker="o", markersize=3.5, linewidth=1.4, label="layer output")
    steps = list(dict.fromkeys(step for _, step, _ in result.parts if step != LAYER))
    for place, step in enumerate(steps):
        last = place == len(steps) - 1
        style = FEED_FORWARD if last else MIXING[place % len(MIXING)]
        for layer in layers[1:]:
            distance = result.of_step(layer, step).distance
            x = layer - (0.42 if last else 0.92) + np.linspace(0, 0.34, len(STAGES))
            # The line begins beside the hollow marker of the step alone, which has no path from the layer before.
            ax.plot(x[:1], distance[:1], **style | {"linestyle": ""}, markerfacecolor="white", markersize=ALONE_SIZE)
            named = step if layer == layers[1] else f"_{step}"
            ax.plot(x, distance, **style, markersize=SIZE, linewidth=0.9, label=named, zorder=1.9)
    ax.plot(layers, outputs.noise, label="white noise", **NOISE)
    _finish(ax, label)
    return ax


def _finish(ax: Axes, label: str | None = None) -> None:
    layer_axis(ax, LABEL)
    from_zero(ax)
    legend(ax, of=label)
