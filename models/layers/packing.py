"""Which positions of a batch are computed, and in which groups attention processes them.

Where padding influences the output, all positions of a window are computed. Where padding is inert (pure attention
gives a padding key the weight 0 exactly), only real positions are computed, which saves half of the work or more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

MASKED = (
    -10000.0
)  # added to the score of a forbidden key; finite, so a query with only forbidden keys still has a softmax
CACHED_ROWS = 1024  # positions computed together on a CPU: with up to 256 numbers each, 1 MB


@dataclass(frozen=True)
class Group:
    """Some sequences of a batch whose attention is computed together, on a grid of b sequences x T positions."""

    rows: slice  # its part of all rows that are computed
    keys: Tensor  # (b, T), added to the scores of each key: 0, or -10000 for padding
    queries: Tensor  # (T, T), the same for each query and key of all sequences: -10000 for the future, if causal
    cells: Tensor | None  # (rows,) the grid cell of each row; None if the rows fill the grid in order
    lengths: Tensor | None  # (b,) the rows of each sequence, which are the last of its T cells; None if others are

    @cached_property
    def mask(self) -> Tensor:
        """What is added to the scores, (b, 1, T, T), rows are queries: the smaller of `keys` and `queries`.

        For a query at a padding position all keys are equally forbidden, so its softmax runs over all T positions. The
        published code does this, and it is kept.

        >>> all_positions(torch.tensor([[0, 7, 4]])).groups[0].mask[0, 0].tolist()
        [[-10000.0, -10000.0, -10000.0], [-10000.0, 0.0, -10000.0], [-10000.0, 0.0, 0.0]]
        >>> all_positions(torch.tensor([[0, 7, 4]]), causal=False).groups[0].mask[0, 0, 1].tolist()
        [-10000.0, 0.0, 0.0]
        """
        return torch.minimum(self.keys[:, None, None], self.queries)

    def to_grid(self, rows: Tensor) -> Tensor:
        """Return rows (rows, D) on the grid (b, T, D), 0 in cells without a row."""
        sequences, length = self.keys.shape
        if self.cells is not None:
            rows = rows.new_zeros(sequences * length, rows.shape[-1]).index_copy_(0, self.cells, rows)
        return rows.view(sequences, length, -1)

    def to_rows(self, grid: Tensor) -> Tensor:
        """Return the rows (rows, D) of a grid (b, T, ...), D the product of its further axes."""
        cells = grid.flatten(0, 1).flatten(1)
        return cells if self.cells is None else cells[self.cells]


@dataclass(frozen=True)
class Packing:
    """The positions of a batch that are computed, as rows: all (B, N), or the M real ones if padding is left out."""

    items: Tensor  # item ids, (B, N) or (M,)
    positions: Tensor  # indices into the window, (N,) or (M,)
    groups: list[Group]
    last_mask: Tensor  # (B, 1, N), added to the scores of the last position's query; nothing comes after it
    grid: Tensor | None  # (B, N) the row of each position, M where there is none; None if all are computed
    whole: Group | None = None  # all groups as one, where their sequences have the same length

    def pack(self, values: Tensor) -> Tensor:
        """Return values (B, N, ...) in the order of `items`: (M, ...), or as they are if all positions are computed."""
        if self.grid is None:
            return values
        rows = values.new_empty(len(self.items) + 1, *values.shape[2:])  # the last one collects what is not computed
        return rows.index_copy_(0, self.grid.flatten(), values.flatten(0, 1))[:-1]

    def by_group(self, x: Tensor, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Return rows (..., D) after a function of each group's grid (b, T, D) and mask (b, 1, T, T)."""
        parts = zip(self.groups, split(x.flatten(end_dim=-2), self.groups), strict=True)
        done = [group.to_rows(function(group.to_grid(rows), group.mask)) for group, rows in parts]
        return torch.cat(done).view(x.shape)

    def to_grid(self, rows: Tensor) -> Tensor:
        """Return rows (M, D) at their positions, (B, N, D), 0 where there is no row; rows (B, N, D) as they are."""
        if self.grid is None:
            return rows
        # An embedding lookup whose last row is padding, because it has by far the cheapest gradient of all gathers.
        return functional.embedding(self.grid, functional.pad(rows, (0, 0, 0, 1)), padding_idx=len(rows))


