"""What all models made of blocks share: item and position embeddings, and a stack of blocks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from models.errors import ConfigError
from models.layers import NORM_EPS, fused
from models.layers.add_norm import ResidualStep
from models.layers.attention import Mixer
from models.layers.dropout import Dropout, MaskSource
from models.layers.feed_forward import FeedForward
from models.layers.packing import Packing, all_positions, real_positions
from models.layers.parts import Part, count_parameters
from models.layers.remedies import Remedy
from models.recommender import LATER, Recommender, RecommenderConfig, Trace


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


@dataclass(frozen=True)
class RemediedConfig(AttentionConfig):
    """The configuration of models whose attention can be given a remedy against oversmoothing."""

    # none, attnscale, featscale, contranorm, gfsa, residual_scale or pre_norm; options as in gfsa:order=5
    remedy: str = field(default="none", metadata=LATER)

    def __post_init__(self) -> None:
        super().__post_init__()
        Remedy.parse(self.remedy)


class Block(nn.Module):
    """A layer that mixes positions, followed by the feed-forward network, and by what a remedy adds."""

    def __init__(self, mixer: Mixer, feed_forward: FeedForward, remedy: Remedy, is_last: bool) -> None:
        super().__init__()
        size = feed_forward.inner.in_features
        self.mixer = mixer
        self.feed_forward = feed_forward
        self.contrast = remedy.for_block(size)
        # Layers that normalise their input leave the sum of all blocks as it is; it is normalised once, at the end.
        self.final_norm = nn.LayerNorm(size, eps=NORM_EPS) if remedy.is_pre_norm and is_last else None

    def forward(self, x: Tensor, packing: Packing) -> tuple[Tensor, list[Tensor]]:
        """Return the output rows, in the shape of the input rows x, and the attention of each group of the packing."""
        mixed, attention = self.mixer(x, packing)
        return self.end(self.feed_forward(mixed), packing), attention

    def end(self, x: Tensor, packing: Packing) -> Tensor:
        """Return the rows x of the feed-forward network, at all positions of the packing, after the block's end."""
        return self._normalised(x if self.contrast is None else packing.by_group(x, self.contrast))

    def steps(self, x: Tensor, packing: Packing) -> list[ResidualStep]:
        """Return the residual connections of the block at x (B, N, D), taken apart; packing: of all positions."""
        mixing = self.mixer.steps(x, packing)
        steps = [*mixing, self.feed_forward.step(torch.stack([step.output for step in mixing]).sum(0))]
        if self.final_norm is not None:
            steps[-1] = replace(steps[-1], norm=self.final_norm)
        if self.contrast is not None:
            repelled = packing.by_group(steps[-1].output, self.contrast.repulsion)
            steps.append(ResidualStep("ContraNorm", steps[-1].output, repelled, self.contrast.norm))
        return steps

    def last(self, x: Tensor, packing: Packing, at: Tensor | None = None) -> Tensor:
        """Return the output at one position of each sequence only, (B, D), from the input rows x.

        at: (B,), the positions; they must see the same keys as the last one. None for the last positions.
        """
        if self.contrast is not None:
            return self._one(packing.to_grid(self(x, packing)[0]), at)
        if self.mixer.needs_all_positions:
            mixed = self._one(packing.to_grid(self.mixer(x, packing)[0]), at)
        else:
            grid = packing.to_grid(x)
            grid, one = fused.with_last(grid) if at is None else (grid, self._one(grid, at))
            mixed = self.mixer.last(grid, one, packing.last_mask)
        return self._normalised(self.feed_forward(mixed))

    def some(self, x: Tensor, packing: Packing, asked: Tensor) -> Tensor:
        """Return the output of some rows only, (R, D), from the input rows x (..., D); asked: (R,) their numbers."""
        if self.contrast is not None:
            return self(x, packing)[0].flatten(end_dim=-2)[asked]
        return self._normalised(self.feed_forward(self.mixer(x, packing)[0].flatten(end_dim=-2)[asked]))

    def parts(self) -> tuple[Part, ...]:
        """Return the steps after the mixing layer, except for the final norm of the last block."""
        contrast = () if self.contrast is None else (Part("ContraNorm", "", count_parameters(self.contrast)),)
        return self.feed_forward.parts() + contrast

    def _normalised(self, x: Tensor) -> Tensor:
        return x if self.final_norm is None else self.final_norm(x)

    @staticmethod
    def _one(grid: Tensor, at: Tensor | None) -> Tensor:
        # Taken once, because the gradient of each fills a (B, N, D) tensor with zeros.
        return grid[:, -1] if at is None else grid[torch.arange(len(grid), device=grid.device), at]


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
        size, p, count = config.hidden_size, config.dropout, config.num_layers
        remedy = Remedy.parse(config.remedy) if isinstance(config, RemediedConfig) else Remedy()
        self.positions = nn.Embedding(config.max_len, size) if self.positioned else None
        self.norm = nn.LayerNorm(size, eps=NORM_EPS)
        self.dropout = Dropout(p, self.masks)
        self.blocks = nn.ModuleList(
            Block(
                mixer(self.masks), FeedForward(size, p, self.masks, remedy=remedy), remedy, is_last=layer == count - 1
            )
            for layer in range(count)
        )

    def draw(self, name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """See Recommender; the trained weights of remedies are offsets and start at 0, without a draw."""
        return torch.zeros(shape) if name.endswith("_offset") else super().draw(name, shape, generator)

    def prepare(self, input_ids: Tensor) -> Tensor:
        """Return the items (B, N) at the positions of windows (B, N); they differ if the model adds a mask token."""
        return input_ids

    def encode(self, input_ids: Tensor, users: Tensor | None = None) -> Tensor:
        """Return the last block's output at the last position, (B, D), for windows (B, N); the fast path."""
        packing = self.pack(self.prepare(input_ids))
        x, last = self.up_to_last_block(packing)
        return last.last(x, packing)

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
            steps = block.steps(x, packing)
            yield steps
            x = steps[-1].output

    def value_output(self) -> list[Tensor]:
        """See Recommender."""
        found = [block.mixer.value_output() for block in cast(list[Block], self.blocks)]
        return [matrices for matrices in found if matrices is not None] or super().value_output()

    def embed(self, packing: Packing) -> Tensor:
        """Return dropout(LayerNorm(item + position)), the input of the first block, for the packing's rows."""
        mask = self.dropout.coins((*packing.items.shape, self.norm.normalized_shape[0]), packing.items.device)
        end = fused.End(self.norm.weight, self.norm.bias, self.norm.eps, mask)
        table = None if self.positions is None else self.positions.weight
        return fused.embed(self.items.weight, table, end, packing.items, packing.positions)

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

    def output_part(self) -> Part:
        """Return the step after the last block."""
        norm = cast(Block, self.blocks[-1]).final_norm
        if norm is None:
            return Part("scores of all items", "product with embeddings")
        return Part("LayerNorm, scores of all items", "product with embeddings", count_parameters(norm))


def _output(block: Block, packing: Packing, x: Tensor) -> Tensor:
    return block(x, packing)[0]
