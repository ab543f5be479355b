"""Sums over sequences, from which the measures follow: those of batches add up, so memory does not grow with users."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol, Self, TypeVar

from torch import Tensor

from models.errors import ConfigError
from spectral.capture import Capture

CONSTANT = {"constant": True}  # as metadata of a field of `Sums`: it does not add up, but says what they are sums of


class Additive(Protocol):
    """Sums, or a tensor of them."""

    def __add__(self, other: Self, /) -> Self: ...


S = TypeVar("S", bound=Additive)


@dataclass(frozen=True, eq=False)
class Sums:
    """Tensors and numbers that add up over batches, field by field; fields may be sums themselves."""

    addends: ClassVar[str] = "the same quantities"  # what adds up, for the message where something else should

    def __add__(self, other: Self) -> Self:
        """Add the sums of two batches; raises ValueError if they differ in a shape or in a constant."""
        for each in fields(self):
            values = getattr(self, each.name), getattr(other, each.name)
            mine, theirs = values if each.metadata == CONSTANT else map(_shape, values)
            if mine != theirs:
                raise ValueError(f"only {self.addends} add up, got {each.name} of {mine} and {theirs}")
        return replace(self, **{name: value + getattr(other, name) for name, value in self.additive().items()})

    def additive(self) -> dict[str, Any]:
        """Return the fields that add up, by name."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.metadata != CONSTANT}


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(getattr(value, "shape", ()))


def sum_by_layer(batches: Iterable[Mapping[int, S]]) -> dict[int, S]:
    """Add up the sums of batches, layer by layer."""
    sums: dict[int, S] = {}
    for batch in batches:
        for layer, added in batch.items():
            sums[layer] = sums[layer] + added if layer in sums else added
    return sums


def sum_of_hidden(captures: Iterable[Capture], measure: Callable[[Tensor, Tensor], S]) -> dict[int, S]:
    """Add up what `measure` gives of the hidden states (B, N, D) and the mask (B, N) of captures, layer by layer.

    Raises ValueError if there are no hidden states.
    """
    sums = sum_by_layer(
        {layer: measure(hidden, captured.mask) for layer, hidden in captured.hidden_layers.items()}
        for captured in captures
    )
    if not sums:
        raise ValueError("there are no hidden states to measure")
    return sums


def sum_of_attention(captures: Iterable[Capture], measure: Callable[[list[Tensor]], S]) -> tuple[S, tuple[int, ...]]:
    """Add up what `measure` gives of the maps (B, H, N, N) of all layers; returns the sums and the layers' numbers.

    Raises ConfigError if the captures hold no attention, ValueError if there are no captures.
    """
    sums: S | None = None
    layers: tuple[int, ...] = ()
    for captured in captures:
        maps = captured.attention_layers
        if not maps:
            raise ConfigError("the captures hold no attention, so there is nothing to measure of it")
        layers = tuple(maps)
        batch = measure(list(maps.values()))
        sums = batch if sums is None else sums + batch
    if sums is None:
        raise ValueError("there are no captures to average over")
    return sums, layers
