"""The frame that all encoder models share: embeddings, a stack of blocks, scores, and the trace for analysis."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.dropout import Dropout, MaskSource
from models.errors import ConfigError
from models.layers import NORM_EPS, FeedForward, Mixer
from models.layout import Layout, all_positions, real_positions

INITIAL_STD = 0.02  # of every Linear and Embedding weight, as published


@dataclass(frozen=True)
class EncoderConfig:
    """What every encoder model is configured by; the defaults are the published ones.

    Raises ConfigError where a field is outside its range.
    """

    num_items: int
    max_len: int = 50  # N, positions in a window
    hidden_size: int = 64  # D
    num_layers: int = 2  # L
    num_heads: int = 1  # H
    dropout: float = 0.5

    def __post_init__(self) -> None:
        for field in ("num_items", "max_len", "hidden_size", "num_layers", "num_heads"):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{field} must be a whole number of at least 1, got {value!r}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be at least 0 and below 1, got {self.dropout}")
        if self.hidden_size % self.num_heads:
            raise ConfigError(
                f"num_heads must divide hidden_size: {self.num_heads} heads do not divide {self.hidden_size}; "
                f"choose one of {[h for h in range(1, self.hidden_size + 1) if self.hidden_size % h == 0]}"
            )


@dataclass(frozen=True)
class Trace:
    """Everything a model computes on the way, for analysis."""

    hidden: list[Tensor]  # L + 1 of (B, N, D): the embedding output, then the output of each block
    attention: list[Tensor]  # L of (B, H, N, N): probabilities before dropout, rows are queries
    mask: Tensor  # (B, N) bool, True where the position holds a real item


class Block(nn.Module):
    """A mixing layer over positions, then the feed-forward network."""

    def __init__(self, mixer: Mixer, feed_forward: FeedForward) -> None:
        super().__init__()
        self.mixer = mixer
        self.feed_forward = feed_forward

    def forward(self, x: Tensor, layout: Layout) -> tuple[Tensor, list[Tensor]]:
        """Return the output rows, in the shape of the input rows x, and the attention of the layout's groups."""
        mixed, attention = self.mixer(x, layout)
        return self.feed_forward(mixed), attention

    def last(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the output at the last position alone, (B, D), from x (B, N, D) and its mask (B, 1, N)."""
        # Taken once: the gradient of taking it is a (B, N, D) of zeros each time.
        return self.feed_forward(self.mixer.last(x, x[:, -1], mask))


class Encoder(nn.Module):
    """A sequential recommender: item and position embeddings, L blocks, scores by dot product with the items.

    Subclasses name the model, its configuration, and the mixing layer of its blocks.
    """

    name: ClassVar[str]
    config_type: ClassVar[type[EncoderConfig]]
    published_loss: ClassVar[str]
    # True if padding positions cannot change the output of a real one, so that training may leave them out.
    inert_padding: ClassVar[bool]

    def __init__(self, config: EncoderConfig, mixer: Callable[[MaskSource], Mixer]) -> None:
        super().__init__()
        self.config = config
        self.masks = MaskSource()
        size, p = config.hidden_size, config.dropout
        self.items = nn.Embedding(config.num_items + 1, size, padding_idx=0)
        self.positions = nn.Embedding(config.max_len, size)
        self.norm = nn.LayerNorm(size, eps=NORM_EPS)
        self.dropout = Dropout(p, self.masks)
        self.blocks = nn.ModuleList(
            Block(mixer(self.masks), FeedForward(size, p, self.masks)) for _ in range(config.num_layers)
        )
        # Filled in by models.checkpoint.load: what the file says about the model, and its probe sequences.
        self.checkpoint: dict[str, Any] | None = None
        self.probe: Any = None

    def initialise(self, seed: int) -> None:
        """Draw all weights as published, from the seed alone: N(0, 0.02^2), biases 0, LayerNorm 1 and 0.

        The padding row of the item table is drawn as well, as in the published code; parameters of other kinds
        (BSARec's square root of beta) are N(0, 1).
        """
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("norm.weight"):
                    parameter.fill_(1)
                elif name.endswith("bias"):
                    parameter.zero_()
                else:
                    std = INITIAL_STD if name.endswith("weight") else 1.0
                    parameter.copy_(std * torch.randn(parameter.shape, generator=generator))

    def window(self, input_ids: Tensor) -> Tensor:
        """Bring sequences (B, any length) to the model's window (B, N): left padding with 0, or the last N items.

        Raises ValueError if the shape is not (B, n) or an id lies outside 0..num_items.
        """
        if input_ids.ndim != 2:
            raise ValueError(f"input_ids must be (sequences, positions), got shape {tuple(input_ids.shape)}")
        if input_ids.numel() and not 0 <= int(input_ids.min()) <= int(input_ids.max()) <= self.config.num_items:
            raise ValueError(
                f"item ids must lie in 0..{self.config.num_items} (0 is padding), "
                f"got {int(input_ids.min())}..{int(input_ids.max())}"
            )
        length = self.config.max_len
        return functional.pad(input_ids, (max(length - input_ids.shape[1], 0), 0))[:, -length:]

    def forward(self, input_ids: Tensor) -> Tensor:
        """Score every item as the next one: (B, N) -> (B, num_items + 1); column 0 is the padding item."""
        return self.encode(self.window(input_ids)) @ self.items.weight.T

    def encode(self, input_ids: Tensor) -> Tensor:
        """Return the last block's output at the last position, (B, D), from windows (B, N); the fast path."""
        # Leaving padding out pays on a CPU; on a GPU the cutting costs more than it saves.
        real_only = self.inert_padding and input_ids.device.type == "cpu"
        layout = real_positions(input_ids) if real_only else all_positions(input_ids)
        *blocks, last = cast(list[Block], self.blocks)
        x = self._embed(layout)
        for block in blocks:
            x, _ = block(x, layout)
        return last.last(layout.to_grid(x), layout.last_mask)

    def trace(self, input_ids: Tensor, causal: bool = True) -> Trace:
        """Return hidden states and attention of every layer, for sequences (B, n) as `window` takes them.

        `causal=False` drops the causal mask, which puts the trained weights into the setting of Theorem 1.
        """
        input_ids = self.window(input_ids)
        layout = all_positions(input_ids, causal)
        hidden, attentions = [self._embed(layout)], []
        for block in self.blocks:
            x, groups = block(hidden[-1], layout)
            hidden.append(x)
            attentions.append(torch.cat(groups))
        return Trace(hidden, attentions, input_ids > 0)

    def _embed(self, layout: Layout) -> Tensor:
        """Return the embedding output: item plus position, LayerNorm, dropout; padding included."""
        return self.dropout(self.norm(self.items(layout.items) + self.positions(layout.positions)))
