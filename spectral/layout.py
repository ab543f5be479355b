"""The order of axes and positions that measures expect, made of what a model puts out.

Measures expect hidden states (B, N, D) and attention maps (B, H, N, N), with the real positions of every sequence last.
Models have other orders as well: (N, B, D) is the default of PyTorch's own layers. The sizes tell which axis is which;
where two of them are equal, the model is run on one sequence of the batch to see.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.errors import ConfigError
from models.recommender import Trace
from spectral.batches import first_sequence, ids_shape


@dataclass(frozen=True)
class Outputs:
    """What a model put out on one batch, in its own order of axes.

    Attributes:
        hidden: Hidden states by name, (B, N, D) or (N, B, D).
        attention: Attention maps by name, (B, H, N, N) or (H, B, N, N).
        sequence_first: Names in `hidden` of modules that say of themselves that they put out (N, B, D).
    """

    hidden: dict[str, Tensor]
    attention: dict[str, Tensor]
    sequence_first: frozenset[str] = frozenset()

    def named(self) -> dict[str, Tensor]:
        """Return hidden states and attention maps by name."""
        return {**self.hidden, **{f"attention of {name}": a for name, a in self.attention.items()}}


@dataclass(frozen=True)
class _Axes:
    ids_swapped: bool  # the ids are (N, B)
    swapped: frozenset[str]  # what has its first two axes in the other order, by the names of `Outputs.named`

    def turned(self, outputs: Outputs) -> dict[str, Tensor]:
        return {name: x.transpose(0, 1) if name in self.swapped else x for name, x in outputs.named().items()}


def arranged(run: Callable[[Any], Outputs], batch: Any, mask: Tensor | None) -> Trace:
    """Run a model on a batch and return what it puts out in the order that measures expect.

    run: runs the model on a batch. batch: what the model takes; its ids say the number of sequences. mask: (B, N), or
    (N, B) for ids (N, B), whether a position is real; None: all are.

    Raises ConfigError if the sizes of outputs, batch and mask do not fit together.

    Example:
        >>> ids = torch.ones(2, 3, dtype=torch.int64)
        >>> run = lambda ids: Outputs({"state": torch.zeros(ids.shape[1], len(ids), 8)}, {})
        >>> [tuple(x.shape) for x in arranged(run, ids, None).hidden]
        [(2, 3, 8)]
    """
    outputs = run(batch)
    shape = ids_shape(batch, [tuple(x.shape[:2]) for x in outputs.hidden.values()])
    axes = _Axes(False, frozenset()) if shape is None else _axes(run, batch, outputs, shape)
    named = axes.turned(outputs)
    if shape is not None:
        _check_sequences(named, shape[1] if axes.ids_swapped else shape[0])
    tensors = list(named.values())
    hidden, attention = tensors[: len(outputs.hidden)], tensors[len(outputs.hidden) :]
    return _real_last(hidden, attention, mask, axes.ids_swapped)


def _axes(run: Callable[[Any], Outputs], batch: Any, outputs: Outputs, shape: tuple[int, int]) -> _Axes:
    """Return the order of axes; shape is that of the ids."""
    if not any(x.shape[0] == x.shape[1] > 1 for x in outputs.named().values()):
        return _axes_by_size(outputs, shape)
    try:
        alone = run(first_sequence(batch, shape))
        axes = _axes_by_size(alone, (1, shape[1]))
        _check_sequences(axes.turned(alone), shape[1] if axes.ids_swapped else 1)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ConfigError(
            f"a batch of shape {shape} does not tell sequences from positions or heads, and the model does not run on "
            f"one sequence of it ({error}); capture batches with another number of sequences"
        ) from error
    return axes


def _axes_by_size(outputs: Outputs, shape: tuple[int, int]) -> _Axes:
    ids_swapped = shape[0] != shape[1] and (
        any((a.shape[0], a.shape[-1]) == shape[::-1] for a in outputs.attention.values())
        or any(tuple(outputs.hidden[name].shape[:2]) == shape for name in outputs.sequence_first)
    )
    sequences = shape[1] if ids_swapped else shape[0]
    other = (name for name, x in outputs.named().items() if x.shape[0] != sequences == x.shape[1])
    return _Axes(ids_swapped, frozenset(other))


def _check_sequences(named: dict[str, Tensor], sequences: int) -> None:
    for name, x in named.items():
        if len(x) != sequences:
            raise ConfigError(
                f"the batch has {sequences} sequences, but {name} is of shape {tuple(x.shape)}; name modules with "
                "states (B, N, D) or (N, B, D) and maps (B, H, N, N) or, for one head, (B, N, N)"
            )


def _real_last(hidden: list[Tensor], attention: list[Tensor], mask: Tensor | None, ids_swapped: bool) -> Trace:
    """Move the real positions of each sequence to its end, in their order. Without a mask all are real."""
    first = (hidden or attention)[0]
    shape = (first.shape[0], first.shape[1] if hidden else first.shape[-1])
    if mask is None:
        return Trace(hidden, attention, torch.ones(shape, dtype=torch.bool, device=first.device))
    if mask.shape == shape[::-1] and (ids_swapped or mask.shape != shape):
        mask = mask.T
    if mask.shape != shape:
        raise ConfigError(f"attention_mask should be (B, N) = {shape}, got {tuple(mask.shape)}")
    mask = mask.to(first.device)
    order = mask.int().argsort(dim=1, stable=True)  # (B, N)
    rows = torch.arange(len(order), device=first.device)[:, None]
    moved = [
        a[
            rows[..., None, None],
            torch.arange(a.shape[1], device=first.device)[:, None, None],
            order[:, None, :, None],
            order[:, None, None, :],
        ]
        for a in attention
    ]
    return Trace([x[rows, order] for x in hidden], moved, mask[rows, order])
