"""The blocks of third-party models, which differ in where they put their LayerNorms.

Shapes: B sequences, M positions, D hidden size, H heads. A mask is added to the scores and broadcasts to (B, H, M, M).
The blocks are only for analysis: nothing here is trained, so there is no dropout, and the code is plain.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers.attention import value_output

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,  # exact, with erf
    "relu": functional.relu,
    "swish": functional.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "none": lambda x: x,
}


def forbid(allowed: Tensor, score: float = -torch.inf) -> Tensor:
    """Return what is added to scores: 0 where a key is allowed, else `score`; in the shape of `allowed`, bool."""
    return torch.zeros(allowed.shape, device=allowed.device).masked_fill(~allowed, score)


def lower_triangle(length: int, device: torch.device) -> Tensor:
    """Return the causal mask (M, M) bool, True where the key is not later than the query; rows are queries.

    >>> forbid(lower_triangle(2, torch.device("cpu"))).tolist()
    [[0.0, -inf], [0.0, 0.0]]
    """
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


class Attention(nn.Module):
    """Multi-head scaled dot-product attention, with an output projection or, as in ReChorus and gSASRec, without."""

    def __init__(self, size: int, heads: int, projected: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(size, size) for _ in range(3))
        self.output = nn.Linear(size, size) if projected else nn.Identity()

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output (B, M, D) and the probabilities (B, H, M, M); a row without allowed keys is 0."""
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, queries), (self.key, keys), (self.value, keys))
        )
        scores = query @ key.mT / query.shape[-1] ** 0.5 + mask
        attention = scores.softmax(dim=-1).nan_to_num(nan=0.0)
        return self.output((attention @ value).transpose(1, 2).flatten(2)), attention

    @torch.no_grad()
    def forget_scores(self) -> None:
        """See `models.layers.attention.SelfAttention`."""
        for layer in (self.query, self.key):
            layer.weight.zero_()
            layer.bias.zero_()

    def value_output(self) -> Tensor:
        """Return W_v^h W_o^h of each head, (H, D, D); see `models.layers.attention.value_output`."""
        size = self.value.in_features
        weight = self.output.weight if isinstance(self.output, nn.Linear) else torch.eye(size)
        return value_output(self.value.weight, weight.to(self.value.weight), self.heads)


class FeedForward(nn.Module):
    """The position-wise network D -> inner -> D, without residual and LayerNorm."""

    def __init__(self, size: int, inner: int, activation: str) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(size, inner), nn.Linear(inner, size)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (..., D) for x (..., D)."""
        return self.outer(self.activation(self.inner(x)))


class PostNormBlock(nn.Module):
    """Attention, then the feed-forward network; each is LayerNorm(x + f(x))."""

    def __init__(self, attention: Attention, feed_forward: FeedForward, eps: float) -> None:
        super().__init__()
        size = feed_forward.outer.out_features
        self.attention, self.feed_forward = attention, feed_forward
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(size, eps), nn.LayerNorm(size, eps)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the output (B, M, D), and the attention (B, H, M, M) or None."""
        mixed, attention = self.mix(x, mask)
        return self.feed_forward_norm(mixed + self.feed_forward(mixed)), attention

    def mix(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return x (B, M, D) after the mixing layer, and the attention (B, H, M, M) or None."""
        output, attention = self.attention(x, x, mask)
        return self.attention_norm(x + output), attention

    def value_output(self) -> Tensor | None:
        """Return W_v^h W_o^h (H, D, D) if attention is added to its own input; None if a LayerNorm is between."""
        return self.attention.value_output()


class BSARecBlock(PostNormBlock):
    """Attention mixed with a frequency filter, as in BSARec; the filter adapts to the length M of its input."""

    def __init__(self, attention: Attention, feed_forward: FeedForward, eps: float, alpha: float, c: int) -> None:
        super().__init__(attention, feed_forward, eps)
        size = feed_forward.outer.out_features
        self.alpha, self.bins = alpha, c // 2 + 1
        self.sqrt_beta = nn.Parameter(torch.empty(size))
        self.filter_norm = nn.LayerNorm(size, eps)

    def mix(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """See PostNormBlock; alpha (LFC + beta HFC) + (1 - alpha) A x, each branch with residual and LayerNorm."""
        attended, attention = super().mix(x, mask)
        spectrum = torch.fft.rfft(x, dim=1, norm="ortho")
        kept = torch.arange(spectrum.shape[1], device=x.device)[:, None] < self.bins
        low = torch.fft.irfft(spectrum * kept, n=x.shape[1], dim=1, norm="ortho")
        filtered = self.filter_norm(low + self.sqrt_beta**2 * (x - low) + x)
        return self.alpha * filtered + (1 - self.alpha) * attended, attention


class FilterBlock(nn.Module):
    """A learned filter over all positions, as in FMLP-Rec, then the feed-forward network; post-norm."""

    def __init__(self, length: int, feed_forward: FeedForward, eps: float) -> None:
        super().__init__()
        size = feed_forward.outer.out_features
        self.filter = nn.Parameter(torch.empty(length // 2 + 1, size, 2))  # real and imaginary parts
        self.feed_forward = feed_forward
        self.filter_norm, self.feed_forward_norm = nn.LayerNorm(size, eps), nn.LayerNorm(size, eps)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, None]:
        """Return the output (B, M, D) and None, because there is no attention; the mask is not used."""
        spectrum = torch.fft.rfft(x, dim=1, norm="ortho") * torch.view_as_complex(self.filter)
        mixed = self.filter_norm(torch.fft.irfft(spectrum, n=x.shape[1], dim=1, norm="ortho") + x)
        return self.feed_forward_norm(mixed + self.feed_forward(mixed)), None


class PreNormBlock(PostNormBlock):
    """Attention, then the feed-forward network; each is x + f(LayerNorm(x))."""

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """See PostNormBlock."""
        normed = self.attention_norm(x)
        output, attention = self.attention(normed, normed, mask)
        x = x + output
        return x + self.feed_forward(self.feed_forward_norm(x)), attention

    def value_output(self) -> None:
        """See PostNormBlock."""


class QueryNormBlock(PostNormBlock):
    """As in the first SASRec in TensorFlow: only queries are normalised, and the residual is the query."""

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """See PostNormBlock."""
        query = self.attention_norm(x)
        output, attention = self.attention(query, x, mask)
        x = self.feed_forward_norm(query + output)
        return x + self.feed_forward(x), attention

    def value_output(self) -> None:
        """See PostNormBlock."""
