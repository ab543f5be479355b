"""How layers describe themselves: the steps that they make, and how many numbers each step trains.

Every layer knows its own; `models.architectures.diagram` puts together those of a model.
"""

from dataclasses import dataclass

from torch import nn


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


def count_parameters(*modules: nn.Module) -> int:
    """Return how many numbers modules train, which have none in common."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def heads_text(number: int) -> str:
    """Return a number of attention heads in words: 1 head, 2 heads."""
    return f"{number} head{'s' if number > 1 else ''}"
