"""Conversion between our windows, padded on the left, and sequences padded on the right.

A window of N positions with n items is rotated, so that its items come first, in the same order, and its padding
after them. Rotating back moves every state, and every row and column of an attention map, to where our measures expect
it: items are in the last n positions. Values are only moved, so those at real positions are the original's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


def count_items(windows: Tensor) -> Tensor:
    """Return the number of positions from the first item of each window (B, N) to its end, (B,); 0 without items.

    >>> count_items(torch.tensor([[0, 0, 7], [5, 3, 2], [0, 0, 0]])).tolist()
    [1, 3, 0]
    """
    return (windows > 0).long().cummax(dim=1).values.sum(1)


@dataclass(frozen=True)
class RightPadded:
    """Windows (B, N) as sequences (B, M) that are padded on the right.

    Attributes:
        items: (B, M) item ids, 0 after the last item of a sequence.
        lengths: (B,) number of items.
        width: N, the number of positions of the windows.

    >>> turned = RightPadded.of(torch.tensor([[0, 0, 7, 4], [0, 5, 3, 2]]), to_longest=True)
    >>> turned.items.tolist()  # M = 3, the longest length
    [[7, 4, 0], [5, 3, 2]]
    >>> turned.states(turned.items[:, :, None].float())[:, :, 0].tolist()  # back at the positions of the windows
    [[0.0, 0.0, 7.0, 4.0], [0.0, 5.0, 3.0, 2.0]]
    """

    items: Tensor
    lengths: Tensor
    width: int

    @classmethod
    def of(cls, windows: Tensor, to_longest: bool = False) -> "RightPadded":
        """Convert windows (B, N); with `to_longest`, M is the longest length (at least 1), otherwise N."""
        lengths = count_items(windows)
        width = windows.shape[1]
        place = (torch.arange(width, device=windows.device) - lengths[:, None]) % width
        longest = max(int(lengths.max()), 1) if to_longest and len(windows) else width
        return cls(windows.gather(1, place)[:, :longest], lengths, width)

    def states(self, hidden: Tensor) -> Tensor:
        """Return states (B, M, D) at the positions of the windows, (B, N, D); 0 where the original has no position."""
        full = functional.pad(hidden, (0, 0, 0, self.width - hidden.shape[1]))
        return full.gather(1, self._place()[:, :, None].expand(-1, -1, hidden.shape[-1]))

    def weights(self, attention: Tensor) -> Tensor:
        """Return attention (B, H, M, M) with rows and columns at the positions of the windows, (B, H, N, N)."""
        missing = self.width - attention.shape[-1]
        full = functional.pad(attention, (0, missing, 0, missing))
        place = self._place()[:, None]
        rows = full.gather(2, place[..., None].expand_as(full))
        return rows.gather(3, place[:, :, None].expand_as(full))

    def _place(self) -> Tensor:
        """Return for each position of the windows its place in the sequences, (B, N)."""
        return (torch.arange(self.width, device=self.items.device) + self.lengths[:, None]) % self.width
