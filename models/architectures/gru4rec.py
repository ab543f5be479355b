"""GRU4Rec: a recurrent network over the window (Tan et al., DLRS 2016), as published by BSARec's authors."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from models.layers.dropout import Dropout
from models.recommender import Recommender, RecommenderConfig, Trace


@dataclass(frozen=True)
class GRU4RecConfig(RecommenderConfig):
    """Configuration of GRU4Rec; the defaults are the published ones."""

    num_layers: int = 2  # L
    gru_hidden_size: int = 64  # G

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_counts("num_layers", "gru_hidden_size")


class GRU4Rec(Recommender):
    """GRU layers without biases on the item embeddings, and a linear layer back to the embedding size.

    There are no position embeddings and no masks: the GRU processes the padding before the first item.
    """

    name, title = "gru4rec", "GRU4Rec"
    config_type = GRU4RecConfig
    published_loss = "bpr"
    capturable = True
    promises = ("causal",)

    def __init__(self, config: GRU4RecConfig) -> None:
        super().__init__(config)
        self.dropout = Dropout(config.dropout, self.masks)
        self.layers = nn.ModuleList(
            nn.GRU(size, config.gru_hidden_size, bias=False, batch_first=True)
            for size in [config.hidden_size, *[config.gru_hidden_size] * (config.num_layers - 1)]
        )
        self.output = nn.Linear(config.gru_hidden_size, config.hidden_size)

    def draw(self, name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """See Recommender; the weights of the GRU are uniform.

        In the first layer they lie within sqrt(6 / (rows + columns)) (Glorot and Bengio, AISTATS 2010). In the other
        layers they lie within 1 / sqrt(G), PyTorch's default, because the published code initialises only the first.
        """
        if not name.startswith("layers."):
            return super().draw(name, shape, generator)
        bound = math.sqrt(6 / sum(shape)) if name.startswith("layers.0.") else self.config.gru_hidden_size**-0.5
        return torch.empty(shape).uniform_(-bound, bound, generator=generator)

    def encode(self, input_ids: Tensor, users: Tensor | None = None) -> Tensor:
        """See Recommender."""
        x = self.dropout(self.items(input_ids))
        for layer in self.layers:
            x, _ = layer(x)
        return self.output(x[:, -1])

    def trace(self, input_ids: Tensor, causal: bool = True) -> Trace:
        """See Recommender; a recurrent network is always causal.

        hidden holds the item embeddings, the states (B, N, G) of each GRU layer except the last, and the last layer's
        states after the linear layer, (B, N, D).
        """
        input_ids = self.window(input_ids)
        hidden = [self.dropout(self.items(input_ids))]
        for layer in self.layer_functions(input_ids):
            hidden.append(layer(hidden[-1]))
        return Trace(hidden, None, input_ids > 0)

    def layer_functions(self, input_ids: Tensor, causal: bool = True) -> list[Callable[[Tensor], Tensor]]:
        """See Recommender; the linear layer is part of the last one."""
        *layers, last = (partial(_states, layer) for layer in self.layers)
        return [*layers, lambda x: self.output(last(x))]


def _states(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x)[0]
