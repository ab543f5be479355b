"""The kinds of batches that a model is captured on, and the tensors in them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.errors import ConfigError

EXPECTED = "expected tensors of ids (B, N), or mappings of tensors"


def moved(batch: Any, device: torch.device, anything: bool = False) -> Any:
    """Return a batch on a device, with arrays as tensors, also within mappings, lists and tuples.

    anything: whether the batch may be of any kind. Otherwise it must be a tensor or an array, or a mapping with them.

    Raises ConfigError for a batch of another kind; the message says what came.

    Example:
        >>> moved({"x": {"ids": np.array([[1, 2]])}}, torch.device("cpu"))
        {'x': {'ids': tensor([[1, 2]])}}
        >>> moved([torch.ones(2, 3), torch.ones(2)], torch.device("cpu"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        models.errors.ConfigError: expected tensors of ids (B, N), or mappings of tensors; got a list of 2 tensors; ...
    """
    if not anything:
        _check(batch)
    if isinstance(batch, np.ndarray):
        batch = torch.from_numpy(batch)
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {key: moved(value, device, True) for key, value in batch.items()}
    if isinstance(batch, list | tuple):
        parts = [moved(value, device, True) for value in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch


def tensors_in(batch: Any) -> Iterator[Tensor]:
    """Yield the tensors of a batch, also those within mappings, lists and tuples.

    Example:
        >>> [tuple(x.shape) for x in tensors_in({"x": torch.ones(1, 2), "more": [torch.ones(3)]})]
        [(1, 2), (3,)]
    """
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping | list | tuple):
        for part in batch.values() if isinstance(batch, Mapping) else batch:
            yield from tensors_in(part)


def _check(batch: Any) -> None:
    if isinstance(batch, Tensor | np.ndarray):
        if batch.ndim < 2:
            raise ConfigError(f"{EXPECTED}; got one of shape {tuple(batch.shape)}")
        return
    if not isinstance(batch, Mapping):
        raise ConfigError(
            f"{EXPECTED}; got {kind_of(batch)}; take the ids out of it, or say with call=lambda model, batch: ... how the "
            "model takes it"
        )
    for key, value in batch.items():
        if isinstance(value, list | tuple) and not any(True for _ in tensors_in(value)):
            raise ConfigError(
                f"{EXPECTED}; got {kind_of(value)} under {key!r}; ask the tokenizer for tensors with return_tensors='pt' "
                "and padding=True"
            )


def kind_of(value: Any) -> str:
    """Return what a value is, in words.

    Example:
        >>> kind_of([1, 2])
        'a list of 2'
    """
    if isinstance(value, list | tuple):
        tensors = " tensors" if value and all(isinstance(part, Tensor) for part in value) else ""
        return f"a {type(value).__name__} of {len(value)}{tensors}"
    return f"a {type(value).__name__}"
