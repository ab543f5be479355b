"""What a model made of blocks consists of, read from the model itself: for a drawing, and for counting parameters."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from models.architectures.bsarec import BSARecMixer
from models.architectures.encoder import Block, Encoder
from models.architectures.fearec import BandAttention
from models.errors import ConfigError
from models.layers.attention import Mixer, SelfAttention
from models.layers.frequency import LearnedFilter
from models.recommender import Recommender

if TYPE_CHECKING:
    from pandas import DataFrame

END = "add, LayerNorm"


@dataclass(frozen=True)
class Part:
    """A step of the computation: its name, what sets its size, and how many numbers it trains (in one block)."""

    name: str
    detail: str = ""
    parameters: int = 0


@dataclass(frozen=True)
class Branch:
    """Steps one after the other on the block's input; `weight` is what their output is multiplied by, "" for 1."""

    parts: tuple[Part, ...]
    weight: str = ""


@dataclass(frozen=True)
class Structure:
    """The steps of a model, from the input to the scores.

    Attributes:
        title: Of the model.
        embedding: Steps before the first block.
        branches: Of each block, side by side; their outputs are added.
        feed_forward: Steps of each block behind its branches.
        num_layers: How many blocks there are.
        output: The last step.
    """

    title: str
    embedding: tuple[Part, ...]
    branches: tuple[Branch, ...]
    feed_forward: tuple[Part, ...]
    num_layers: int
    output: Part

    def table(self) -> "DataFrame":
        """Return one row per step: stage, branch, step, detail, the number of times it is there, parameters of all."""
        import pandas as pd

        rows = [
            (stage, branch, part.name, part.detail, times, times * part.parameters)
            for stage, branch, part, times in self._steps()
        ]
        return pd.DataFrame(rows, columns=["stage", "branch", "step", "detail", "times", "parameters"])

    def _steps(self) -> Iterator[tuple[str, int, Part, int]]:
        yield from (("embedding", 0, part, 1) for part in self.embedding)
        for number, branch in enumerate(self.branches, start=1):
            yield from (("block", number, part, self.num_layers) for part in branch.parts)
        yield from (("block", 0, part, self.num_layers) for part in self.feed_forward)
        yield "output", 0, self.output, 1


def structure_of(model: Recommender) -> Structure:
    """Return the structure of a model made of blocks; raises ConfigError for another."""
    if not isinstance(model, Encoder):
        raise ConfigError(f"{model.title} is not made of blocks, so there is no structure of it to draw")
    size, block = model.config.hidden_size, model.blocks[0]
    assert isinstance(block, Block)
    network = block.feed_forward
    inner = network.inner.out_features
    return Structure(
        title=model.title,
        embedding=(
            Part("item embedding", f"{len(model.items.weight):,} × {size}", _count(model.items)),
            Part("+ position embedding", f"{len(model.positions.weight)} × {size}", _count(model.positions)),
            Part("LayerNorm, dropout", "", _count(model.norm)),
        ),
        branches=_branches(block.mixer),
        feed_forward=(
            Part("feed-forward", f"{size} → {inner} → {size}, GELU", _count(network.inner) + _count(network.outer)),
            Part(END, "", _count(network.add_norm)),
        ),
        num_layers=len(model.blocks),
        output=Part("scores of all items", "product with embeddings"),
    )


def _branches(mixer: Mixer) -> tuple[Branch, ...]:
    if isinstance(mixer, BSARecMixer):
        layer = mixer.frequency
        low = Part("low-pass", f"{layer.basis.shape[1]} of {layer.basis.shape[0]} modes")
        high = Part("+ β × the rest", f"β: {layer.beta.numel()}", layer.sqrt_beta.numel())
        frequency = Branch((low, high, Part(END, "", _count(layer.add_norm))), f"α = {mixer.alpha:g}")
        return frequency, Branch(_attention(mixer.attention), f"1 − α = {1 - mixer.alpha:g}")
    if isinstance(mixer, SelfAttention):
        return (Branch(_attention(mixer)),)
    own = _count(mixer) - _count(mixer.add_norm) if isinstance(mixer, LearnedFilter | BandAttention) else 0
    if isinstance(mixer, LearnedFilter):
        frequencies, size, _ = mixer.filter.shape
        steps = Part("learned filter", f"{frequencies} × {size} complex", own)
    elif isinstance(mixer, BandAttention):
        steps = Part("attention, auto-correlation", f"on a band; {_heads(mixer.heads)}", own)
    else:
        raise ConfigError(f"there is no drawing of {type(mixer).__name__}")
    return (Branch((steps, Part(END, "", _count(mixer.add_norm)))),)


def _attention(layer: SelfAttention) -> tuple[Part, ...]:
    own = _count(layer) - _count(layer.add_norm)
    return Part("self-attention", _heads(layer.heads), own), Part(END, "", _count(layer.add_norm))


def _heads(number: int) -> str:
    return f"{number} head{'s' if number > 1 else ''}"


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
