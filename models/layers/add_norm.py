"""The end of every layer: dropout, a residual and a LayerNorm (post-norm)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers import fused
from models.layers.dropout import Dropout, MaskSource
from models.layers.parts import Part, count_parameters

NORM_EPS = 1e-12


class AddNorm(nn.Module):
    """LayerNorm(dropout(y) + x), the end of every layer; post-norm as in Vaswani et al., NeurIPS 2017."""

    def __init__(self, size: int, p: float, masks: MaskSource) -> None:
        super().__init__()
        self.dropout = Dropout(p, masks)
        self.norm = nn.LayerNorm(size, eps=NORM_EPS)

    def forward(self, y: Tensor, x: Tensor, share: float = 1.0) -> Tensor:
        """Return LayerNorm(dropout(y) + x) * share; y, the layer's output, and x, its input, are (..., D)."""
        mask = self.dropout.mask(y.shape, y.device)
        return self.normalise(y + x if mask is None else torch.addcmul(x, y, mask), share)

    def normalise(self, total: Tensor, share: float = 1.0) -> Tensor:
        """Return LayerNorm(total) * share, (..., D)."""
        end = self.end(None, share)
        return functional.layer_norm(total, total.shape[-1:], end.weight, end.bias, end.eps)

    def part(self) -> Part:
        """Return this step for the diagram of a layer."""
        return Part("add, LayerNorm", "", count_parameters(self))

    def end(self, dropout_mask: Tensor | None, share: float = 1.0) -> fused.End:
        """Return what `models.layers.fused` needs to end a layer.

        The share is multiplied into the weight and bias of the norm, which is cheaper than into the output.
        """
        return fused.End(self.norm.weight * share, self.norm.bias * share, self.norm.eps, dropout_mask)
