"""The two branches of LoWARec: a low-pass with a short convolution, and attention through a few projections.

Shapes: B sequences, N positions, D hidden size, H heads, P projections.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers.add_norm import AddNorm
from models.layers.attention import value_output
from models.layers.constant import Constant
from models.layers.dropout import MaskSource
from models.layers.feed_forward import FeedForward
from models.layers.frequency import low_pass_basis
from models.layers.parts import Part, count_parameters, heads_text

PROJECTED_EPS = 1e-5  # of the LayerNorms of the attention branch; the others have the frame's
TAPS = 3  # of the convolution: the position before, the position itself, and the one after


class LowPassConvolution(nn.Module):
    """sigmoid(a) * low-pass + (1 - sigmoid(a)) * convolution over three positions, with residual and LayerNorm.

    The low-pass keeps the c lowest modes (see `low_pass_basis`). The convolution has a kernel for each dimension, which
    starts as the difference to the position before (its authors call it a wavelet), and takes zeros beyond the window.
    a is learned.

    Source: Li et al., Low-Rank Guided Attention with Wavelet Augmentation for Sequential Recommendation, DASFAA 2026.
    """

    def __init__(self, size: int, length: int, c: int, p: float, masks: MaskSource) -> None:
        super().__init__()
        self.mixing = nn.Parameter(torch.empty(()))  # a
        self.kernel = nn.Parameter(torch.empty(TAPS, size))
        self.basis = Constant(low_pass_basis(length, c))
        self.add_norm = AddNorm(size, p, masks)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (B, N, D); x: (B, N, D), with the N that the layer was made for."""
        return self._filter(x, x, self.basis.like(x), functional.pad(x, (0, 0, 1, 1)))

    def last(self, x: Tensor, at: Tensor) -> Tensor:
        """Return the output at the last position only, (B, D); x: (B, N, D), at: (B, D), its last position."""
        near = functional.pad(x, (0, 0, 1, 1))[:, -TAPS:]
        return self._filter(x, at[:, None], self.basis.like(x)[-1:], near)[:, 0]

    def parts(self) -> tuple[Part, ...]:
        """Return the steps of the layer."""
        length, c = self.basis.value.shape
        low = Part("low-pass", f"{c} of {length} modes", self.mixing.numel())
        return self.add_norm.around(low, Part("+ convolution", f"{TAPS} positions", self.kernel.numel()))

    def _filter(self, x: Tensor, at: Tensor, basis_at: Tensor, near: Tensor) -> Tensor:
        windows = near.unfold(1, TAPS, 1)  # (B, n, D, taps)
        convolved = (windows * self.kernel.T).sum(-1)
        return self.add_norm(torch.lerp(convolved, basis_at @ (self.basis.like(x).T @ x), self.mixing.sigmoid()), at)


class CrossAttention(nn.Module):
    """Multi-head attention of queries to keys, with an output projection; no mask, no residual."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(size, size) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output (B, n, D) and the attention (B, H, n, m), for n queries, and m keys and values."""
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(-3, -2)
            for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        attention = (query @ key.mT * query.shape[-1] ** -0.5).softmax(dim=-1)
        return self.output((attention @ value).transpose(-3, -2).flatten(-2)), attention

    def value_output(self) -> Tensor:
        """Return W_v^h W_o^h of each head, (H, D, D); see `models.layers.attention.value_output`."""
        return value_output(self.value.weight, self.output.weight, self.heads)

    @torch.no_grad()
    def forget_scores(self) -> None:
        """Set queries to zero: all scores are 0, so attention is uniform."""
        self.query.weight.zero_()
        self.query.bias.zero_()


class ProjectedAttention(nn.Module):
    """Attention through P learned vectors, then a feed-forward network; each with residual and LayerNorm.

    The P vectors attend to all positions and gather a summary each; then the positions attend to the P vectors and take
    their summaries. There is no mask: padding and later positions are attended to as well. What a position takes of
    another is a product of both attentions, so a map of rank P at most, for each head of the second and each of the
    first: H * H maps.

    Source: Li et al., DASFAA 2026; see LowPassConvolution.
    """

    def __init__(self, size: int, heads: int, projections: int, p: float, masks: MaskSource) -> None:
        super().__init__()
        self.projections = nn.Parameter(torch.empty(projections, size))
        self.gather, self.spread = CrossAttention(size, heads), CrossAttention(size, heads)
        self.add_norm = AddNorm(size, p, masks, PROJECTED_EPS)
        self.feed_forward = FeedForward(size, p, masks, PROJECTED_EPS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output (B, N, D), and the attention (B, H * H, N, N), of all pairs of heads; x: (B, N, D)."""
        output, gathered, spread = self._attend(x, x)
        return output, (spread[:, :, None] @ gathered[:, None]).flatten(1, 2)

    def last(self, x: Tensor, at: Tensor) -> Tensor:
        """Return the output at the last position only, (B, D); x: (B, N, D), at: (B, D), its last position."""
        return self._attend(x, at[:, None])[0][:, 0]

    def parts(self) -> tuple[Part, ...]:
        """Return the steps of the layer."""
        count = len(self.projections)
        trained = self.projections.numel() + count_parameters(self.gather, self.spread)
        own = Part(f"attention via {count} vectors", heads_text(self.gather.heads), trained)
        return *self.add_norm.around(own), *self.feed_forward.parts()

    def value_output(self) -> Tensor:
        """Return the products of W_v W_o of both attentions (H * H, D, D), in the order of the maps."""
        gathered, spread = self.gather.value_output(), self.spread.value_output()
        return (gathered @ spread[:, None]).flatten(0, 1)

    def _attend(self, x: Tensor, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output at some positions `at` (B, n, D) of x (B, N, D), and the attention of both steps."""
        vectors = self.projections.expand(len(x), -1, -1)
        summary, gathered = self.gather(vectors, x, x)
        message, spread = self.spread(at, vectors, summary)
        return self.feed_forward(self.add_norm(message, at)), gathered, spread
