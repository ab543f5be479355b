"""Train an architecture of your own by name.

    python -m models.train --adapter examples/own_architecture.py --model mean-rec --dataset synthetic --out mine.pt
    python -m models.evaluate mine.pt --adapter examples/own_architecture.py
    python -m spectral.smoothing mine.pt --adapter examples/own_architecture.py

The file is run because it is named, in every command; a checkpoint never runs code.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

import models
from models.recommender import Recommender, RecommenderConfig, Trace


@dataclass(frozen=True)
class MeanRecConfig(RecommenderConfig):
    """Configuration of MeanRec; its fields are options of the command: `--set recency=0.9`."""

    recency: float = 0.8  # weight of an item relative to that of the next one


@models.register("mean-rec")
class MeanRec(Recommender):
    """The mean of the items so far, recent ones weighted more, and a linear layer."""

    title = "MeanRec"
    config_type = MeanRecConfig
    published_loss = "ce"

    def __init__(self, config: MeanRecConfig) -> None:
        super().__init__(config)
        self.linear = nn.Linear(config.hidden_size, config.hidden_size)

    def encode(self, input_ids: Tensor, users: Tensor | None = None) -> Tensor:
        """See Recommender."""
        return self.trace(input_ids).hidden[-1][:, -1]

    def trace(self, input_ids: Tensor, causal: bool = True) -> Trace:
        """See Recommender."""
        windows = self.window(input_ids)
        place = torch.arange(windows.shape[1], device=windows.device)
        delay = (place[:, None] - place).clamp(min=0)
        seen = (windows > 0)[:, None, :] & (place[:, None] >= place)
        weight = self.config.recency**delay * seen  # (B, N, N)
        x = self.items(windows)
        mean = weight @ x / weight.sum(-1, keepdim=True).clamp(min=1e-6)
        return Trace([x, self.linear(mean)], None, windows > 0)
