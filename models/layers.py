"""The layers that the models are put together from, in the semantics of the published implementation.

Shapes: B sequences, N positions, D hidden size, H heads. Every mixing layer ends with dropout, a residual and a
LayerNorm (post-norm), and has a `last` that computes its output for the last position only: the last block of a
model needs no other when it is trained or evaluated.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from models import blocked
from models.dropout import Dropout, MaskSource
from models.layout import Group, Layout

NORM_EPS = 1e-12


def low_pass_basis(length: int, c: int) -> Tensor:
    """Return orthonormal columns (N, c) that span the c lowest DFT modes of a real signal of N samples.

    The projection U U^T equals keeping the first c // 2 + 1 bins of the real FFT: DC and (c - 1) / 2 conjugate
    pairs (Shin et al., AAAI 2024, LFC). c is odd and at most N.
    """
    bins = c // 2 + 1
    unit = torch.zeros(c, length // 2 + 1, dtype=torch.complex128)
    unit[0, 0] = 1
    for pair in range(1, bins):  # cosine and sine of each frequency; 1/sqrt(2) because irfft adds the conjugate
        unit[2 * pair - 1, pair] = 0.5**0.5
        unit[2 * pair, pair] = -1j * 0.5**0.5
    return torch.fft.irfft(unit, n=length, dim=1, norm="ortho").T.contiguous()


def real_fourier_matrices(length: int) -> tuple[Tensor, Tensor]:
    """Return matrices (2 F, N) and (N, 2 F) that transform a real signal of N samples as rfft and irfft ("ortho") do.

    F = N // 2 + 1; a spectrum is its F real parts, then its F imaginary parts.
    """
    spectrum = torch.fft.rfft(torch.eye(length, dtype=torch.float64), dim=0, norm="ortho")
    unit = torch.eye(length // 2 + 1, dtype=torch.complex128)
    inverse = torch.fft.irfft(torch.cat([unit, 1j * unit]), n=length, dim=1, norm="ortho")
    return torch.cat([spectrum.real, spectrum.imag]), inverse.T.contiguous()


def value_output(w_value: Tensor, w_output: Tensor, heads: int) -> Tensor:
    """Return W_v^h W_o^h of each head, (H, D, D), from the weights (D, D) of the value and the output projection.

    Attention A_h of the heads on x (N, D) puts out sum_h A_h x W_v^h W_o^h, plus biases that are the same at every
    position.
    """
    values = w_value.unflatten(0, (heads, -1))  # (H, D / H, D)
    outputs = w_output.unflatten(1, (heads, -1)).transpose(0, 1)  # (H, D, D / H)
    return (outputs @ values).mT


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

    def end(self, dropout_mask: Tensor | None, share: float = 1.0) -> blocked.End:
        """Return what `models.blocked` needs to end a layer; the share goes into the weights, which are few."""
        return blocked.End(self.norm.weight * share, self.norm.bias * share, self.norm.eps, dropout_mask)


class Mixer(nn.Module):
    """What a block mixes positions with."""

    @abstractmethod
    def forward(self, x: Tensor, layout: Layout) -> tuple[Tensor, list[Tensor]]:
        """Mix positions: rows (..., D) of the layout.

        Returns rows, and the attention of each of the layout's groups (none if the layer has no attention).
        """

    @abstractmethod
    def last(self, x: Tensor, at: Tensor, mask: Tensor) -> Tensor:
        """Return the output at the last position alone, (B, D).

        x: (B, N, D); at: (B, D), its last position; mask: (B, 1, N), added to the scores of attention.
        """

    def value_output(self) -> Tensor | None:
        """Return W_v^h W_o^h (H, D, D) if the layer adds attention sum_h A_h x W_v^h W_o^h to x; see `value_output`."""
        return None


class SelfAttention(Mixer):
    """Multi-head scaled dot-product attention with its output projection, residual and LayerNorm."""

    def __init__(self, size: int, heads: int, p: float, masks: MaskSource) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (size // heads) ** -0.5
        self.qkv = nn.Linear(size, 3 * size)  # query, key and value stacked: one matrix product instead of three
        self.output = nn.Linear(size, size)
        self.attention_dropout = Dropout(p, masks)
        self.add_norm = AddNorm(size, p, masks)

    def forward(self, x: Tensor, layout: Layout, share: float = 1.0) -> tuple[Tensor, list[Tensor]]:
        """See Mixer; the output is multiplied by `share`. The attention of a group is (b, H, T, T), before dropout."""
        dropout_masks = self.attention_dropout.masks([self._shape(group) for group in layout.groups], x.device)
        if self.heads > 1:
            context, attention = self._attend(self.qkv(x).flatten(end_dim=-2), layout.groups, dropout_masks)
            return self.add_norm(self.output(context).view(x.shape), x, share), attention
        end = self.add_norm.end(self.add_norm.dropout.mask(x.shape, x.device), share)
        weights = (*self._merged(), self.output.bias)
        return blocked.single_head(x, *weights, end, layout.groups, dropout_masks, self.scale)

    def value_output(self) -> Tensor:
        """See Mixer."""
        return value_output(self.qkv.weight.chunk(3)[2], self.output.weight, self.heads)

    def _attend(
        self, qkv: Tensor, groups: list[Group], dropout_masks: list[Tensor] | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the heads' outputs side by side (rows, D), and the attention of each group."""
        contexts, attentions = [], []
        for index, group in enumerate(groups):
            grid = group.to_grid(qkv[group.rows]).unflatten(-1, (3, self.heads, -1))
            query, key, value = grid.permute(2, 0, 3, 1, 4)  # (b, H, T, D / H) each
            scores = query @ key.mT * self.scale + group.mask
            attention = scores.softmax(dim=-1)  # (b, H, T, T), rows are queries, each sums to 1
            dropped = attention if dropout_masks is None else attention * dropout_masks[index]
            contexts.append(group.to_rows((dropped @ value).transpose(1, 2)))
            attentions.append(attention)
        return torch.cat(contexts), attentions

    def _merged(self) -> tuple[Tensor, Tensor]:
        """Return weight (2 D, D) and bias (2 D,) of queries and values that make do without keys and output.

        With one head, q . k = (W_q x + b_q) . (W_k y + b_k) = (W_k^T W_q x + W_k^T b_q) . y plus a number that is the
        same for all keys, which softmax does not see; and W_o goes before the weighted sum as well as after it.
        """
        (w_query, w_key, w_value), (b_query, _, b_value) = self.qkv.weight.chunk(3), self.qkv.bias.chunk(3)
        w_output = self.output.weight
        return torch.cat([w_key.T @ w_query, w_output @ w_value]), torch.cat([w_key.T @ b_query, w_output @ b_value])

    def last(self, x: Tensor, at: Tensor, mask: Tensor, share: float = 1.0) -> Tensor:
        """See Mixer; the output is multiplied by `share`. One query needs no N keys and values.

        q . (W_k x + b_k) is (W_k^T q) . x plus a number that is the same for all keys, which softmax does not see, and
        sum_n a_n (W_v x_n + b_v) = W_v sum_n a_n x_n + b_v sum_n a_n.
        """
        batch, size = at.shape
        w_query, w_key, w_value = self.qkv.weight.view(3, self.heads, -1, size)  # (H, D / H, D) each
        b_query, _, b_value = self.qkv.bias.view(3, self.heads, 1, -1)
        query = torch.baddbmm(b_query, at.expand(self.heads, -1, -1), w_query.mT) @ w_key  # (H, B, D)
        dropout_mask = self.attention_dropout.mask((batch, self.heads, x.shape[1]), x.device)
        mixed, weight = blocked.attend_one(x, query.transpose(0, 1), mask, dropout_mask, self.scale)
        context = mixed.transpose(0, 1) @ w_value.mT + b_value * weight.transpose(0, 1)  # (H, B, D / H)
        return self.add_norm(self.output(context.transpose(0, 1).flatten(1)), at, share)

    def _shape(self, group: Group) -> tuple[int, int, int, int]:
        sequences, _, length, _ = group.mask.shape
        return sequences, self.heads, length, length


