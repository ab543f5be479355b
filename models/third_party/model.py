"""Base classes of third-party models: their own conventions inside, our interface outside."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from models.architectures.encoder import AttentionConfig
from models.errors import ConfigError
from models.recommender import Recommender, RecommenderConfig, Trace
from models.third_party.blocks import ACTIVATIONS, Attention, FeedForward, PostNormBlock
from models.third_party.right_padding import RightPadded


@dataclass(frozen=True)
class ThirdPartyConfig(AttentionConfig):
    """The configuration of a third-party model made of blocks; it is not trained, so dropout is 0."""

    dropout: float = 0.0
    inner_size: int = 64  # of the feed-forward network
    activation: str = "relu"
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_counts("inner_size")
        if self.activation not in ACTIVATIONS:
            raise ConfigError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")
        if self.norm_eps <= 0:
            raise ConfigError(f"norm_eps must be above 0, got {self.norm_eps}")


def attention_blocks(
    config: ThirdPartyConfig, block: Callable[[Attention, FeedForward, float], nn.Module], projected: bool = True
) -> list[nn.Module]:
    """Return the blocks of a model, all of one kind; `projected` says whether attention has an output projection."""
    return [
        block(
            Attention(config.hidden_size, config.num_heads, projected),
            FeedForward(config.hidden_size, config.inner_size, config.activation),
            config.norm_eps,
        )
        for _ in range(config.num_layers)
    ]


class ThirdPartyModel(Recommender):
    """A third-party model: takes our windows, computes as its authors do, returns states at our positions.

    Subclasses define `run`. With `right_padded`, `run` gets sequences padded on the right, and its results are moved to
    the positions of our windows (models.third_party.right_padding). With `to_longest` the sequences are padded to the
    longest of the batch, not to N. Items are scored with the last hidden state, which includes any LayerNorm or layer
    that follows the last block of the original.
    """

    published_loss = "ce"
    right_padded: ClassVar[bool] = False
    to_longest: ClassVar[bool] = False

    def prepare(self, windows: Tensor) -> Tensor:
        """Return the items (B, N) at the positions of windows (B, N); they differ if the model adds a mask token."""
        return windows

    @abstractmethod
    def run(self, items: Tensor, lengths: Tensor, causal: bool) -> tuple[list[Tensor], list[Tensor]]:
        """Return L + 1 hidden states (B, M, D) and L attention maps (B, H, M, M), or an empty list of maps.

        items: (B, M) as in the original, but with 0 for padding; lengths: (B,) number of items.
        """

    def encode(self, input_ids: Tensor, users: Tensor | None = None) -> Tensor:
        """See Recommender."""
        return self.trace(input_ids).hidden[-1][:, -1]

    def trace(self, input_ids: Tensor, causal: bool = True) -> Trace:
        """See Recommender."""
        windows = self.prepare(self.window(input_ids))
        turned = RightPadded.of(windows, self.to_longest)
        if not self.right_padded:
            hidden, attention = self.run(windows, turned.lengths, causal)
            return Trace(hidden, attention or None, windows > 0)
        hidden, attention = self.run(turned.items, turned.lengths, causal)
        return Trace([turned.states(x) for x in hidden], [turned.weights(a) for a in attention] or None, windows > 0)


class ThirdPartyEncoder(ThirdPartyModel):
    """A model made of blocks; subclasses define the input of the first block, and the mask of attention."""

    def __init__(self, config: RecommenderConfig, positions: int, blocks: list[nn.Module]) -> None:
        super().__init__(config)
        self.positions = nn.Embedding(positions, config.hidden_size)
        self.blocks = nn.ModuleList(blocks)

    @abstractmethod
    def embed(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the input of the first block, (B, M, D)."""

    @abstractmethod
    def mask(self, items: Tensor, causal: bool) -> Tensor:
        """Return what is added to attention scores; it broadcasts to (B, H, M, M)."""

    def after_block(self, x: Tensor, items: Tensor) -> Tensor:
        """Return the input of the next block (B, M, D), from the output of a block."""
        return x

    def finish(self, x: Tensor, items: Tensor) -> Tensor:
        """Return the states with which items are scored, (B, M, D), from the output of the last block."""
        return x

    def value_output(self) -> list[Tensor]:
        """See Recommender."""
        blocks = [block for block in self.blocks if isinstance(block, PostNormBlock)]
        found = [block.value_output() for block in blocks]
        return [matrices for matrices in found if matrices is not None] or super().value_output()

    def run(self, items: Tensor, lengths: Tensor, causal: bool) -> tuple[list[Tensor], list[Tensor]]:
        """See ThirdPartyModel."""
        mask = self.mask(items, causal)
        hidden, attentions = [self.embed(items, lengths)], []
        for block in self.blocks:
            x, attention = block(hidden[-1], mask)
            hidden.append(self.after_block(x, items))
            attentions += [] if attention is None else [attention]
        hidden[-1] = self.finish(hidden[-1], items)
        return hidden, attentions
