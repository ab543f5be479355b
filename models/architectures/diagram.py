"""The steps of a model made of blocks, as its layers describe them, for drawings and for counting parameters."""

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
        title: Title of the model.
        embedding: Steps before the first block.
        branches: Parallel branches of each block; their outputs are added.
        feed_forward: Steps of each block after its branches.
        num_layers: Number of blocks.
        output: The last step.
    """

    title: str
    embedding: tuple[Part, ...]
    branches: tuple[Branch, ...]
    feed_forward: tuple[Part, ...]
    num_layers: int
    output: Part

    def table(self) -> "DataFrame":
        """Return a table with one row per step.

        Columns: stage, branch (from 1, 0 outside of branches), step, detail, times (how often the step occurs), and
        parameters (the number of trained parameters of all occurrences).
        """
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
    """Return the diagram of a model made of blocks; raises ConfigError for other models.

    >>> from models.registry import build, configure
    >>> model = build(configure("sasrec", num_items=100, max_len=50, hidden_size=64, num_layers=2))
    >>> diagram = diagram_of(model)
    >>> [part.name for branch in diagram.branches for part in branch.parts]
    ['self-attention', 'add, LayerNorm']
    >>> table = diagram.table()
    >>> table.parameters[table.step == "self-attention"].item()  # two blocks of four projections with biases
    33280
    >>> int(table.parameters.sum()) == sum(weight.numel() for weight in model.parameters())
    True
    """
    if not isinstance(model, Encoder):
        raise ConfigError(f"{model.title} is not made of blocks, so it has no diagram")
    block = cast(Block, model.blocks[0])
    return Diagram(
        title=model.title,
        embedding=model.embedding_parts(),
        branches=block.mixer.branches(),
        feed_forward=block.parts(),
        num_layers=len(model.blocks),
        output=model.output_part(),
    )
