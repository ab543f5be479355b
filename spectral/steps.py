"""The residual connections of a model's layers, batch by batch."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from models.errors import ConfigError
from models.layers.add_norm import ResidualStep
from models.precision import widened


def residual_steps(model: Any, batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, list[list[ResidualStep]]]]:
    """Yield, for each batch, its mask (B, N), True at real positions, and the residual steps of each of the L layers.

    The model is in evaluation mode, and its own mode is restored after every batch. batches: int tensors (B, N),
    padding 0. A model in half precision is widened to float32 (a copy). Raises ConfigError if the model is not made of
    such steps; see `models.recommender.Recommender`.

    Example:
        >>> from models.registry import build, configure
        >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8, num_layers=2))
        >>> model.initialise(seed=0)
        >>> [(mask, layers)] = residual_steps(model, [torch.tensor([[0, 0, 3, 1], [5, 6, 7, 8]])])
        >>> [[step.name for step in steps] for steps in layers]
        [['attention', 'feed-forward'], ['attention', 'feed-forward']]
        >>> layers[0][0].update.shape
        torch.Size([2, 4, 8])
    """
    if not hasattr(model, "residual_steps"):
        raise ConfigError(
            f"{type(model).__name__} has no method residual_steps, so the parts of its layers cannot be measured"
        )
    model = widened(model)
    training = model.training
    for batch in batches:
        model.eval()
        try:
            with torch.inference_mode():
                moved = batch.to(next(model.parameters()).device)
                found = model.trace(moved).mask, list(model.residual_steps(moved))
        finally:
            model.train(training)
        yield found
