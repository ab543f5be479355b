"""The steps of a model made of blocks, as its layers describe them: for a drawing, and for counting parameters."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from models.architectures.encoder import Block, Encoder
from models.errors import ConfigError
from models.layers.parts import Branch, Part
from models.recommender import Recommender

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Diagram:
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


def diagram_of(model: Recommender) -> Diagram:
    """Return the diagram of a model made of blocks; raises ConfigError for another."""
    if not isinstance(model, Encoder):
        raise ConfigError(f"{model.title} is not made of blocks, so there is no structure of it to draw")
    block = cast(Block, model.blocks[0])
    return Diagram(
        title=model.title,
        embedding=model.embedding_parts(),
        branches=block.mixer.branches(),
        feed_forward=block.feed_forward.parts(),
        num_layers=len(model.blocks),
        output=Part("scores of all items", "product with embeddings"),
    )
