"""Layers that mix positions by frequency: BSARec's frequency branch, and FMLP-Rec's learned filter.

Shapes: B sequences, N positions, D hidden size, F = N // 2 + 1 frequencies.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.errors import ConfigError
from models.layers import fused
from models.layers.add_norm import AddNorm, ResidualStep
from models.layers.attention import Mixer
from models.layers.constant import Constant
from models.layers.dropout import MaskSource
from models.layers.packing import Packing
from models.layers.parts import Branch, Part
from models.layers.remedies import Remedy


def low_pass_basis(length: int, c: int) -> Tensor:
    """Return orthonormal columns U (N, c), float64, that span the c lowest DFT modes of a real signal of N samples.

    The projection U U^T is the ideal low-pass: it keeps the first c // 2 + 1 bins of the real FFT, that is DC and
    (c - 1) / 2 conjugate pairs. c must be odd, from 1 to N; it is not checked here.

    Source: Shin et al., AAAI 2024, LFC.

    >>> signal = torch.tensor([3.0, 1.0, 3.0, 1.0], dtype=torch.float64)  # the mean 2, and the highest frequency
    >>> basis = low_pass_basis(length=4, c=1)  # DC alone
    >>> [round(value, 6) for value in (basis @ basis.T @ signal).tolist()]
    [2.0, 2.0, 2.0, 2.0]
    """
    bins = c // 2 + 1
    unit = torch.zeros(c, length // 2 + 1, dtype=torch.complex128)
    unit[0, 0] = 1
    for pair in range(1, bins):  # cosine and sine of each frequency; 1/sqrt(2) because irfft adds the conjugate
        unit[2 * pair - 1, pair] = 0.5**0.5
        unit[2 * pair, pair] = -1j * 0.5**0.5
    return torch.fft.irfft(unit, n=length, dim=1, norm="ortho").T.contiguous()


def real_fourier_matrices(length: int) -> tuple[Tensor, Tensor]:
    """Return matrices (2 F, N) and (N, 2 F), float64: rfft and irfft (norm="ortho") of a real signal of N samples.

    F = N // 2 + 1. A spectrum is stored as its F real parts, followed by its F imaginary parts.

    >>> transform, inverse = real_fourier_matrices(4)
    >>> spectrum = transform @ torch.ones(4, dtype=torch.float64)
    >>> [round(abs(value), 6) for value in spectrum.tolist()]  # a constant has DC alone
    [2.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    >>> [round(value, 6) for value in (inverse @ spectrum).tolist()]
    [1.0, 1.0, 1.0, 1.0]
    """
    spectrum = torch.fft.rfft(torch.eye(length, dtype=torch.float64), dim=0, norm="ortho")
    unit = torch.eye(length // 2 + 1, dtype=torch.complex128)
    inverse = torch.fft.irfft(torch.cat([unit, 1j * unit]), n=length, dim=1, norm="ortho")
    return torch.cat([spectrum.real, spectrum.imag]), inverse.T.contiguous()


@dataclass(frozen=True)
class LowPass:
    """A linear low-pass along N positions, LFC[x] = S (U^T x), in float64.

    Attributes:
        basis: U (N, m), which takes m coefficients of a signal.
        synthesis: S (N, m), which makes a signal of them.
        detail: What it keeps, in words.
        modes: c if it keeps the c lowest DFT modes, else None.
    """

    basis: Tensor
    synthesis: Tensor
    detail: str
    modes: int | None

    @classmethod
    def fourier(cls, length: int, c: int) -> "LowPass":
        """Keep the c lowest DFT modes, as BSARec does.

        >>> low_pass = LowPass.fourier(length=4, c=1)
        >>> low_pass.synthesis is low_pass.basis, low_pass.detail
        (True, '1 of 4 modes')
        """
        basis = low_pass_basis(length, c)
        return cls(basis, basis, f"{c} of {length} modes", c)

    @classmethod
    def wavelet(cls, length: int, name: str = "haar", mode: str = "symmetric") -> "LowPass":
        """Keep the approximation of one level of the discrete wavelet transform, and drop its detail.

        name, mode: the wavelet, and how the signal goes on beyond its ends, both as in PyWavelets. Raises ConfigError
        for one that PyWavelets does not have, or a wavelet without a discrete transform.

        Source: Hutter et al., ECIR 2026, arXiv 2512.17442, who replace BSARec's Fourier transform by a wavelet one, and
        try haar and sym4 with several modes.

        >>> low_pass = LowPass.wavelet(length=4)  # the approximation of Haar is the mean of neighbours
        >>> signal = torch.tensor([1.0, 3.0, 5.0, 5.0], dtype=torch.float64)
        >>> [round(value, 6) for value in (low_pass.synthesis @ low_pass.basis.T @ signal).tolist()]
        [2.0, 2.0, 5.0, 5.0]
        """
        import pywt  # only this filter needs it

        wavelets, modes = pywt.wavelist(kind="discrete"), pywt.Modes.modes
        if name not in wavelets:
            raise ConfigError(f"frequency wavelet: name must be one of {', '.join(wavelets)}, got {name!r}")
        if mode not in modes:
            raise ConfigError(f"frequency wavelet: mode must be one of {', '.join(modes)}, got {mode!r}")
        taken, _ = pywt.dwt(torch.eye(length, dtype=torch.float64).numpy(), name, mode, axis=0)  # (m, N)
        unit = torch.eye(len(taken), dtype=torch.float64).numpy()
        made = pywt.idwt(unit, None, name, mode, axis=0)[:length]  # (N, m); an odd N comes back longer by one
        return cls(torch.from_numpy(taken.T.copy()), torch.from_numpy(made.copy()), f"wavelet {name}", None)


def band(bins: int, width: float, down: float) -> range:
    """Return the bins of the real FFT in a band: a share `width` of them, the highest ones, moved down by `down` bins.

    >>> band(10, 0.6, 0), band(10, 0.6, 3)
    (range(4, 10), range(1, 7))
    """
    return range(int(bins * (1 - width) - down), int(bins - down))


class FrequencyLayer(nn.Module):
    """The attentive inductive bias of BSARec: LFC[x] + beta * HFC[x], with residual and LayerNorm.

    LFC is a low-pass of x along its N positions, and HFC = x - LFC is the rest. beta >= 0 is the square of a trained
    vector over the D dimensions, or of a single trained number (`scalar`). The low-pass is applied as the product
    S U^T of its matrices, which is far cheaper than two FFTs.

    Source: Shin et al., AAAI 2024, section 4.
    """

    def __init__(
        self, size: int, low_pass: LowPass, scalar: bool, p: float, masks: MaskSource, remedy: Remedy | None = None
    ) -> None:
        super().__init__()
        self.sqrt_beta = nn.Parameter(torch.empty(1 if scalar else size))
        self.low_pass = low_pass
        self.basis, self.synthesis = Constant(low_pass.basis), Constant(low_pass.synthesis)
        self.add_norm = AddNorm(size, p, masks, remedy=remedy)

    @property
    def beta(self) -> Tensor:
        """The gain of the high frequencies, (D,) or (1,)."""
        return self.sqrt_beta**2

    @property
    def filter(self) -> Tensor | None:
        """The factor of each frequency and dimension, (N // 2 + 1, D) complex: 1 for the c low modes, beta above.

        None for a wavelet, which does not multiply frequencies one by one.
        """
        length, c = len(self.low_pass.basis), self.low_pass.modes
        if c is None:
            return None
        high = torch.arange(length // 2 + 1, device=self.beta.device) > c // 2
        gain = torch.where(high[:, None], self.beta, 1.0).expand(-1, self.add_norm.norm.weight.shape[0])
        return gain.to(torch.complex128 if gain.dtype == torch.float64 else torch.complex64)

    def forward(self, x: Tensor, share: float, plus: Tensor) -> Tensor:
        """Return the output, times `share`, plus another branch's; all (B, N, D), with the N of the layer."""
        return self._filter(x, x, self.synthesis.like(x), share, plus)

    def last(self, x: Tensor, at: Tensor, share: float, plus: Tensor) -> Tensor:
        """The same at the last position only, (B, D); x: (B, N, D), at: (B, D), its last position; plus: (B, D)."""
        return self._filter(x, at[:, None], self.synthesis.like(x)[-1:], share, plus[:, None])[:, 0]

    def step(self, x: Tensor, share: float) -> ResidualStep:
        """Return the layer at x (B, N, D), taken apart; its output is multiplied by `share`."""
        inner = self.add_norm.before(x)
        low = self.synthesis.like(x) @ (self.basis.like(x).T @ inner)
        return self.add_norm.step("frequency filter", low + self.beta * (inner - low), x, share)

    def parts(self) -> tuple[Part, ...]:
        """Return the steps of the layer."""
        low = Part("low-pass", self.low_pass.detail)
        high = Part("+ β × the rest", f"β: {self.beta.numel()}", self.sqrt_beta.numel())
        return self.add_norm.around(low, high)

    def _filter(self, x: Tensor, at: Tensor, synthesis_at: Tensor, share: float, plus: Tensor) -> Tensor:
        basis = self.basis.like(x)
        if self.add_norm.is_plain:
            end = self.add_norm.end(self.add_norm.dropout.coins(at.shape, at.device), share)
            return fused.frequency_layer(x, at, basis, synthesis_at, self.beta, end, plus)
        dropout_mask = self.add_norm.dropout.mask(at.shape, at.device)
        inner, inner_at = self.add_norm.before(x), self.add_norm.before(at)
        total = fused.frequency_filter(inner, inner_at, basis, synthesis_at, self.beta, dropout_mask)
        if inner is not x:  # the residual is of the layer's input
            total = total + (at - inner_at)
        return plus + self.add_norm.finish(total, at, share)


class LearnedFilter(Mixer):
    """The layer of FMLP-Rec: each frequency of each dimension is multiplied by a learned complex number.

    This is a circular convolution along positions, and for the last position alone it is computed as one. For all
    positions, both Fourier transforms are matrix products with a fixed matrix: the result equals that of FFTs, and on
    a CPU it is much faster at the lengths of windows.

    Source: Zhou et al., WWW 2022, section 4.2.
    """

    def __init__(self, size: int, length: int, p: float, masks: MaskSource) -> None:
        super().__init__()
        self.length = length
        self.filter = nn.Parameter(torch.empty(length // 2 + 1, size, 2))  # real and imaginary parts
        self.transform, self.inverse = map(Constant, real_fourier_matrices(length))
        self.add_norm = AddNorm(size, p, masks)

    @property
    def response(self) -> Tensor:
        """The factor of each frequency and dimension, (N // 2 + 1, D, 2): real and imaginary parts."""
        return self.filter

    @property
    def spectrum(self) -> Tensor:
        """The factor of each frequency and dimension, (N // 2 + 1, D) complex; complex64 in half precision."""
        response = self.response
        return torch.view_as_complex(response.float() if response.element_size() < 4 else response)

    @property
    def kernel(self) -> Tensor:
        """The filter in the domain of positions, (N, D): what x is circularly convolved with."""
        return torch.fft.irfft(self.spectrum, n=self.length, dim=0).to(self.filter.dtype)

    def forward(self, x: Tensor, packing: Packing) -> tuple[Tensor, list[Tensor]]:
        """See Mixer; all positions (B, N, D) are needed, padding included. There is no attention."""
        return self.add_norm(self._filtered(x), x), []

    def steps(self, x: Tensor, packing: Packing) -> list[ResidualStep]:
        """See Mixer."""
        return [self.add_norm.step("learned filter", self._filtered(x), x)]

    def _filtered(self, x: Tensor) -> Tensor:
        x_real, x_imaginary = (self.transform.like(x) @ x).chunk(2, dim=1)  # (B, F, D) each
        real, imaginary = self.response.unbind(-1)  # (F, D) each
        filtered = [x_real * real - x_imaginary * imaginary, x_real * imaginary + x_imaginary * real]
        return self.inverse.like(x) @ torch.cat(filtered, dim=1)

    def last(self, x: Tensor, at: Tensor, mask: Tensor) -> Tensor:
        """See Mixer; the mask is not used."""
        return self.add_norm((x * self.kernel.flip(0)).sum(1), at)

    def branches(self) -> tuple[Branch, ...]:
        """See Mixer."""
        frequencies, size, _ = self.filter.shape
        own = Part("learned filter", f"{frequencies} × {size} complex", self.filter.numel())
        return (Branch(self.add_norm.around(own)),)
