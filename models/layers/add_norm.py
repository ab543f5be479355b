"""The end of every layer: dropout, a residual and a LayerNorm (post-norm)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers import fused
from models.layers.dropout import Dropout, MaskSource
from models.layers.parts import Part, count_parameters

NORM_EPS = 1e-12


class AddNorm(nn.Module):
    """LayerNorm(dropout(y) + x), the end of every layer."""

    def __init__(self, size: int, p: float, masks: MaskSource) -> None:
        super().__init__()
        self.dropout = Dropout(p, masks)
        self.norm = nn.LayerNorm(size, eps=NORM_EPS)

    def forward(self, y: Tensor, x: Tensor, share: float = 1.0) -> Tensor:
        """Return the normalised sum of a layer's output y and its input x, (..., D), times `share`."""
        mask = self.dropout.mask(y.shape, y.device)
        return self.normalise(y + x if mask is None else torch.addcmul(x, y, mask), share)

    def normalise(self, total: Tensor, share: float) -> Tensor:
        """Return LayerNorm(total) * share."""
        end = self.end(None, share)
        return functional.layer_norm(total, total.shape[-1:], end.weight, end.bias, end.eps)

    def part(self) -> Part:
        """Return the step that this is in the diagram of a layer."""
        return Part("add, LayerNorm", "", count_parameters(self))

    def end(self, dropout_mask: Tensor | None, share: float = 1.0) -> fused.End:
        """Return what `models.layers.fused` needs to end a layer; the share goes into the weights, which are few."""
        return fused.End(self.norm.weight * share, self.norm.bias * share, self.norm.eps, dropout_mask)
