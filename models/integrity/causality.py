"""Does the output at a position depend on later items? All pairs of positions, by changing one item at a time."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from models.errors import ConfigError
from models.integrity.examined import Examined
from models.integrity.finding import Finding

WINDOWS = 2  # windows that are changed position by position


def causal(examined: Examined) -> Finding:
    """Check that the output at position i does not change with the item at a later position j.

    `where` has the pairs [i, j], from 0, in which it does. If the model offers its layers one by one, the pairs are
    those of a single layer, of its output i and its input j. The whole model then has more of them: what leaks into
    position 0 of one layer is everywhere after the next one.
    """
    whole, single = None, None
    for window in examined.windows[:WINDOWS]:
        found = influence_of_items(examined, window)
        whole = found if whole is None else torch.maximum(whole, found)
        try:
            layers = influence_in_layers(examined, window)
        except ConfigError:
            continue
        single = layers if single is None else torch.maximum(single, layers)
    assert whole is not None
    leaks, kind = _leaks(whole, examined.tolerance), "the whole model"
    if leaks and single is not None and (of_layers := _leaks(single, examined.tolerance)):
        leaks, kind = of_layers, "one layer"
    value = float(whole.triu(1).max())
    if not leaks:
        return Finding(True, value, "no output changes when a later item does")
    meaning = (
        f"outputs change when later items do, by up to {value:.2g} of the largest change of any output; "
        f"pairs [i, j] of {kind}: output i depends on position j"
    )
    return Finding(False, value, meaning, leaks)


def influence_of_items(examined: Examined, window: Tensor) -> Tensor:
    """Return how much the last state at position i changes with the item at position j, (N, N), at most 1.

    window: (N,). The windows are run one by one, so that a model whose outputs depend on the batch is not mistaken for
    one that looks ahead.
    """
    other = examined.other_items(window)
    return _influence(lambda x: examined.states(x)[-1], window[None], other[None])


def influence_in_layers(examined: Examined, window: Tensor) -> Tensor:
    """Return the largest influence of position j on position i in any layer, (N, N), at most 1; window: (N,).

    Raises ConfigError if the model does not offer its layers one by one.
    """
    layers: list[Callable[[Tensor], Tensor]] = layer_functions(examined.model, window[None])
    hidden = examined.states(window[None])
    generator = torch.Generator().manual_seed(0)
    found = []
    with torch.no_grad():
        for layer, x in zip(layers, hidden, strict=False):  # the last hidden state is no layer's input
            noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x) * x.std()
            found.append(_influence(layer, x, x + noise))
    return torch.stack(found).amax(0)


def layer_functions(model: Any, windows: Tensor) -> list[Callable[[Tensor], Tensor]]:
    """Return the layers of a model one by one. Raises ConfigError if it does not offer them."""
    if not hasattr(model, "layer_functions"):
        raise ConfigError(f"{type(model).__name__} does not offer its layers one by one")
    return model.layer_functions(windows)


def _influence(function: Callable[[Tensor], Tensor], x: Tensor, other: Tensor) -> Tensor:
    """Return the change of output i (rows) when position j (columns) of x (1, N, ...) becomes that of other.

    The changes are divided by the largest of them.
    """
    before = function(x)
    changes = []
    for position in range(x.shape[1]):
        changed = x.clone()
        changed[:, position] = other[:, position]
        changes.append((function(changed) - before)[0].flatten(1).norm(dim=1))
    influence = torch.stack(changes, dim=1)
    return influence / influence.max().clamp(min=torch.finfo(influence.dtype).tiny)


def _leaks(influence: Tensor, tolerance: float) -> list[list[int]]:
    return (influence.triu(1) > tolerance).nonzero().tolist()
