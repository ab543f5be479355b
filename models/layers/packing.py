"""Which positions of a batch are computed, and in which groups attention takes them.

All positions of a window are computed where padding matters. Where it is inert (attention alone: a padding key has
weight exactly 0), only real positions need to be: half of the work and more.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

MASKED = -10000.0  # added to the score of a forbidden key; a row of padding, all forbidden, stays a softmax
CACHED_ROWS = 1024  # positions computed together on a CPU: with up to 256 numbers each, 1 MB


@dataclass(frozen=True)
class Group:
    """Some sequences of a batch, whose attention is computed together on a grid of b sequences x T positions."""

    rows: slice  # of all rows that are computed
    mask: Tensor  # (b, 1, T, T), added to the scores
    cells: Tensor | None  # (rows,) the cell of the grid that each row is in; None if they fill it in order

    def to_grid(self, rows: Tensor) -> Tensor:
        """(rows, D) -> (b, T, D), 0 where there is no row."""
        sequences, _, length, _ = self.mask.shape
        if self.cells is not None:
            rows = rows.new_zeros(sequences * length, rows.shape[-1]).index_copy_(0, self.cells, rows)
        return rows.view(sequences, length, -1)

    def to_rows(self, grid: Tensor) -> Tensor:
        """(b, T, ...) -> (rows, D)."""
        cells = grid.flatten(0, 1).flatten(1)
        return cells if self.cells is None else cells[self.cells]


@dataclass(frozen=True)
class Packing:
    """The positions of a batch that are computed, as rows: (B, N) of them, or (M,) where padding is left out."""

    items: Tensor  # item ids, (B, N) or (M,)
    positions: Tensor  # indices into the window, (N,) or (M,)
    groups: list[Group]
    last_mask: Tensor  # (B, 1, N), added to the scores of the last position's query
    grid: Tensor | None  # (B, N) the row of each position, M where there is none; None if all are computed

    def pack(self, values: Tensor) -> Tensor:
        """(B, N) -> (M,), or (B, N) if all are computed: values of the positions in the order of `items`."""
        if self.grid is None:
            return values
        rows = values.new_empty(len(self.items) + 1)  # the last one takes what is not computed
        return rows.index_copy_(0, self.grid.flatten(), values.flatten())[:-1]

    def to_grid(self, rows: Tensor) -> Tensor:
        """(M, D) -> (B, N, D) with 0 where there is no row; (B, N, D) stays."""
        if self.grid is None:
            return rows
        # A lookup in a table whose last row is padding: its gradient is by far the cheapest of all ways to gather.
        return functional.embedding(self.grid, functional.pad(rows, (0, 0, 0, 1)), padding_idx=len(rows))


def attention_mask(input_ids: Tensor, causal: bool = True) -> Tensor:
    """Return what is added to attention scores: 0 for allowed keys, -10000 for padding and (if causal) the future.

    input_ids: (B, N), 0 is padding. Returns (B, 1, N, N). A query at a padding position has every key forbidden
    alike, so its softmax runs over all N positions: an oddity of the published code that is kept.
    """
    length = input_ids.shape[1]
    allowed = (input_ids > 0)[:, None, None, :].expand(-1, 1, length, length)
    if causal:
        allowed = allowed & torch.ones(length, length, dtype=torch.bool, device=input_ids.device).tril()
    return torch.where(allowed, 0.0, MASKED)


def all_positions(input_ids: Tensor, causal: bool = True) -> Packing:
    """Pack all positions of windows (B, N), padding included: each is a row."""
    batch, length = input_ids.shape
    mask = attention_mask(input_ids, causal)
    size = max(CACHED_ROWS // length, 1) if input_ids.device.type == "cpu" else max(batch, 1)
    groups = [
        Group(slice(start * length, min(start + size, batch) * length), mask[start : start + size], None)
        for start in range(0, batch, size)
    ]
    positions = torch.arange(length, device=input_ids.device)
    return Packing(input_ids, positions, groups, mask[:, :, -1], None)


def real_positions(input_ids: Tensor, causal: bool = True) -> Packing:
    """Pack the real positions of windows (B, N), sequences of similar length together.

    An input that is all padding keeps all its positions: its attention is a softmax over them.
    """
    length = input_ids.shape[1]
    computed = input_ids > 0
    computed |= ~computed.any(1, keepdim=True)
    lengths, order = computed.sum(1).sort()
    sequence, position = computed[order].nonzero(as_tuple=True)  # (M,) each, by sequence, then by position
    grid = torch.full_like(input_ids, len(position), dtype=torch.int64)
    grid[order[sequence], position] = torch.arange(len(position))
    groups = []
    ends = lengths.cumsum(0).tolist()
    for first, stop in _by_length(lengths.tolist()):
        widest = int(lengths[stop - 1])
        rows = slice(ends[first - 1] if first else 0, ends[stop - 1])
        cells = (sequence[rows] - first) * widest + position[rows] - (length - widest)
        window = input_ids[order[first:stop], length - widest :]
        groups.append(Group(rows, attention_mask(window, causal), cells))
    items = input_ids[order[sequence], position]
    return Packing(items, position, groups, attention_mask(input_ids, causal)[:, :, -1], grid)


def _by_length(lengths: list[int]) -> list[tuple[int, int]]:
    """Cut ascending lengths into ranges whose grid, as wide as their longest, fits the cache."""
    starts = [0]
    for index, length in enumerate(lengths):
        if (index + 1 - starts[-1]) * length > CACHED_ROWS and index > starts[-1]:
            starts.append(index)
    return list(zip(starts, [*starts[1:], len(lengths)], strict=True))
