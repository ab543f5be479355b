"""The layers that mix positions, and the block around them: B sequences, N positions, D hidden size, H heads."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head self-attention with its own residual and LayerNorm."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(size, size) for _ in range(3))
        self.output = nn.Linear(size, size)
        self.norm = nn.LayerNorm(size, eps=1e-12)
        self.attention_dropout, self.output_dropout = nn.Dropout(dropout), nn.Dropout(dropout)

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, H, N, D / H)."""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """Return the heads' weighted sums side by side, (B, N, D), of query, key and value (B, H, N, D / H)."""
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5 + mask
        attention = self.attention_dropout(scores.softmax(dim=-1))
        return (attention @ value).transpose(1, 2).flatten(2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: (B, N, D); mask: (B, 1, N, N), 0 or -10000. Returns (B, N, D)."""
        query, key, value = (self.split_heads(part(x)) for part in (self.query, self.key, self.value))
        context = self.attend(query, key, value, mask)
        return self.norm(self.output_dropout(self.output(context)) + x)


class Frequency(nn.Module):
    """BSARec's frequency layer: the c lowest modes, plus the square of a trained vector times the rest."""

    def __init__(self, size: int, c: int, dropout: float) -> None:
        super().__init__()
        self.bins = c // 2 + 1
        self.sqrt_beta = nn.Parameter(torch.randn(1, 1, size))
        self.norm = nn.LayerNorm(size, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, N, D). Returns (B, N, D)."""
        spectrum = torch.fft.rfft(x, dim=1, norm="ortho")
        spectrum[:, self.bins :] = 0
        low = torch.fft.irfft(spectrum, n=x.shape[1], dim=1, norm="ortho")
        return self.norm(self.dropout(low + self.sqrt_beta**2 * (x - low)) + x)


class Mixture(nn.Module):
    """BSARec's layer: alpha times the frequency layer plus 1 - alpha times attention."""

    def __init__(self, attention: Attention, frequency: Frequency, alpha: float) -> None:
        super().__init__()
        self.attention, self.frequency, self.alpha = attention, frequency, alpha

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """See Attention."""
        return self.alpha * self.frequency(x) + (1 - self.alpha) * self.attention(x, mask)


class LearnedFilter(nn.Module):
    """FMLP-Rec's layer: the spectrum times a trained complex filter."""

    def __init__(self, size: int, max_len: int, dropout: float) -> None:
        super().__init__()
        self.filter = nn.Parameter(0.02 * torch.randn(max_len // 2 + 1, size, 2))
        self.norm = nn.LayerNorm(size, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """See Attention; there is no mask here."""
        spectrum = torch.fft.rfft(x, dim=1, norm="ortho") * torch.view_as_complex(self.filter)
        filtered = torch.fft.irfft(spectrum, n=x.shape[1], dim=1, norm="ortho")
        return self.norm(self.dropout(filtered) + x)


class BandAttention(Attention):
    """FEARec's layer: auto-correlation of queries and keys within a band of frequencies, mixed with attention on it."""

    def __init__(self, size: int, heads: int, dropout: float, band: slice, spatial_ratio: float = 0.1) -> None:
        super().__init__(size, heads, dropout)
        self.band, self.spatial_ratio = band, spatial_ratio

    def take_band(self, spectrum: Tensor) -> Tensor:
        """Return a spectrum (B, F, D) with zeros outside the band."""
        kept = torch.zeros_like(spectrum)
        kept[:, self.band] = spectrum[:, self.band]
        return kept

    def autocorrelate(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return values (B, N, D) summed over their best delays; query and key: spectra (B, F, D)."""
        length = value.shape[1]
        delays = int(10 * math.log(length))
        correlation = torch.fft.irfft(self.take_band(query * key.conj()), n=length, dim=1).mean(-1)  # (B, N)
        if self.training:  # the same delays for the whole batch
            chosen = correlation.mean(0).topk(delays).indices.expand(len(value), -1)
        else:
            chosen = correlation.topk(delays, dim=-1).indices
        weight = correlation.gather(1, chosen).softmax(-1)
        total, position = torch.zeros_like(value), torch.arange(length)
        for i in range(delays):
            if self.training:
                rolled = value.roll(-int(chosen[0, i]), dims=1)
            else:
                place = (position + chosen[:, i, None]) % length
                rolled = value.gather(1, place[..., None].expand_as(value))
            total = total + rolled * weight[:, i, None, None]
        return total

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """See Attention."""
        query, key, value = self.query(x), self.key(x), self.value(x)
        spectra = [torch.fft.rfft(part, dim=1) for part in (query, key, value)]
        correlated = self.autocorrelate(spectra[0], spectra[1], value)
        banded = (torch.fft.irfft(self.take_band(spectrum), n=x.shape[1], dim=1) for spectrum in spectra)
        query, key, value = (self.split_heads(part) for part in banded)
        attended = self.attend(query, key, value, mask)
        context = (1 - self.spatial_ratio) * correlated + self.spatial_ratio * attended
        return self.norm(self.output_dropout(self.output(context)) + x)


class FeedForward(nn.Module):
    """The position-wise feed-forward network with its residual and LayerNorm."""

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)
        self.norm = nn.LayerNorm(size, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, N, D). Returns (B, N, D)."""
        return self.norm(self.dropout(self.outer(functional.gelu(self.inner(x)))) + x)


class Block(nn.Module):
    """A layer that mixes positions, then feed-forward."""

    def __init__(self, mixer: nn.Module, feed_forward: FeedForward) -> None:
        super().__init__()
        self.mixer, self.feed_forward = mixer, feed_forward

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: (B, N, D); mask: (B, 1, N, N). Returns (B, N, D)."""
        return self.feed_forward(self.mixer(x, mask))
