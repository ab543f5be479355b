"""Sums over sequences, from which the measures are computed.

The sums of two batches add up to the sums of both, so memory does not grow with the number of users.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol, Self, TypeVar

from torch import Tensor

from models.errors import ConfigError
from spectral.capture import Capture

CONSTANT = {"constant": True}  # metadata of a field of `Sums` that does not add up, but describes what was summed


class Additive(Protocol):
    """Sums, or a tensor of them."""

    def __add__(self, other: Self, /) -> Self: ...


K = TypeVar("K")
S = TypeVar("S", bound=Additive)


@dataclass(frozen=True, eq=False)
class Sums:
    """Tensors and numbers that add up over batches, field by field. A field may itself be a `Sums`.

    Example:
        >>> import torch
        >>> @dataclass(frozen=True, eq=False)
        ... class Waits(Sums):
        ...     total: torch.Tensor  # minutes
        ...     people: int
        >>> both = Waits(torch.tensor(7.0), 2) + Waits(torch.tensor(5.0), 1)
        >>> both.total.item() / both.people
        4.0
    """

    addends: ClassVar[str] = "the same quantities"  # what can be added, for the error message

    def __add__(self, other: Self) -> Self:
        """Add the sums of two batches. Raises ValueError if they differ in a shape or in a constant."""
        for each in fields(self):
            values = getattr(self, each.name), getattr(other, each.name)
            mine, theirs = values if each.metadata == CONSTANT else map(_shape, values)
            if mine != theirs:
                raise ValueError(f"only {self.addends} add up, got {each.name} of {mine} and {theirs}")
        return replace(self, **{name: value + getattr(other, name) for name, value in self.additive().items()})

    def additive(self) -> dict[str, Any]:
        """Return the fields that add up, by name. Constants are left out."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.metadata != CONSTANT}


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(getattr(value, "shape", ()))


def sum_by_layer(batches: Iterable[Mapping[K, S]]) -> dict[K, S]:
    """Add up the sums of batches, layer by layer.

    batches: for each batch, its sums by layer number (or by another name of a part). Returns the totals likewise.

    Example:
        >>> sum_by_layer([{1: 10, 2: 20}, {1: 1, 2: 2}])
        {1: 11, 2: 22}
    """
    sums: dict[K, S] = {}
    for batch in batches:
        for layer, added in batch.items():
            sums[layer] = sums[layer] + added if layer in sums else added
    return sums


def sum_of_hidden(captures: Iterable[Capture], measure: Callable[[Tensor, Tensor], S]) -> dict[int, S]:
    """Add up `measure(hidden, mask)` over captures, layer by layer.

    measure: takes hidden states (B, N, D) and the mask (B, N) of one layer and one batch, and returns their sums.
    Returns the totals by layer number; 0 is the embedding output. Raises ValueError if there are no hidden states.

    Example:
        The squares of all hidden states of one layer of zeros and one of ones:

        >>> import torch
        >>> captured = Capture((torch.zeros(1, 3, 2), torch.ones(1, 3, 2)), (), torch.ones(1, 3, dtype=torch.bool))
        >>> sum_of_hidden([captured, captured], lambda hidden, mask: hidden.square().sum().item())
        {0: 0.0, 1: 12.0}
    """
    sums = sum_by_layer(
        {layer: measure(hidden, captured.mask) for layer, hidden in captured.hidden_layers.items()}
        for captured in captures
    )
    if not sums:
        raise ValueError("there are no hidden states to measure")
    return sums


def sum_of_attention(
    captures: Iterable[Capture], measure: Callable[[list[Tensor]], S], padded: bool = False
) -> tuple[S, tuple[int, ...]]:
    """Add up `measure(maps)` over captures.

    measure: takes a list of L maps (B, H, N, N), one per layer, of one batch, and returns their sums. Returns the
    total and the numbers of the layers, from 1. padded: whether padding may be among the positions; its rows then count
    like all others.

    Raises ConfigError if the captures hold no attention or, unless `padded`, have padding; ValueError if there are no
    captures.

    Example:
        The sum of all rows of two maps of three positions; each row sums to 1:

        >>> import torch
        >>> captured = Capture((), (torch.eye(3)[None, None],), torch.ones(1, 3, dtype=torch.bool))
        >>> sum_of_attention([captured, captured], lambda maps: maps[0].sum().item())
        (6.0, (1,))
    """
    sums: S | None = None
    layers: tuple[int, ...] = ()
    for captured in captures:
        maps = captured.attention_layers
        if not maps:
            raise ConfigError("the captures hold no attention to measure")
        layers = tuple(maps)
        if not padded:
            captured.check_real()
        batch = measure(list(maps.values()))
        sums = batch if sums is None else sums + batch
    if sums is None:
        raise ValueError("there are no captures to average over")
    return sums, layers
