"""Between our windows, padded on the left, and sequences padded on the right.

A window of N positions with n items is turned around its end: its items come first and its padding behind them, in the
same order. Turning back puts every state, and every row and column of an attention map, where our measures expect it:
items in the last n positions. Nothing is computed anew, so the numbers at real positions are those of the original.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


def count_items(windows: Tensor) -> Tensor:
    """Return the number of positions from the first item of each window (B, N) on, (B,); 0 where there is none."""
    return (windows > 0).long().cummax(dim=1).values.sum(1)


@dataclass(frozen=True)
class RightPadded:
    """Windows (B, N) turned into sequences (B, M) that are padded on the right.

    Attributes:
        items: (B, M) item ids, 0 behind the last item of a sequence.
        lengths: (B,) number of items.
        width: N, of the windows.
    """

    items: Tensor
    lengths: Tensor
    width: int

    @classmethod
    def of(cls, windows: Tensor, to_longest: bool = False) -> "RightPadded":
        """Turn windows; `to_longest` leaves out the padding that all of them have, so M is the longest length."""
        lengths = count_items(windows)
        width = windows.shape[1]
        place = (torch.arange(width, device=windows.device) - lengths[:, None]) % width
        longest = max(int(lengths.max()), 1) if to_longest and len(windows) else width
        return cls(windows.gather(1, place)[:, :longest], lengths, width)

    def states(self, hidden: Tensor) -> Tensor:
        """(B, M, D) -> (B, N, D) at the positions of the windows; 0 where the original had no position."""
        full = functional.pad(hidden, (0, 0, 0, self.width - hidden.shape[1]))
        return full.gather(1, self._place()[:, :, None].expand(-1, -1, hidden.shape[-1]))

    def weights(self, attention: Tensor) -> Tensor:
        """(B, H, M, M) -> (B, H, N, N), rows and columns at the positions of the windows."""
        missing = self.width - attention.shape[-1]
        full = functional.pad(attention, (0, missing, 0, missing))
        place = self._place()[:, None]
        rows = full.gather(2, place[..., None].expand_as(full))
        return rows.gather(3, place[:, :, None].expand_as(full))

    def _place(self) -> Tensor:
        """(B, N) where each position of the windows is in the turned sequences."""
        return (torch.arange(self.width, device=self.items.device) + self.lengths[:, None]) % self.width
