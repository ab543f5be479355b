"""How layers describe themselves: their steps, and the number of trained parameters of each step.

Every layer describes itself; `models.architectures.diagram` puts the descriptions of a model together.
"""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Part:
    """A step of the computation.

    Attributes:
        name: Its name.
        detail: Its size in words.
        parameters: Its number of trained parameters (in one block).
        adds_input: Whether it adds what entered its branch: the end of a residual connection.
    """

    name: str
    detail: str = ""
    parameters: int = 0
    adds_input: bool = False


@dataclass(frozen=True)
class Branch:
    """Consecutive steps on the block's input; `weight` is the factor of their output in words, "" for 1."""

    parts: tuple[Part, ...]
    weight: str = ""


def count_parameters(*modules: nn.Module) -> int:
    """Return the number of trained parameters of modules that share none.

    >>> count_parameters(nn.Linear(3, 4))  # 12 weights and 4 biases
    16
    """
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def heads_text(number: int) -> str:
    """Return a number of attention heads as text.

    >>> heads_text(1), heads_text(2)
    ('1 head', '2 heads')
    """
    return f"{number} head{'s' if number > 1 else ''}"
