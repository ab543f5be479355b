"""Measure a recommender made of a Hugging Face model: a GPT-2 whose tokens are items.

    python examples/hugging_face.py mine          # writes a folder with initial weights, to try
    python -m spectral.smoothing mine --adapter examples/hugging_face.py:load --out pictures
    python -m models.evaluate mine --adapter examples/hugging_face.py:load --data synthetic:items=60

Its output has `hidden_states` and `attentions`, so no modules need to be named. A model of texts is simpler: return
`(AutoModel.from_pretrained(path, attn_implementation="eager"), tokenizer(texts, padding=True, return_tensors="pt"))`.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model


class ItemGPT(nn.Module):
    """A GPT-2 over windows of items (B, N), padded with 0 on the left."""

    def __init__(self, gpt: GPT2Model) -> None:
        super().__init__()
        self.gpt = gpt

    @property
    def items(self) -> nn.Embedding:
        """The table of items; measures of histories as signals use it."""
        return self.gpt.wte

    def forward(self, windows: Tensor) -> Any:
        """Return the output of the model, whose `hidden_states` and `attentions` are captured."""
        real = windows > 0
        return self.gpt(
            input_ids=windows,
            attention_mask=real.long(),
            position_ids=(real.cumsum(1) - 1).clamp(min=0),  # the first item has position 0, wherever it is
            output_hidden_states=True,
            output_attentions=True,
        )

    def scores(self, windows: Tensor) -> Tensor:
        """Return the score of every item as the next one, (B, items + 1)."""
        return self(windows).last_hidden_state[:, -1] @ self.gpt.wte.weight.T


def load(folder: Path) -> tuple[ItemGPT, Tensor]:
    """Return the model of a folder that `save` wrote, with its windows."""
    gpt = GPT2Model.from_pretrained(folder, attn_implementation="eager")  # other kinds never compute the map
    return ItemGPT(gpt), torch.load(folder / "windows.pt", weights_only=True)


def save(gpt: GPT2Model, windows: Tensor, folder: Path) -> None:
    """Write a folder for `load`."""
    gpt.save_pretrained(folder)
    torch.save(windows, folder / "windows.pt")


if __name__ == "__main__":
    from models.datasets import load as load_sequences

    torch.manual_seed(0)
    sequences = load_sequences("synthetic:items=60")
    settings = GPT2Config(vocab_size=sequences.num_items + 1, n_positions=20, n_embd=32, n_layer=2, n_head=2)
    save(GPT2Model(settings), torch.from_numpy(sequences.windows("test", 20).inputs), Path(sys.argv[1]))
