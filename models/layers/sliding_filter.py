"""SLIME4Rec's mixing layer: two learned filters, each on a band of frequencies that slides down with the layer."""

import torch
from torch import Tensor, nn

from models.layers.dropout import MaskSource
from models.layers.frequency import LearnedFilter
from models.layers.parts import Branch, Part


class SlidingFilter(LearnedFilter):
    """The layer of SLIME4Rec: the sum of a dynamic and a static filter, each learned, and 0 outside of its band.

    dynamic, static: the bins of the real FFT in the two bands.

    Source: Du et al., Contrastive Enhanced Slide Filter Mixer for Sequential Recommendation, ICDE 2023.
    """

    def __init__(self, size: int, length: int, dynamic: range, static: range, p: float, masks: MaskSource) -> None:
        super().__init__(size, length, p, masks)
        self.static_filter = nn.Parameter(torch.empty_like(self.filter))
        bands = torch.zeros(2, length // 2 + 1, 1, 1)  # 1 for the bins of each band
        bands[0, list(dynamic)] = bands[1, list(static)] = 1
        self.bands: Tensor
        self.register_buffer("bands", bands, persistent=False)

    @property
    def response(self) -> Tensor:
        """See LearnedFilter."""
        dynamic, static = self.bands
        return self.filter * dynamic + self.static_filter * static

    def branches(self) -> tuple[Branch, ...]:
        """See Mixer."""
        dynamic, static = (f"{int(band.sum())} of {len(band)} bins" for band in self.bands)
        parts = (
            Part("dynamic filter", dynamic, self.filter.numel()),
            Part("+ static filter", static, self.filter.numel()),
        )
        return (Branch(self.add_norm.around(*parts)),)