class FrequencyLayer(nn.Module):
    """The attentive inductive bias of BSARec: LFC[x] + beta * HFC[x], with its residual and LayerNorm.

    beta >= 0 is the square of a trained vector over the D dimensions (or of one number, `scalar`). The low-pass is
    applied as the projection U U^T it is, which is far cheaper than two FFTs (Shin et al., AAAI 2024, section 4).
    """

    def __init__(self, size: int, length: int, c: int, scalar: bool, p: float, masks: MaskSource) -> None:
        super().__init__()
        self.sqrt_beta = nn.Parameter(torch.empty(1 if scalar else size))
        # In float64 and on the CPU (some devices have no float64); it follows the input where it is used.
        self.basis = low_pass_basis(length, c)
        self.add_norm = AddNorm(size, p, masks)

    @property
    def beta(self) -> Tensor:
        """The gain of the high frequencies, (D,) or (1,)."""
        return self.sqrt_beta**2

    @property
    def filter(self) -> Tensor:
        """What each frequency of each dimension is multiplied by, (N // 2 + 1, D) complex: 1, above c modes beta."""
        length, c = self.basis.shape
        high = torch.arange(length // 2 + 1, device=self.beta.device) > c // 2
        gain = torch.where(high[:, None], self.beta, 1.0).expand(-1, self.add_norm.norm.weight.shape[0])
        return gain.to(torch.complex128 if gain.dtype == torch.float64 else torch.complex64)

    def forward(self, x: Tensor, share: float) -> Tensor:
        """x: (B, N, D), N the length that the layer is for. Returns the output (B, N, D), times `share`."""
        return self._filter(x, x, self.basis, share)

    def last(self, x: Tensor, at: Tensor, share: float) -> Tensor:
        """The same at the last position alone, (B, D), from x (B, N, D) and its last position `at` (B, D)."""
        return self._filter(x, at[:, None], self.basis[-1:], share)[:, 0]

    def _filter(self, x: Tensor, at: Tensor, basis_at: Tensor, share: float) -> Tensor:
        dropout_mask = self.add_norm.dropout.mask(at.shape, at.device)
        basis, basis_at = (part.to(x.dtype).to(x.device) for part in (self.basis, basis_at))
        total = blocked.frequency_filter(x, at, basis, basis_at, self.beta, dropout_mask)
        return self.add_norm.normalise(total, share)


class LearnedFilter(Mixer):
    """FMLP-Rec's layer: each frequency of each dimension is multiplied by a learned complex number.

    That is a circular convolution along positions (Zhou et al., WWW 2022, section 4.2), and at the last position alone
    it is computed as one. For all positions both Fourier transforms are products with a matrix, which is the same for
    every sequence and dimension: exactly equal to FFTs, and much cheaper on a CPU at the lengths of windows.
    """

    def __init__(self, size: int, length: int, p: float, masks: MaskSource) -> None:
        super().__init__()
        self.length = length
        self.filter = nn.Parameter(torch.empty(length // 2 + 1, size, 2))  # real and imaginary parts
        # In float64 and on the CPU, as the basis of FrequencyLayer.
        self.transform, self.inverse = real_fourier_matrices(length)
        self.add_norm = AddNorm(size, p, masks)

    @property
    def kernel(self) -> Tensor:
        """The filter as a signal (N, D) that positions are convolved with."""
        return torch.fft.irfft(torch.view_as_complex(self.filter), n=self.length, dim=0)

    def forward(self, x: Tensor, layout: Layout) -> tuple[Tensor, list[Tensor]]:
        """See Mixer; all positions (B, N, D) are needed, padding included. There is no attention."""
        transform, inverse = (matrix.to(x.dtype).to(x.device) for matrix in (self.transform, self.inverse))
        x_real, x_imaginary = (transform @ x).chunk(2, dim=1)  # (B, F, D) each
        real, imaginary = self.filter.unbind(-1)  # (F, D) each
        filtered = [x_real * real - x_imaginary * imaginary, x_real * imaginary + x_imaginary * real]
        return self.add_norm(inverse @ torch.cat(filtered, dim=1), x), []

    def last(self, x: Tensor, at: Tensor, mask: Tensor) -> Tensor:
        """See Mixer; the mask is not looked at."""
        return self.add_norm((x * self.kernel.flip(0)).sum(1), at)


class FeedForward(nn.Module):
    """The position-wise network D -> 4 D -> D with exact GELU, its residual and LayerNorm."""

    def __init__(self, size: int, p: float, masks: MaskSource) -> None:
        super().__init__()
        self.inner = nn.Linear(size, 4 * size)
        self.outer = nn.Linear(4 * size, size)
        self.add_norm = AddNorm(size, p, masks)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., D). Returns (..., D)."""
        end = self.add_norm.end(self.add_norm.dropout.mask(x.shape, x.device))
        return blocked.feed_forward(x, self.inner.weight, self.inner.bias, self.outer.weight, self.outer.bias, end)
