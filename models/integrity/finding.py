"""What a check of a model returns."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """What one check found, in numbers and in words.

    Attributes:
        passes: Whether the model has the property; None if the check gives a value only, or could not be made.
        value: How much, in the unit that `meaning` says; None if there is no number.
        where: The places: pairs of positions, layers, or names of parameters; empty if there are none.
        meaning: What was found, in a sentence.
    """

    passes: bool | None
    value: float | None
    meaning: str
    where: list[Any] = field(default_factory=list)
