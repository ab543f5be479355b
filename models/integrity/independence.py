"""Does the output depend on what should not matter: the other users of a batch, or padding?"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import ConfigError
from models.integrity.examined import Examined, relative_change
from models.integrity.finding import Finding

# Of the other padding rows. With the seed of the weights these would be the rows that are there: nothing would change.
SEED = 1_618_033


def batch_independent(examined: Examined) -> Finding:
    """Check that a user's states and scores are the same alone and in a batch with others.

    `where` has the rows of the batch whose outputs differ. Half of the batch has padding.
    """
    batch = torch.cat([examined.windows, examined.padded])
    single = [examined.outputs(window[None]) for window in batch]
    together = examined.outputs(batch)
    pairs = zip(map(torch.cat, zip(*single, strict=True)), together, strict=True)
    change = torch.stack([relative_change(alone, output) for alone, output in pairs]).amax(0)
    where = (change > examined.tolerance).nonzero()[:, 0].tolist()
    value = float(change.max())
    if not where:
        return Finding(True, value, "a user's outputs are the same alone and in a batch")
    meaning = f"outputs change by up to {value:.2g} of the largest output with the other users in the batch"
    return Finding(False, value, meaning, where)


def padding_independent(examined: Examined) -> Finding:
    """Check that outputs at real positions do not depend on padding.

    The padding row of the item table is changed, and attention from real positions to padding is looked at. Full
    windows stand beside those with padding, because some models cut a batch to its longest history. Raises ConfigError
    if the model has no nn.Embedding with a padding row.
    """
    windows = torch.cat([examined.windows, examined.padded])
    with torch.no_grad():
        before = examined.model.trace(windows)
        with other_padding(examined.model):
            after = examined.model.trace(windows)
    real = before.mask
    change = float(relative_change(before.hidden[-1][real], after.hidden[-1][real]).max())
    weight = _weight_on_padding(before.attention or [], real)
    if change <= examined.tolerance and weight <= examined.tolerance:
        return Finding(True, max(change, weight), "outputs at real positions do not depend on padding")
    parts = [f"change by {change:.2g} with the embedding of padding"] if change > examined.tolerance else []
    parts += [f"give padding up to {weight:.2g} of their attention"] if weight > examined.tolerance else []
    return Finding(False, max(change, weight), f"real positions {' and '.join(parts)}")


@contextmanager
def other_padding(model: Any) -> Iterator[None]:
    """Replace the padding rows of a model's tables by other numbers for a while.

    Raises ConfigError if no nn.Embedding has a `padding_idx`.
    """
    tables = [part for part in model.modules() if isinstance(part, nn.Embedding) and part.padding_idx is not None]
    if not tables:
        raise ConfigError("no nn.Embedding of the model has a padding_idx, so it is not known what padding looks like")
    generator = torch.Generator().manual_seed(SEED)
    kept = [table.weight[table.padding_idx].clone() for table in tables]
    with torch.no_grad():
        for table in tables:
            noise = torch.randn(table.embedding_dim, generator=generator).to(table.weight)
            table.weight[table.padding_idx] = noise * table.weight.std()
        try:
            yield
        finally:
            for table, row in zip(tables, kept, strict=True):
                table.weight[table.padding_idx] = row


def _weight_on_padding(attention: list[Tensor], real: Tensor) -> float:
    """Return the largest attention of a real position to padding; maps (B, H, N, N), real (B, N)."""
    pairs = (real[:, :, None] & ~real[:, None, :])[:, None]
    return max((float((maps * pairs).max()) for maps in attention), default=0.0)
