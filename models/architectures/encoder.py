"""What all models made of blocks share: item and position embeddings, and a stack of blocks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from models.errors import ConfigError
from models.layers.add_norm import NORM_EPS, ResidualStep
from models.layers.attention import Mixer
from models.layers.dropout import Dropout, MaskSource
from models.layers.feed_forward import FeedForward
from models.layers.packing import Packing, all_positions, real_positions
from models.layers.parts import Part, count_parameters
from models.recommender import Recommender, RecommenderConfig, Trace


@dataclass(frozen=True)
class EncoderConfig(RecommenderConfig):
    """The configuration that all models made of blocks share; the defaults are the published ones."""

    num_layers: int = 2  # L

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_counts("num_layers")


@dataclass(frozen=True)
class AttentionConfig(EncoderConfig):
    """The configuration that all models with attention share; the defaults are the published ones."""

    num_heads: int = 1  # H

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_counts("num_heads")
        if self.hidden_size % self.num_heads:
            raise ConfigError(
                f"num_heads must divide hidden_size: {self.num_heads} heads do not divide {self.hidden_size}; "
                f"choose one of {[h for h in range(1, self.hidden_size + 1) if self.hidden_size % h == 0]}"
            )


class Block(nn.Module):
    """A layer that mixes positions, followed by the feed-forward network."""

    def __init__(self, mixer: Mixer, feed_forward: FeedForward) -> None:
        super().__init__()
        self.mixer = mixer
        self.feed_forward = feed_forward

    def forward(self, x: Tensor, packing: Packing) -> tuple[Tensor, list[Tensor]]:
        """Return the output rows, in the shape of the input rows x, and the attention of each group of the packing."""
        mixed, attention = self.mixer(x, packing)
        return self.feed_forward(mixed), attention

    def last(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the output at the last position only, (B, D), from x (B, N, D) and its mask (B, 1, N)."""
        # x[:, -1] is taken once, because its gradient fills a (B, N, D) tensor with zeros each time.
        return self.feed_forward(self.mixer.last(x, x[:, -1], mask))


class Encoder(Recommender):
    """Item and position embeddings, followed by L blocks.

    Subclasses define the model's name, its configuration, and the mixing layer of its blocks.
    """

    # True if padding cannot change the output at a real position, so that training may skip it.
    inert_padding: ClassVar[bool]
    causal: ClassVar[bool] = True  # whether attention is forbidden to look ahead
    positioned: ClassVar[bool] = True  # whether position embeddings are added

    def __init__(self, config: EncoderConfig, mixer: Callable[[MaskSource], Mixer]) -> None:
        super().__init__(config)
        size, p = config.hidden_size, config.dropout
        self.positions = nn.Embedding(config.max_len, size) if self.positioned else None
        self.norm = nn.LayerNorm(size, eps=NORM_EPS)
        self.dropout = Dropout(p, self.masks)
        self.blocks = nn.ModuleList(
            Block(mixer(self.masks), FeedForward(size, p, self.masks)) for _ in range(config.num_layers)
        )

    def prepare(self, input_ids: Tensor) -> Tensor:
        """Return the items (B, N) at the positions of windows (B, N); they differ if the model adds a mask token."""
        return input_ids

    def encode(self, input_ids: Tensor, users: Tensor | None = None) -> Tensor:
        """Return the last block's output at the last position, (B, D), for windows (B, N); the fast path."""
        packing = self.pack(self.prepare(input_ids))
        x, last = self.up_to_last_block(packing)
        return last.last(packing.to_grid(x), packing.last_mask)

    def pack(self, input_ids: Tensor) -> Packing:
        """Return the positions of windows (B, N) that are computed: only the real ones if padding is inert."""
        # Skipping padding is faster on a CPU; on a GPU the packing costs more than it saves.
        real_only = self.inert_padding and input_ids.device.type == "cpu"
        return (real_positions if real_only else all_positions)(input_ids, self.causal)

    def up_to_last_block(self, packing: Packing) -> tuple[Tensor, Block]:
        """Return the input of the last block, in the packing's rows, and that block."""
        *blocks, last = cast(list[Block], self.blocks)
        x = self.embed(packing)
        for block in blocks:
            x, _ = block(x, packing)
        return x, last

    def trace(self, input_ids: Tensor, causal: bool = True) -> Trace:
        """Return hidden states and attention of every layer, for sequences (B, n) as `window` takes them.

        `causal=False` drops the causal mask, so that the trained weights fulfil the conditions of Theorem 1 of Shin et
        al., AAAI 2024.
        """
        input_ids = self.prepare(self.window(input_ids))
        packing = all_positions(input_ids, causal and self.causal)
        hidden, attentions = [self.embed(packing)], []
        for block in self.blocks:
            x, groups = block(hidden[-1], packing)
            hidden.append(x)
            attentions += [torch.cat(groups)] if groups else []
        return Trace(hidden, attentions or None, input_ids > 0)

    def layer_functions(self, input_ids: Tensor, causal: bool = True) -> list[Callable[[Tensor], Tensor]]:
        """See Recommender; the layers are the blocks, with the mask of these sequences."""
        packing = all_positions(self.prepare(self.window(input_ids)), causal and self.causal)
        return [partial(_output, block, packing) for block in cast(list[Block], self.blocks)]

    def residual_steps(self, input_ids: Tensor, causal: bool = True) -> Iterator[list[ResidualStep]]:
        """See Recommender."""
        packing = all_positions(self.prepare(self.window(input_ids)), causal and self.causal)
        x = self.embed(packing)
        for block in cast(list[Block], self.blocks):
            mixing = block.mixer.steps(x, packing)
            feed_forward = block.feed_forward.step(torch.stack([step.output for step in mixing]).sum(0))
            yield [*mixing, feed_forward]
            x = feed_forward.output

    def value_output(self) -> list[Tensor]:
        """See Recommender."""
        found = [block.mixer.value_output() for block in cast(list[Block], self.blocks)]
        return [matrices for matrices in found if matrices is not None] or super().value_output()

    def embed(self, packing: Packing) -> Tensor:
        """Return dropout(LayerNorm(item + position)), the input of the first block, for the packing's rows."""
        x = self.items(packing.items)
        return self.dropout(self.norm(x if self.positions is None else x + self.positions(packing.positions)))

    def embedding_parts(self) -> tuple[Part, ...]:
        """Return the steps before the first block."""
        rows, size = self.items.weight.shape
        table = self.positions
        position = "+ position embedding"
        return (
            Part("item embedding", f"{rows:,} × {size}", count_parameters(self.items)),
            *([] if table is None else [Part(position, f"{len(table.weight)} × {size}", count_parameters(table))]),
            Part("LayerNorm, dropout", "", count_parameters(self.norm)),
        )


def _output(block: Block, packing: Packing, x: Tensor) -> Tensor:
    return block(x, packing)[0]
