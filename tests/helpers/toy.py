"""A small sound recommender that is none of ours, and what its subclasses break."""

from types import SimpleNamespace

import torch
from torch import Tensor, nn

ITEMS, N, D = 40, 8, 6


class Toy(nn.Module):
    """Two layers of x + A x W, with A the mean over the items so far, weighted by how recent they are."""

    promises = ("causal", "padding_independent")

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.config = SimpleNamespace(max_len=N, num_items=ITEMS)
        self.items = nn.Embedding(ITEMS + 1, D, padding_idx=0)
        self.values = nn.ModuleList(nn.Linear(D, D, bias=False) for _ in range(2))
        self.recency = nn.Parameter(torch.randn(N))

    def attention(self, real: Tensor) -> Tensor:
        delay = torch.arange(N)[:, None] - torch.arange(N)
        allowed = (delay >= 0) & (real[:, None, :] | torch.eye(N, dtype=torch.bool))
        scores = self.recency[delay.clamp(min=0)].expand(len(real), -1, -1)
        return scores.masked_fill(~allowed, -torch.inf).softmax(-1)[:, None]

    def mix(self, layer: int, x: Tensor, maps: Tensor) -> Tensor:
        return x + maps[:, 0] @ self.values[layer](x)

    def layer_functions(self, windows: Tensor) -> list:
        maps = self.attention(windows > 0)
        return [lambda x, layer=layer: self.mix(layer, x, maps) for layer in range(2)]

    def trace(self, windows: Tensor) -> SimpleNamespace:
        hidden = [self.items(windows)]
        for layer in self.layer_functions(windows):
            hidden.append(layer(hidden[-1]))
        return SimpleNamespace(hidden=hidden, attention=[self.attention(windows > 0)] * 2, mask=windows > 0)

    def forward(self, windows: Tensor) -> Tensor:
        return self.trace(windows).hidden[-1][:, -1] @ self.items.weight.T


def histories(users: int = 30) -> Tensor:
    """Windows (users, N) of random items, a third of them with padding on the left."""
    generator = torch.Generator().manual_seed(1)
    windows = torch.randint(1, ITEMS + 1, (users, N), generator=generator)
    windows[::3, : N // 2] = 0
    return windows
