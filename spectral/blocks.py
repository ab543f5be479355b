"""The real positions of padded sequences, length by length."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


def real_blocks(mask: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield each number of real items n >= 1 among sequences, and which sequences (S,) have so many.

    mask: (B, N) bool, True for real positions. Padding is on the left, so the last n positions are the real ones.
    Raises ValueError if it is anywhere else.
    """
    if bool((mask[:, :-1] & ~mask[:, 1:]).any()):
        raise ValueError("padding must be on the left: a real position is followed by a padded one")
    lengths = mask.sum(1)
    for n in lengths.unique().tolist():
        if n:
            yield n, (lengths == n).nonzero()[:, 0]


def real_mask(mask: Any, shape: Sequence[int]) -> Tensor:
    """Return which of (B, N) positions are real, bool on the CPU, all for None; raises ValueError for another shape."""
    real = torch.ones(shape, dtype=torch.bool) if mask is None else torch.as_tensor(mask).bool().cpu()
    if tuple(real.shape) != tuple(shape):
        raise ValueError(f"mask must be (B, N) = {tuple(shape)}, got shape {tuple(real.shape)}")
    return real
