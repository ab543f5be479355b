"""The description of a kind of file: its keys, and a reader of its tensors."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import CheckpointError
from models.recommender import Recommender
from models.third_party.settings import Settings, real, whole

LAYER = "{}"  # stands for the number of a layer in templates of keys
NAMED_KEYS = 10  # a message names at most this many keys of each kind
MAX_HEADS = 1024  # that a message offers

# Where one of our parameters comes from: a key, several keys to be stacked, or a key and a function of its tensor.
Origin = str | tuple[str, ...] | tuple[str, Callable[[Tensor], Tensor]]


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        title: Name of the kind, for messages.
        keys: Templates of the required keys.
        read: Makes the model from a recognised file.
        optional: Patterns of further keys that a file may have.
        renamed: Patterns of older or varying keys, with their replacements, applied first.
        own_ids: Whether item ids are those of the published text files, so that our datasets fit the model.

    >>> kind = Format("example", ("items.weight", "blocks.{}.weight"), read=lambda weights: None)
    >>> kind.count(["items.weight", "blocks.0.weight", "blocks.1.weight"])  # layers
    2
    >>> kind.compare(["blocks.0.weight", "blocks.1.weight", "head.weight"])  # found, missing, unexpected
    (['blocks.0.weight', 'blocks.1.weight'], ['items.weight'], ['head.weight'])
    """

    title: str
    keys: tuple[str, ...]
    read: "Callable[[Weights], Recommender]"
    optional: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    own_ids: bool = False

    def rename(self, key: str) -> str:
        """Return the key as the templates name it."""
        for pattern, replacement in self.renamed:
            key = re.sub(pattern, replacement, key)
        return key

    def count(self, keys: Iterable[str]) -> int:
        """Return the number of layers in the keys; a number beyond the number of keys is that of no layer."""
        keys = list(keys)
        matches = (match[1] for key in keys for pattern in self._layered if (match := pattern.fullmatch(key)))
        return 1 + max((int(number) for number in matches if int(number) < len(keys)), default=-1)

    def compare(self, keys: Iterable[str]) -> tuple[list[str], list[str], list[str]]:
        """Return the expected keys that are there, the expected keys that are missing, and the unexpected keys."""
        found = set(keys)
        layers = max(self.count(found), 1)
        expected = [
            template.replace(LAYER, str(layer))
            for template in self.keys
            for layer in range(layers if LAYER in template else 1)
        ]
        known = set(expected)
        spare = [key for key in sorted(found - known) if not any(re.fullmatch(p, key) for p in self.optional)]
        return [key for key in expected if key in found], [key for key in expected if key not in found], spare

    @cached_property
    def _layered(self) -> list[re.Pattern[str]]:
        templates = (re.escape(template) for template in self.keys if LAYER in template)
        return [re.compile(template.replace(re.escape(LAYER), r"(\d+)")) for template in templates]


@dataclass
class Weights:
    """The tensors of a recognised file, its number of layers, and its settings."""

    state: Mapping[str, Tensor]
    layers: int
    settings: Settings

    def rows(self, key: str) -> int:
        """Return the number of rows of a tensor; raises CheckpointError if it has none, being a single number."""
        return int(self._shape(key, 1)[0])

    def columns(self, key: str) -> int:
        """Return the number of columns of a tensor; raises CheckpointError if it is not a matrix."""
        return int(self._shape(key, 2)[1])

    def _shape(self, key: str, axes: int) -> torch.Size:
        shape = self.state[key].shape
        if len(shape) < axes:
            needed = "a matrix" if axes == 2 else "a vector or a matrix"
            raise CheckpointError(f"{self.settings.path}: {key} has shape {tuple(shape)}, {needed} is needed")
        return shape

    def heads(self, size: int) -> int:
        """Return the number of heads, a setting, because no shape shows it; size is D."""
        allowed = [heads for heads in range(1, min(size, MAX_HEADS) + 1) if size % heads == 0]
        return self.settings.need("num_heads", whole, f"one of {', '.join(map(str, allowed))}")

    def alpha(self) -> float:
        """Return the setting alpha of BSARec."""
        return self.settings.need("alpha", real, "from 0 to 1")

    def modes(self, length: int) -> int:
        """Return the setting c of BSARec, made odd: an even c keeps the same c // 2 + 1 bins as the next odd one."""
        c = self.settings.need("c", whole, f"from 1 to {length - 1 + length % 2}; 4 and 5 are the same model")
        if c is not None and c % 2 == 0:
            self.settings.note(f"c {c} keeps the same {c // 2 + 1} bins as {c + 1}")
            return c + 1
        return c

    def into(self, model: Recommender, origins: Mapping[str, Origin]) -> Recommender:
        """Put the tensors into a model and return it; {} in names stands for the number of a layer.

        Raises CheckpointError if shapes do not fit; the message has the keys of the file.
        """
        problems, values = [], {}
        wanted = _every_layer(origins, self.layers)
        for name, parameter in model.state_dict().items():
            keys, value = self._value(wanted[name])
            if _squeezed(value) != _squeezed(parameter):
                problems.append(
                    f"{' and '.join(keys)} of shape {tuple(value.shape)} instead of {tuple(parameter.shape)}"
                )
            else:
                values[name] = value.reshape(parameter.shape).to(torch.float32)
        if problems:
            more = f"; and {len(problems) - NAMED_KEYS} more" if len(problems) > NAMED_KEYS else ""
            raise CheckpointError(
                f"{self.settings.path}: looks like {self.settings.title}, but its shapes do not fit together: "
                f"{'; '.join(problems[:NAMED_KEYS])}{more}"
            )
        model.load_state_dict(values)
        return model

    def _value(self, origin: Origin) -> tuple[list[str], Tensor]:
        if isinstance(origin, str):
            return [origin], self.state[origin]
        first, second = origin[0], origin[1]
        if callable(second):
            return [first], second(self.state[first])
        keys = [str(key) for key in origin]
        return keys, torch.cat([self.state[key] for key in keys])


def linear(name: str, key: str) -> dict[str, Origin]:
    """Return where the weight and the bias of a layer come from.

    >>> linear("output", "dense")
    {'output.weight': 'dense.weight', 'output.bias': 'dense.bias'}
    """
    return {f"{name}.weight": f"{key}.weight", f"{name}.bias": f"{key}.bias"}


def stacked(name: str, *keys: str) -> dict[str, Origin]:
    """Return where weight and bias come from, for a layer that stacks several layers of the file."""
    return {f"{name}.{part}": tuple(f"{key}.{part}" for key in keys) for part in ("weight", "bias")}


def both(*layers: str) -> tuple[str, ...]:
    """Return the keys of the weights and biases of layers."""
    return tuple(f"{layer}.{part}" for layer in layers for part in ("weight", "bias"))


def _every_layer(origins: Mapping[str, Origin], layers: int) -> dict[str, Any]:
    every: dict[str, Any] = {}
    for name, origin in origins.items():
        for layer in range(layers if LAYER in name else 1):
            numbered = [part.replace(LAYER, str(layer)) if isinstance(part, str) else part for part in _parts(origin)]
            every[name.replace(LAYER, str(layer))] = numbered[0] if len(numbered) == 1 else tuple(numbered)
    return every


def _parts(origin: Origin) -> tuple[Any, ...]:
    return (origin,) if isinstance(origin, str) else origin


def _squeezed(tensor: Tensor | nn.Parameter) -> list[int]:
    return [size for size in tensor.shape if size != 1]
