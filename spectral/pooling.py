"""One vector per sequence, by which users or sentences are compared.

Recommenders and causal language models score with the state at the last position. Sentence encoders take the mean over
tokens, which is the default of Sentence-BERT (Reimers and Gurevych, EMNLP 2019), or the first token, BERT's [CLS]. Half
precision is widened to float64 for the mean; one state is chosen as it is.
"""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from models.errors import ConfigError
from spectral.arrays import as_float64
from spectral.blocks import real_mask

Pooling = Literal["last", "mean", "first"]


def pooled(hidden: Tensor, mask: Any = None, pooling: Pooling = "last") -> Tensor:
    """Return one hidden state per sequence, (B, D): the last or the first real one, or the mean over the real ones.

    hidden: (B, N, D). mask: (B, N), True for real positions, which must be the last ones of their row; None if all
    are real. pooling: "last", "first" or "mean". The mean is computed in float64.

    Raises ConfigError for an unknown pooling. Raises ValueError for a mask of another shape, or for the mean or the
    first position of a sequence that has no real position.

    Example:
        A padded position, then 2, 4 and 6:

        >>> hidden = torch.tensor([[[9.0], [2.0], [4.0], [6.0]]])
        >>> mask = torch.tensor([[False, True, True, True]])
        >>> [pooled(hidden, mask, pooling).item() for pooling in ("first", "mean", "last")]
        [2.0, 4.0, 6.0]
    """
    if pooling not in get_args(Pooling):
        raise ConfigError(f"unknown pooling {pooling!r}; choose one of {', '.join(get_args(Pooling))}")
    if pooling == "last":
        return hidden[:, -1]
    real = real_mask(mask, hidden.shape[:2])
    lengths = real.sum(1)
    if bool((lengths == 0).any()):
        count = int((lengths == 0).sum())
        raise ValueError(f"{count} of {len(lengths)} sequences have no real position to pool; leave them out")
    if pooling == "mean":
        return as_float64(hidden).masked_fill(~real[..., None], 0).sum(1) / lengths[:, None]
    first = real.int().argmax(1).to(hidden.device)
    return hidden[torch.arange(len(first), device=hidden.device), first]
