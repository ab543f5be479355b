"""WEARec's mixing layer: a filter that depends on the input, and a wavelet filter that does not.

Shapes: B sequences, N positions, D hidden size, H heads, F = N // 2 + 1 frequencies.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers.add_norm import AddNorm, ResidualStep
from models.layers.attention import Mixer
from models.layers.constant import Constant
from models.layers.dropout import MaskSource
from models.layers.frequency import real_fourier_matrices
from models.layers.packing import Packing
from models.layers.parts import Branch, Part, count_parameters, heads_text


def haar_filter(x: Tensor, detail: Tensor) -> Tensor:
    """Return x (B, 2 P, D) with the differences within pairs of positions multiplied by `detail` (P, D).

    This is one step of the Haar transform, and its inverse: the mean of positions 2 n and 2 n + 1 is kept, and half
    their difference is multiplied.

    >>> signal = torch.tensor([4.0, 2.0, 1.0, 1.0])[None, :, None]
    >>> haar_filter(signal, torch.tensor([[0.5], [0.5]])).flatten().tolist()  # the first pair moves together
    [3.5, 2.5, 1.0, 1.0]
    """
    even, odd = x[:, ::2], x[:, 1::2]
    mean, difference = (even + odd) / 2, (even - odd) / 2 * detail
    return torch.stack([mean + difference, mean - difference], dim=2).flatten(1, 2)


class AdaptiveFilter(Mixer):
    """The layer of WEARec: alpha * adaptive filter + (1 - alpha) * Haar filter, with residual and LayerNorm.

    The adaptive filter multiplies each frequency of each head by a real number and adds another one to it. A network
    makes both from the mean of the input over all N positions. So the layer is not linear: its response to a frequency
    is that of its derivative. The Haar filter is `haar_filter`; for odd N it gives 0 at the last position.

    Source: Xu et al., Wavelet Enhanced Adaptive Frequency Filter for Sequential Recommendation, AAAI 2026.
    """

    def __init__(self, size: int, length: int, heads: int, alpha: float, p: float, masks: MaskSource) -> None:
        super().__init__()
        frequencies = length // 2 + 1
        self.heads, self.alpha = heads, alpha
        self.factor = nn.Parameter(torch.empty(heads, frequencies))
        self.shift = nn.Parameter(torch.empty(heads, frequencies))
        self.detail = nn.Parameter(torch.empty(heads, length // 2, size // heads))
        self.gate = nn.Parameter(torch.empty(()))  # published, but no output depends on it: alpha mixes the filters
        self.inner, self.outer = nn.Linear(size, size), nn.Linear(size, 2 * heads * frequencies)
        self.transform, self.inverse = map(Constant, real_fourier_matrices(length))
        self.add_norm = AddNorm(size, p, masks)

    def forward(self, x: Tensor, packing: Packing) -> tuple[Tensor, list[Tensor]]:
        """See Mixer; needs all positions (B, N, D), padding included. There is no attention."""
        return self.add_norm(self._filtered(x), x), []

    def steps(self, x: Tensor, packing: Packing) -> list[ResidualStep]:
        """See Mixer."""
        return [self.add_norm.step("adaptive and Haar filter", self._filtered(x), x)]

    def last(self, x: Tensor, at: Tensor, mask: Tensor) -> Tensor:
        """See Mixer; the mask is not used."""
        is_paired = x.shape[1] % 2 == 0
        local = haar_filter(x[:, -2:], self._details()[-1:])[:, -1] if is_paired else torch.zeros_like(at)
        return self.add_norm(torch.lerp(local, self._adaptive(x, self.inverse.like(x)[-1:])[:, 0], self.alpha), at)

    def branches(self) -> tuple[Branch, ...]:
        """See Mixer."""
        network = count_parameters(self.inner, self.outer)
        own = network + self.factor.numel() + self.shift.numel() + self.gate.numel()
        adaptive = Part("adaptive filter", heads_text(self.heads), own)
        wavelet = Part("+ Haar wavelet filter", f"{self.detail.shape[1]} pairs", self.detail.numel())
        return (Branch(self.add_norm.around(adaptive, wavelet)),)

    def _filtered(self, x: Tensor) -> Tensor:
        odd = x.shape[1] % 2
        local = functional.pad(haar_filter(x[:, : x.shape[1] - odd], self._details()), (0, 0, 0, odd))
        return torch.lerp(local, self._adaptive(x, self.inverse.like(x)), self.alpha)

    def _details(self) -> Tensor:
        return self.detail.transpose(0, 1).flatten(1)  # (N // 2, D)

    def _adaptive(self, x: Tensor, inverse: Tensor) -> Tensor:
        """Return the adaptively filtered x (B, N, D) at the positions of the rows of `inverse`."""
        context = self.outer(functional.gelu(self.inner(x.mean(1))))  # (B, 2 H F)
        scale, shift = context.view(len(x), self.heads, -1, 2).unbind(-1)  # (B, H, F) each
        factor = (self.factor * (1 + scale)).mT[..., None]  # (B, F, H, 1)
        real, imaginary = (
            (self.transform.like(x) @ x).unflatten(-1, (self.heads, -1)).chunk(2, dim=1)
        )  # (B, F, H, D / H) each
        real = real * factor + (self.shift + shift).mT[..., None]
        return inverse @ torch.cat([real, imaginary * factor], dim=1).flatten(2)
