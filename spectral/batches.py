"""The kinds of batches that a model is captured on, and the tensors in them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
    return _changed(batch, lambda tensor: tensor.to(device))


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


def ids_shape(batch: Any, outputs: Sequence[tuple[int, ...]] = ()) -> tuple[int, int] | None:
    """Return the shape (B, N), or (N, B), of the ids in a batch; None if it has no tensor of two or more dimensions.

    outputs: the first two sizes of hidden states. They decide which tensor has the ids if the batch does not: ids are
    under `input_ids`, or have the sizes of an output, or are whole numbers.

    Example:
        >>> ids_shape({"table": torch.ones(9, 4), "x": torch.ones(2, 3, dtype=torch.int64)})
        (2, 3)
    """
    if isinstance(batch, Mapping) and isinstance(batch.get("input_ids"), Tensor):
        batch = batch["input_ids"]
    found = sorted((x for x in tensors_in(batch) if x.ndim >= 2), key=Tensor.is_floating_point)
    shapes = [(x.shape[0], x.shape[1]) for x in found]
    sizes = [set(output) for output in outputs]
    return next((shape for shape in shapes if set(shape) in sizes), shapes[0] if shapes else None)


def first_sequence(batch: Any, shape: tuple[int, int]) -> Any:
    """Return the batch of its first sequence only; shape is that of the ids, and what has its rows is cut as well.

    Example:
        >>> first_sequence({"ids": torch.tensor([[1, 2], [3, 4]]), "scale": 0.5}, (2, 2))
        {'ids': tensor([[1, 2]]), 'scale': 0.5}
    """
    return _changed(batch, lambda x: x[:1] if x.shape[:2] == shape or x.shape == shape[:1] else x)


def padded_right(batch: Any) -> Any:
    """Return a batch whose rows with padding on the left have it on the right, so that positions count from the items.

    A model that counts positions from the left end then sees each sequence as it would alone. Nothing is moved without
    an `attention_mask`, or with `position_ids`, which say the positions.

    Example:
        >>> ids, mask = torch.tensor([[0, 7, 8]]), torch.tensor([[0, 1, 1]])
        >>> padded_right({"input_ids": ids, "attention_mask": mask})
        {'input_ids': tensor([[7, 8, 0]]), 'attention_mask': tensor([[1, 1, 0]])}
    """
    mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
    if mask is None or mask.ndim != 2 or batch.get("position_ids") is not None or bool(mask[:, 0].bool().all()):
        return batch
    first = mask.bool().int().argmax(1)  # of a row; 0 for a row that is padding only
    place = (torch.arange(mask.shape[1], device=mask.device) + first[:, None]) % mask.shape[1]
    rows = torch.arange(len(mask), device=mask.device)[:, None]
    return _changed(batch, lambda x: x[rows, place] if x.shape[:2] == mask.shape else x)


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


def _changed(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a batch with every tensor and array in it changed."""
    if isinstance(batch, np.ndarray):
        batch = torch.from_numpy(batch)
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {key: _changed(value, change) for key, value in batch.items()}
    if isinstance(batch, list | tuple):
        parts = [_changed(value, change) for value in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch


def _check(batch: Any) -> None:
    if isinstance(batch, Tensor | np.ndarray):
        if batch.ndim < 2:
            raise ConfigError(f"{EXPECTED}; got one of shape {tuple(batch.shape)}")
        return
    if not isinstance(batch, Mapping):
        raise ConfigError(
            f"{EXPECTED}; got {kind_of(batch)}; take the ids out of it, or say how the model takes it with "
            "call=lambda model, batch: ..."
        )
    for key, value in batch.items():
        if isinstance(value, list | tuple) and not any(True for _ in tensors_in(value)):
            raise ConfigError(
                f"{EXPECTED}; got {kind_of(value)} under {key!r}; ask the tokenizer for tensors with "
                "return_tensors='pt' and padding=True"
            )
