"""The real positions of padded sequences, length by length."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


def real_blocks(mask: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield each length n >= 1 that occurs, with the indices (S,) of the sequences that have n real positions.

    mask: (B, N) bool, True for real positions. Padding is on the left, so the last n positions are the real ones.
    Raises ValueError if padding is anywhere else.

    Example:
        >>> mask = torch.tensor([[False, True], [True, True], [False, True]])
        >>> [(n, rows.tolist()) for n, rows in real_blocks(mask)]
        [(1, [0, 2]), (2, [1])]
    """
    if bool((mask[:, :-1] & ~mask[:, 1:]).any()):
        raise ValueError("padding must be on the left: a real position is followed by a padded one")
    lengths = mask.sum(1)
    for n in lengths.unique().tolist():
        if n:
            yield n, (lengths == n).nonzero()[:, 0]


def real_mask(mask: Any, shape: Sequence[int]) -> Tensor:
    """Return which of (B, N) positions are real, bool on the CPU; None means all. Raises ValueError for another shape.

    Example:
        >>> real_mask(None, (1, 3))
        tensor([[True, True, True]])
    """
    real = torch.ones(shape, dtype=torch.bool) if mask is None else torch.as_tensor(mask).bool().cpu()
    if tuple(real.shape) != tuple(shape):
        raise ValueError(f"mask must be (B, N) = {tuple(shape)}, got shape {tuple(real.shape)}")
    return real
