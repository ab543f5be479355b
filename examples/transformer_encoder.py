"""Measure a recommender made of PyTorch's own nn.TransformerEncoder.

    python examples/transformer_encoder.py mine.pt       # writes one with initial weights, to try
    python -m spectral.filter_response mine.pt --adapter examples/transformer_encoder.py:load
    python -m spectral.integrity mine.pt --adapter examples/transformer_encoder.py:load
    python -m models.evaluate mine.pt --adapter examples/transformer_encoder.py:load --data synthetic:items=60

`load` is all that the commands need: it returns the model with windows to measure it on, and the names of the modules
whose outputs are the hidden states and the attention.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from models.adapter import Adapted


class TransformerRecommender(nn.Module):
    """Causal attention over windows of items, padded with 0 on the left."""

    def __init__(self, num_items: int, length: int, size: int = 32, heads: int = 2, layers: int = 2) -> None:
        super().__init__()
        self.settings = {"num_items": num_items, "length": length, "size": size, "heads": heads, "layers": layers}
        self.items = nn.Embedding(num_items + 1, size, padding_idx=0)
        self.positions = nn.Parameter(0.02 * torch.randn(length, size))
        self.norm = nn.LayerNorm(size)
        layer = nn.TransformerEncoderLayer(size, heads, 4 * size, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.heads = heads

    def forward(self, windows: Tensor) -> Tensor:
        """Return the states after the last layer, (B, N, D)."""
        length = windows.shape[1]
        allowed = (windows > 0)[:, None, :] & torch.ones(length, length, device=windows.device).tril().bool()
        allowed |= torch.eye(length, device=windows.device).bool()  # a row without any key would be NaN
        x = self.norm(self.items(windows) + self.positions)
        return self.encoder(x, mask=~allowed.repeat_interleave(self.heads, dim=0))

    def scores(self, windows: Tensor) -> Tensor:
        """Return the score of every item as the next one, (B, items + 1); column 0 is padding."""
        return self(windows)[:, -1] @ self.items.weight.T


def load(checkpoint: Path) -> Adapted:
    """Return the model of a file that `save` wrote, with its windows."""
    content = torch.load(checkpoint, weights_only=True)
    model = TransformerRecommender(**content["settings"])
    model.load_state_dict(content["state_dict"])
    return Adapted(
        model,
        content["windows"],
        hidden=["norm", "encoder.layers.*"],
        attention=["encoder.layers.*.self_attn"],
        promises=("causal", "padding_independent"),
    )


def save(model: TransformerRecommender, windows: Tensor, path: Path) -> None:
    """Write a checkpoint for `load`."""
    torch.save({"settings": model.settings, "state_dict": model.state_dict(), "windows": windows}, path)


if __name__ == "__main__":
    from models.datasets import load as load_sequences

    torch.manual_seed(0)
    sequences = load_sequences("synthetic:items=60")
    windows = torch.from_numpy(sequences.windows("test", 20).inputs)
    save(TransformerRecommender(sequences.num_items, 20), windows, Path(sys.argv[1]))
