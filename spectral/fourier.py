"""The Fourier basis of a sequence: positions as the nodes of a ring graph, low and high frequencies.

N positions, N frequencies k = -N/2 .. N/2 of the discrete Fourier transform; of a real signal k and -k go
together, so k = 0..N//2 are enough. A frequency of k cycles per sequence is an angular frequency of 2 pi k /
N rad per position.

Source: Shin et al., AAAI 2024, "Graph signal processing" and Figure 2a.
"""

import torch
from torch import Tensor


def frequencies(length: int) -> Tensor:
    """Return the frequencies 0..N//2 of N real positions, (F,) int64, in cycles per sequence."""
    return torch.arange(length // 2 + 1)


def angular_frequencies(length: int) -> Tensor:
    """Return the same frequencies in rad per position, (F,) float64, 0 to pi."""
    return 2 * torch.pi * frequencies(length).double() / length


def multiplicity(length: int) -> Tensor:
    """Return how many of the N modes belong to each frequency 0..N//2, (F,) int64: sums to N.

    2 for a conjugate pair, 1 for DC and, where N is even, for the Nyquist frequency N/2.
    """
    counts = torch.full((length // 2 + 1,), 2)
    counts[0] = 1
    if length % 2 == 0:
        counts[-1] = 1
    return counts


def check_c(c: int, length: int) -> int:
    """Return c if it is a number of low modes that N positions have: odd, 1..N.

    For even N the largest is N - 1: the Nyquist mode has no partner and cannot be low together with one.

    Raises ValueError otherwise.
    """
    if isinstance(c, bool) or not isinstance(c, int) or c % 2 == 0 or not 1 <= c <= length:
        largest = length if length % 2 else length - 1
        raise ValueError(
            f"c must be odd and lie in 1..{largest} for {length} positions (DC and pairs of modes), got {c!r}"
        )
    return c


def fourier_basis(length: int, c: int) -> Tensor:
    """Return the c lowest modes of the ring in real form: orthonormal columns (N, c), float64.

    Column 0 is DC, columns 2k - 1 and 2k are the cosine and the sine of k cycles per sequence. `basis @
    basis.T` is the projection onto the low frequencies, LFC; it equals keeping the first (c + 1) / 2 bins of
    the real FFT.

    Raises ValueError if c is not odd or not in 1..N (for even N the largest is N - 1).
    """
    check_c(c, length)
    pairs = torch.arange(1, c // 2 + 1)
    # k n mod N keeps the argument small, which keeps the columns orthogonal to the last digit.
    turns = (torch.arange(length)[:, None] * pairs % length).double() / length  # (N, pairs)
    angle = 2 * torch.pi * turns
    waves = torch.stack([angle.cos(), angle.sin()], dim=-1).flatten(1) * (2 / length) ** 0.5
    return torch.cat([torch.full((length, 1), length**-0.5, dtype=torch.float64), waves], dim=1)


def low_frequency(x: Tensor, c: int, dim: int | None = None) -> Tensor:
    """Return LFC[x], the projection of a signal along its positions onto the c lowest modes; the shape of x.

    x: (..., N, D), positions on the last axis but one, or (N,); `dim` names another axis. Raises ValueError
    for a c that N positions do not have.

    Source: Shin et al., AAAI 2024, section "Frequency domain", LFC.
    """
    if dim is None:
        dim = -2 if x.ndim > 1 else -1
    signal = x.movedim(dim, -1)
    dtype = x.dtype if x.is_floating_point() else torch.float64
    basis = fourier_basis(signal.shape[-1], c).to(x.device, dtype)
    return (signal.to(dtype) @ basis @ basis.T).movedim(-1, dim)


def split(x: Tensor, c: int, dim: int | None = None) -> tuple[Tensor, Tensor]:
    """Return LFC[x] and HFC[x] = x - LFC[x], which are orthogonal and sum to x; see `low_frequency`."""
    low = low_frequency(x, c, dim)
    return low, x - low


def ring_laplacian(length: int) -> Tensor:
    """Return the Laplacian of the ring of N nodes, (N, N) float64: 2 I - shift - shift^T (Figure 2a).

    The columns of `fourier_basis` are eigenvectors of it, which is what makes frequency a graph frequency.
    """
    if length < 1:
        raise ValueError(f"a ring needs at least one node, got {length}")
    identity = torch.eye(length, dtype=torch.float64)
    return 2 * identity - identity.roll(1, 0) - identity.roll(-1, 0)


def laplacian_eigenvalues(length: int) -> Tensor:
    """Return the Laplacian's eigenvalue at each frequency 0..N//2, (F,) float64: 2 - 2 cos(2 pi k / N)."""
    return 2 - 2 * angular_frequencies(length).cos()
