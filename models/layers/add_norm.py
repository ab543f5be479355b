"""The end of every layer: dropout, a residual and a LayerNorm (post-norm, unless a remedy says otherwise)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers import NORM_EPS, fused
from models.layers.dropout import Dropout, Mask, MaskSource
from models.layers.parts import Part, count_parameters
from models.layers.remedies import Remedy


@dataclass(frozen=True, eq=False)
class ResidualStep:
    """One residual connection of a layer, taken apart for analysis: share * LayerNorm(x + update), without dropout.

    Layers that normalise their input instead (pre-norm) have share * (x + update).

    Attributes:
        name: What computes the update, in words.
        x: (..., D), the input, which the residual connection passes on.
        update: (..., D), what is added to it.
        norm: The LayerNorm over D; None for layers without one at their end.
        share: Factor of the output.

    >>> step = ResidualStep("attention", torch.tensor([1.0, 3.0]), torch.tensor([2.0, 0.0]), nn.LayerNorm(2))
    >>> step.total
    tensor([3., 3.])
    """

    name: str
    x: Tensor
    update: Tensor
    norm: nn.LayerNorm | None
    share: float = 1.0

    @property
    def total(self) -> Tensor:
        """The sum x + update, (..., D)."""
        return self.x + self.update

    @property
    def output(self) -> Tensor:
        """The output of the step, (..., D)."""
        return self.share * (self.total if self.norm is None else self.norm(self.total))

    def through_norm(self, part: Tensor) -> Tensor:
        """Return what becomes of a part (..., D) of `total` in the output, (..., D).

        With mean and deviation of `total` given, the LayerNorm is linear up to its bias: the parts of `total` become
        parts of the output, which sum to the output without the bias.

        >>> step = ResidualStep("attention", torch.tensor([1.0, 3.0]), torch.tensor([3.0, -1.0]), nn.LayerNorm(2, 0))
        >>> step.through_norm(step.x).tolist(), step.through_norm(step.update).tolist()  # the deviation of 4, 2 is 1
        ([-1.0, 1.0], [2.0, -2.0])
        """
        if self.norm is None:
            return self.share * part
        deviation = (self.total.var(-1, correction=0, keepdim=True) + self.norm.eps).sqrt()
        return self.share * self.norm.weight * (part - part.mean(-1, keepdim=True)) / deviation


class AddNorm(nn.Module):
    """LayerNorm(dropout(y) + x), the end of every layer y = f(x); post-norm as in Vaswani et al., NeurIPS 2017.

    With the remedy `pre_norm` it is dropout(y) + x, and y = f(LayerNorm(x)): layers pass their input through `before`
    first. With `residual_scale`, dropout(y) is scaled (models.layers.remedies).

    Source of pre-norm: Xiong et al., ICML 2020, "On layer normalization in the transformer architecture".

    >>> x, y = torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 1.0]])
    >>> AddNorm(2, 0.0, MaskSource())(y, x).tolist()
    [[-1.0, 1.0]]
    >>> pre_norm = AddNorm(2, 0.0, MaskSource(), remedy=Remedy.parse("pre_norm"))
    >>> pre_norm.before(x).tolist(), pre_norm(y, x).tolist()
    ([[-1.0, 1.0]], [[2.0, 4.0]])
    """

    def __init__(
        self, size: int, p: float, masks: MaskSource, eps: float = NORM_EPS, remedy: Remedy | None = None
    ) -> None:
        super().__init__()
        remedy = remedy or Remedy()
        self.dropout = Dropout(p, masks)
        self.norm = nn.LayerNorm(size, eps=eps)
        self.is_pre_norm = remedy.is_pre_norm
        self.scale = remedy.for_residual()

    @property
    def is_plain(self) -> bool:
        """Whether the layer ends without a remedy."""
        return not self.is_pre_norm and self.scale is None

    def before(self, x: Tensor) -> Tensor:
        """Return what the layer f computes with, (..., D), of its input x (..., D)."""
        return self._norm(x, 1.0) if self.is_pre_norm else x

    def forward(self, y: Tensor, x: Tensor, share: float = 1.0) -> Tensor:
        """Return LayerNorm(dropout(y) + x) * share; y, the layer's output, and x, its input, are (..., D)."""
        mask = self.dropout.mask(y.shape, y.device)
        return self.finish(y + x if mask is None else torch.addcmul(x, y, mask), x, share)

    def finish(self, total: Tensor, x: Tensor, share: float) -> Tensor:
        """Return LayerNorm(total) * share, (..., D), for total = dropout(y) + x; x: the layer's input."""
        if self.scale is not None:
            total = self.scale(total, x)
        return total * share if self.is_pre_norm else self._norm(total, share)

    def scaled(self, parameter: Tensor) -> Tensor:
        """Return a weight or bias, of the last linear step of f, with which dropout(y) comes out scaled already."""
        return parameter if self.scale is None else self.scale.factor * parameter

    def step(self, name: str, update: Tensor, x: Tensor, share: float = 1.0) -> ResidualStep:
        """Return the end of a layer taken apart, without dropout. name: what computes the update, in words."""
        if self.scale is not None:
            update = self.scale(x + update, x) - x
        return ResidualStep(name, x, update, None if self.is_pre_norm else self.norm, share)

    def around(self, *own: Part) -> tuple[Part, ...]:
        """Return the steps of a layer for diagrams: its own ones, and those of its end."""
        if self.is_pre_norm:
            return Part("LayerNorm", "", count_parameters(self)), *own, Part("add", adds_input=True)
        name = "add, LayerNorm" if self.scale is None else "scale, add, LayerNorm"
        return *own, Part(name, "", count_parameters(self), adds_input=True)

    def end(self, dropout_mask: Mask, share: float = 1.0) -> fused.End:
        """Return what `models.layers.fused` needs to end a layer, unless it is pre-norm; see also `scaled`.

        The share is multiplied into the weight and bias of the norm, which is cheaper than into the output.
        """
        return fused.End(self.norm.weight * share, self.norm.bias * share, self.norm.eps, dropout_mask)

    def _norm(self, x: Tensor, share: float) -> Tensor:
        end = self.end(None, share)
        return functional.layer_norm(x, x.shape[-1:], end.weight, end.bias, end.eps)
