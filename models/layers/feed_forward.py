"""The position-wise feed-forward network of a block."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from models.layers import fused
from models.layers.add_norm import NORM_EPS, AddNorm, ResidualStep
from models.layers.dropout import MaskSource
from models.layers.gelu import gelu
from models.layers.parts import Part, count_parameters
from models.layers.remedies import Remedy


class FeedForward(nn.Module):
    """The position-wise network D -> 4 D -> D with exact (erf) GELU, residual and LayerNorm.

    Source: Vaswani et al., NeurIPS 2017, section 3.3, with the GELU of Hendrycks and Gimpel, 2016, for the ReLU.

    >>> import torch
    >>> layer = FeedForward(size=8, p=0.0, masks=MaskSource())
    >>> layer(torch.randn(2, 5, 8)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self, size: int, p: float, masks: MaskSource, eps: float = NORM_EPS, remedy: Remedy | None = None
    ) -> None:
        super().__init__()
        self.inner = nn.Linear(size, 4 * size)
        self.outer = nn.Linear(4 * size, size)
        self.add_norm = AddNorm(size, p, masks, eps, remedy)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., D). Returns (..., D)."""
        if self.add_norm.is_pre_norm:
            return self.add_norm(self._update(x, gelu), x)
        end = self.add_norm.end(self.add_norm.dropout.coins(x.shape, x.device))
        w2, b2 = self.add_norm.scaled(self.outer.weight), self.add_norm.scaled(self.outer.bias)
        return fused.feed_forward(x, self.inner.weight, self.inner.bias, w2, b2, end)

    def step(self, x: Tensor) -> ResidualStep:
        """Return the layer at x (..., D), taken apart."""
        return self.add_norm.step("feed-forward", self._update(x), x)

    def _update(self, x: Tensor, activation: Callable[[Tensor], Tensor] = functional.gelu) -> Tensor:
        return self.outer(activation(self.inner(self.add_norm.before(x))))

    def parts(self) -> tuple[Part, ...]:
        """Return the steps of the layer."""
        size, inner = self.inner.in_features, self.inner.out_features
        own = Part("feed-forward", f"{size} → {inner} → {size}, GELU", count_parameters(self.inner, self.outer))
        return self.add_norm.around(own)
