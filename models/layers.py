"""The layers that the models are put together from, in the semantics of the published implementation.

Shapes: B sequences, N positions, D hidden size, H heads. Every mixing layer ends with dropout, a residual and a
LayerNorm (post-norm), and can compute its output for the last position only: the last block of a model needs no
other when it is trained or evaluated.
"""

import torch
from torch import Tensor, nn

from models.dropout import Dropout, MaskSource
from models.feed_forward import feed_forward

MASKED = -10000.0  # added to the score of a forbidden key; a row of padding, all forbidden, stays a softmax
NORM_EPS = 1e-12


def attention_mask(input_ids: Tensor, causal: bool = True) -> Tensor:
    """Return what is added to attention scores: 0 for allowed keys, -10000 for padding and (if causal) the future.

    input_ids: (B, N), 0 is padding. Returns (B, 1, N, N). A query at a padding position has every key forbidden
    alike, so its softmax runs over all N positions: an oddity of the published code that is kept.
    """
    length = input_ids.shape[1]
    allowed = (input_ids > 0)[:, None, None, :].expand(-1, 1, length, length)
    if causal:
        allowed = allowed & torch.ones(length, length, dtype=torch.bool, device=input_ids.device).tril()
    return torch.where(allowed, 0.0, MASKED)


def low_pass_basis(length: int, c: int) -> Tensor:
    """Return orthonormal columns (N, c) that span the c lowest DFT modes of a real signal of N samples.

    The projection U U^T equals keeping the first c // 2 + 1 bins of the real FFT: DC and (c - 1) / 2 conjugate
    pairs (Shin et al., AAAI 2024, LFC). c is odd and at most N.
    """
    bins = c // 2 + 1
    unit = torch.zeros(c, length // 2 + 1, dtype=torch.complex128)
    unit[0, 0] = 1
    for pair in range(
        1, bins
    ):  # cosine and sine of each frequency; 1/sqrt(2) because irfft adds the conjugate
        unit[2 * pair - 1, pair] = 0.5**0.5
        unit[2 * pair, pair] = -1j * 0.5**0.5
    return torch.fft.irfft(unit, n=length, dim=1, norm="ortho").T.contiguous().float()


class AddNorm(nn.Module):
    """LayerNorm(dropout(y) + x), the end of every layer."""

    def __init__(self, size: int, p: float, masks: MaskSource) -> None:
        super().__init__()
        self.dropout = Dropout(p, masks)
        self.norm = nn.LayerNorm(size, eps=NORM_EPS)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Return the normalised sum of a layer's output y and its input x, (..., D)."""
        mask = self.dropout.mask(y)
        return self.norm(y + x if mask is None else torch.addcmul(x, y, mask))


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product attention with its output projection, residual and LayerNorm."""

    def __init__(self, size: int, heads: int, p: float, masks: MaskSource) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (size // heads) ** -0.5
        self.qkv = nn.Linear(
            size, 3 * size
        )  # query, key and value stacked: one matrix product instead of three
        self.output = nn.Linear(size, size)
        self.attention_dropout = Dropout(p, masks)
        self.add_norm = AddNorm(size, p, masks)

    def forward(self, x: Tensor, mask: Tensor, last_only: bool = False) -> tuple[Tensor, Tensor]:
        """Mix positions by attention.

        x: (B, N, D); mask: (B, 1, N, N), added to the scores. Returns the output (B, N, D) and the attention
        before dropout (B, H, N, N); with `last_only` (B, 1, D) and (B, H, 1, N).
        """
        attend = self._attend_last if last_only else self._attend
        context, attention = attend(x, mask)
        return self.add_norm(self.output(context), x[:, -1:] if last_only else x), attention

    def _attend(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        query, key, value = (self._split_heads(part) for part in self.qkv(x).chunk(3, dim=-1))
        scores = query @ key.transpose(-1, -2) * self.scale + mask
        attention = scores.softmax(dim=-1)  # rows are queries, each sums to 1
        context = self.attention_dropout(attention) @ value  # (B, H, N, D / H)
        return context.transpose(1, 2).flatten(2), attention

    def _attend_last(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The same for the last query alone, without projecting N keys and values for it.

        q . (W_k x + b_k) = (W_k^T q) . x + q . b_k, and sum_n a_n (W_v x_n + b_v) = W_v sum_n a_n x_n + b_v sum_n a_n.
        """
        weights = self.qkv.weight.unflatten(0, (3, self.heads, -1))  # (3, H, D / H, D)
        biases = self.qkv.bias.unflatten(0, (3, self.heads, -1))  # (3, H, D / H)
        query = torch.einsum("bd,hed->bhe", x[:, -1], weights[0]) + biases[0]
        scores = torch.einsum("bhe,hed->bhd", query, weights[1]) @ x.transpose(-1, -2)  # (B, H, N)
        scores = (scores + (query * biases[1]).sum(-1, keepdim=True)) * self.scale + mask[:, :, -1]
        attention = scores.softmax(dim=-1)
        dropped = self.attention_dropout(attention)
        context = torch.einsum("bhd,hed->bhe", dropped @ x, weights[2])
        context = context + biases[2] * dropped.sum(-1, keepdim=True)
        return context.flatten(1)[:, None], attention[:, :, None]

    def _split_heads(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, H, N, D / H)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FrequencyLayer(nn.Module):
    """The attentive inductive bias of BSARec: LFC[x] + beta * HFC[x], with its residual and LayerNorm.

    beta >= 0 is the square of a trained vector over the D dimensions (or of one number, `scalar`). The low-pass is
    applied as the projection U U^T it is, which is far cheaper than two FFTs (Shin et al., AAAI 2024, section 4).
    """

    basis: Tensor

    def __init__(self, size: int, length: int, c: int, scalar: bool, p: float, masks: MaskSource) -> None:
        super().__init__()
        self.sqrt_beta = nn.Parameter(torch.empty(1 if scalar else size))
        self.register_buffer("basis", low_pass_basis(length, c), persistent=False)
        self.add_norm = AddNorm(size, p, masks)

    @property
    def beta(self) -> Tensor:
        """The gain of the high frequencies, (D,) or (1,)."""
        return self.sqrt_beta**2

    def forward(self, x: Tensor, last_only: bool = False) -> Tensor:
        """x: (B, N, D). Returns (B, N, D), or (B, 1, D) with `last_only`. N must be the length the layer is for."""
        basis = self.basis[-1:] if last_only else self.basis
        modes = self.basis.T @ x  # (B, c, D)
        x = x[:, -1:] if last_only else x
        beta = self.beta
        filtered = beta * x + basis @ ((1 - beta) * modes)  # = low + beta (x - low)
        return self.add_norm(filtered, x)


class FeedForward(nn.Module):
    """The position-wise network D -> 4 D -> D with exact GELU, its residual and LayerNorm."""

    def __init__(self, size: int, p: float, masks: MaskSource) -> None:
        super().__init__()
        self.inner = nn.Linear(size, 4 * size)
        self.outer = nn.Linear(4 * size, size)
        self.add_norm = AddNorm(size, p, masks)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., D). Returns (..., D)."""
        return self.add_norm(feed_forward(x, self.inner, self.outer), x)