def split(rows: Tensor, groups: list[Group]) -> tuple[Tensor, ...]:
    """Return the rows of each group; all groups together have all rows (M, D), in order.

    They are split, because the gradient of each slice would fill a tensor of all rows with zeros.
    """
    return rows.split([group.rows.stop - group.rows.start for group in groups])


def key_mask(input_ids: Tensor) -> Tensor:
    """Return what is added to the scores of keys: 0, and -10000 for padding, (B, N); input_ids: (B, N)."""
    return torch.where(input_ids > 0, 0.0, MASKED)


def query_mask(input_ids: Tensor, causal: bool) -> Tensor:
    """Return what is added to the scores of queries (rows) and keys: 0, and if causal -10000 for the future, (N, N)."""
    length = input_ids.shape[1]
    allowed = torch.zeros(length, length, device=input_ids.device)
    if not causal:
        return allowed
    return allowed.masked_fill(torch.ones_like(allowed, dtype=torch.bool).triu(1), MASKED)


def all_positions(input_ids: Tensor, causal: bool = True) -> Packing:
    """Pack all positions of windows (B, N), padding included; each position is a row."""
    batch, length = input_ids.shape
    keys, queries = key_mask(input_ids), query_mask(input_ids, causal)
    size = max(CACHED_ROWS // length, 1) if input_ids.device.type == "cpu" else max(batch, 1)
    lengths = torch.full((batch,), length)

    def group(start: int, stop: int) -> Group:
        return Group(slice(start * length, stop * length), keys[start:stop], queries, None, lengths[start:stop])

    groups = [group(start, min(start + size, batch)) for start in range(0, batch, size)]
    positions = torch.arange(length, device=input_ids.device)
    return Packing(input_ids, positions, groups, keys[:, None], None, group(0, batch))


def real_positions(input_ids: Tensor, causal: bool = True) -> Packing:
    """Pack the real positions of windows (B, N), with sequences of similar length in one group.

    An input that is all padding keeps all its positions, because its attention is a softmax over them.

    >>> packing = real_positions(torch.tensor([[0, 0, 7], [5, 3, 2]]))
    >>> packing.items.tolist(), packing.positions.tolist()  # 4 of 6 positions are computed
    ([7, 5, 3, 2], [2, 0, 1, 2])
    >>> packing.to_grid(packing.items[:, None].float())[:, :, 0].tolist()
    [[0.0, 0.0, 7.0], [5.0, 3.0, 2.0]]
    """
    length = input_ids.shape[1]
    computed = input_ids > 0
    computed |= ~computed.any(1, keepdim=True)
    lengths, order = computed.sum(1).sort()
    sequence, position = computed[order].nonzero(as_tuple=True)  # (M,) each, by sequence, then by position
    grid = torch.full_like(input_ids, len(position), dtype=torch.int64)
    grid[order[sequence], position] = torch.arange(len(position))
    are_last = bool((computed[:, 1:] >= computed[:, :-1]).all())  # padding in front, as in all windows of histories
    groups = []
    ends = lengths.cumsum(0).tolist()
    sizes = lengths.tolist()
    for first, stop in _by_length(sizes):
        widest = sizes[stop - 1]
        rows = slice(ends[first - 1] if first else 0, ends[stop - 1])
        fills_grid = sizes[first] == widest
        cells = None if fills_grid else (sequence[rows] - first) * widest + position[rows] - (length - widest)
        window = input_ids[order[first:stop], length - widest :]
        own_lengths = lengths[first:stop] if are_last else None
        groups.append(Group(rows, key_mask(window), query_mask(window, causal), cells, own_lengths))
    items = input_ids[order[sequence], position]
    return Packing(items, position, groups, key_mask(input_ids)[:, None], grid)


def _by_length(lengths: list[int]) -> list[tuple[int, int]]:
    """Cut ascending lengths into ranges whose grid, as wide as the longest of the range, fits the cache."""
    starts = [0]
    for index, length in enumerate(lengths):
        if (index + 1 - starts[-1]) * length > CACHED_ROWS and index > starts[-1]:
            starts.append(index)
    return list(zip(starts, [*starts[1:], len(lengths)], strict=True))
