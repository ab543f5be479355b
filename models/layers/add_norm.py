"""The end of every layer: dropout, a residual and a LayerNorm (post-norm)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers import fused
from models.layers.dropout import Dropout, MaskSource
from models.layers.parts import Part, count_parameters

NORM_EPS = 1e-12


@dataclass(frozen=True, eq=False)
class ResidualStep:
    """One residual connection of a layer, taken apart for analysis: share * LayerNorm(x + update), without dropout.

    Attributes:
        name: What computes the update, in words.
        x: (..., D), the input, which the residual connection passes on.
        update: (..., D), what is added to it.
        norm: The LayerNorm over D.
        share: Factor of the output.

    >>> step = ResidualStep("attention", torch.tensor([1.0, 3.0]), torch.tensor([2.0, 0.0]), nn.LayerNorm(2))
    >>> step.total
    tensor([3., 3.])
    """

    name: str
    x: Tensor
    update: Tensor
    norm: nn.LayerNorm
    share: float = 1.0

    @property
    def total(self) -> Tensor:
        """The sum x + update, (..., D)."""
        return self.x + self.update

    @property
    def output(self) -> Tensor:
        """The output of the step, (..., D)."""
        return self.share * self.norm(self.total)

    def through_norm(self, part: Tensor) -> Tensor:
        """Return what becomes of a part (..., D) of `total` in the output, (..., D).

        With mean and deviation of `total` given, the LayerNorm is linear up to its bias: the parts of `total` become
        parts of the output, which sum to the output without the bias.

        >>> step = ResidualStep("attention", torch.tensor([1.0, 3.0]), torch.tensor([3.0, -1.0]), nn.LayerNorm(2, 0))
        >>> step.through_norm(step.x).tolist(), step.through_norm(step.update).tolist()  # the deviation of 4, 2 is 1
        ([-1.0, 1.0], [2.0, -2.0])
        """
        deviation = (self.total.var(-1, correction=0, keepdim=True) + self.norm.eps).sqrt()
        return self.share * self.norm.weight * (part - part.mean(-1, keepdim=True)) / deviation


class AddNorm(nn.Module):
    """LayerNorm(dropout(y) + x), the end of every layer; post-norm as in Vaswani et al., NeurIPS 2017."""

    def __init__(self, size: int, p: float, masks: MaskSource, eps: float = NORM_EPS) -> None:
        super().__init__()
        self.dropout = Dropout(p, masks)
        self.norm = nn.LayerNorm(size, eps=eps)

    def forward(self, y: Tensor, x: Tensor, share: float = 1.0) -> Tensor:
        """Return LayerNorm(dropout(y) + x) * share; y, the layer's output, and x, its input, are (..., D)."""
        mask = self.dropout.mask(y.shape, y.device)
        return self.normalise(y + x if mask is None else torch.addcmul(x, y, mask), share)

    def normalise(self, total: Tensor, share: float) -> Tensor:
        """Return LayerNorm(total) * share, (..., D)."""
        end = self.end(None, share)
        return functional.layer_norm(total, total.shape[-1:], end.weight, end.bias, end.eps)

    def step(self, name: str, update: Tensor, x: Tensor, share: float = 1.0) -> ResidualStep:
        """Return LayerNorm(update + x) * share, taken apart. name: what computes the update, in words."""
        return ResidualStep(name, x, update, self.norm, share)

    def part(self) -> Part:
        """Return this step for the diagram of a layer."""
        return Part("add, LayerNorm", "", count_parameters(self))

    def end(self, dropout_mask: Tensor | None, share: float = 1.0) -> fused.End:
        """Return what `models.layers.fused` needs to end a layer.

        The share is multiplied into the weight and bias of the norm, which is cheaper than into the output.
        """
        return fused.End(self.norm.weight * share, self.norm.bias * share, self.norm.eps, dropout_mask)
