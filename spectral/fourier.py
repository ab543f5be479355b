"""The Fourier basis of a sequence: positions as the nodes of a ring graph, low and high frequencies.

N positions have N modes, the frequencies k = -N/2..N/2 of the discrete Fourier transform. In a real signal k and -k
belong together, so k = 0..N//2 are enough. A frequency of k cycles per sequence is an angular frequency of 2 pi k / N
rad per position. Frequency 0 is called DC (the constant part), and N/2 is the Nyquist frequency.

Source: Shin et al., AAAI 2024, "Graph signal processing" and Figure 2a.
"""

import torch
from torch import Tensor

from spectral.arrays import widened


def frequencies(length: int) -> Tensor:
    """Return the frequencies 0..N//2 of N real positions, (F,) int64, in cycles per sequence.

    Example:
        >>> frequencies(8)
        tensor([0, 1, 2, 3, 4])
    """
    return torch.arange(length // 2 + 1)


def angular_frequencies(length: int) -> Tensor:
    """Return the frequencies 0..N//2 in rad per position, (F,) float64, from 0 to at most pi.

    Example:
        Steps of a quarter of pi:

        >>> (angular_frequencies(8) / torch.pi).tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    return 2 * torch.pi * frequencies(length).double() / length


def multiplicity(length: int) -> Tensor:
    """Return how many of the N modes belong to each frequency 0..N//2, (F,) int64. They sum to N.

    There are 2 for a conjugate pair, 1 for DC, and 1 for the Nyquist frequency N/2, which exists if N is even.

    Example:
        >>> multiplicity(8), multiplicity(5)
        (tensor([1, 2, 2, 2, 1]), tensor([1, 2, 2]))
    """
    counts = torch.full((length // 2 + 1,), 2)
    counts[0] = 1
    if length % 2 == 0:
        counts[-1] = 1
    return counts


def check_c(c: int, length: int) -> int:
    """Return c if N positions can have c low modes: it must be odd and lie in 1..N.

    The low modes are DC and whole conjugate pairs, so c is odd. For even N the largest c is N - 1.

    Raises ValueError for any other c.

    Example:
        >>> check_c(3, 8)
        3
        >>> check_c(4, 8)
        Traceback (most recent call last):
        ValueError: c must be odd and lie in 1..7 for 8 positions (DC and pairs of modes), got 4
    """
    if isinstance(c, bool) or not isinstance(c, int) or c % 2 == 0 or not 1 <= c <= length:
        largest = length if length % 2 else length - 1
        raise ValueError(
            f"c must be odd and lie in 1..{largest} for {length} positions (DC and pairs of modes), got {c!r}"
        )
    return c


def fourier_basis(length: int, c: int) -> Tensor:
    """Return the c lowest modes of the ring in real form: orthonormal columns (N, c), float64.

    Column 0 is DC. Columns 2k - 1 and 2k are the cosine and the sine of k cycles per sequence. `basis @ basis.T` is
    the projection onto the low frequencies, LFC. It equals keeping the first (c + 1) / 2 bins of the real FFT.

    Raises ValueError if c is not odd or not in 1..N (for even N the largest is N - 1).

    Example:
        The one low mode of four positions is constant, with norm 1:

        >>> fourier_basis(4, c=1).squeeze(1)
        tensor([0.5000, 0.5000, 0.5000, 0.5000], dtype=torch.float64)
    """
    check_c(c, length)
    pairs = torch.arange(1, c // 2 + 1)
    # k n mod N keeps the argument small, so that the columns are orthogonal to the last digit.
    turns = (torch.arange(length)[:, None] * pairs % length).double() / length  # (N, pairs)
    angle = 2 * torch.pi * turns
    waves = torch.stack([angle.cos(), angle.sin()], dim=-1).flatten(1) * (2 / length) ** 0.5
    return torch.cat([torch.full((length, 1), length**-0.5, dtype=torch.float64), waves], dim=1)


def low_frequency(x: Tensor, c: int, dim: int | None = None) -> Tensor:
    """Return LFC[x], the projection of a signal along its positions onto the c lowest modes. It has the shape of x.

    x: (N,), or (..., N, D) with the positions on the second to last axis; `dim` chooses another axis. Raises
    ValueError for a c that N positions cannot have. Half precision is widened to float32, whole numbers to float64.

    Source: Shin et al., AAAI 2024, section "Frequency domain", LFC.

    Example:
        With c = 1 only the mean is left:

        >>> low_frequency(torch.tensor([1.0, 2.0, 3.0, 6.0]), c=1)
        tensor([3., 3., 3., 3.])
    """
    if dim is None:
        dim = -2 if x.ndim > 1 else -1
    signal = widened(x).movedim(dim, -1)
    basis = fourier_basis(signal.shape[-1], c).to(signal.dtype).to(signal.device)
    return (signal @ basis @ basis.T).movedim(-1, dim)


def split(x: Tensor, c: int, dim: int | None = None) -> tuple[Tensor, Tensor]:
    """Return LFC[x] and HFC[x] = x - LFC[x], both with the shape of x. They are orthogonal and sum to x.

    The arguments and errors are those of `low_frequency`.

    Example:
        A constant sequence has no HFC, and an alternating one has no LFC:

        >>> low, high = split(torch.tensor([5.0, 5.0, 5.0, 5.0]), c=1)
        >>> high.abs().max().item()
        0.0
        >>> low, high = split(torch.tensor([1.0, -1.0, 1.0, -1.0]), c=1)
        >>> low.abs().max().item(), high.tolist()
        (0.0, [1.0, -1.0, 1.0, -1.0])
    """
    low = low_frequency(x, c, dim)
    return low, widened(x) - low


def ring_laplacian(length: int) -> Tensor:
    """Return the Laplacian of the ring of N nodes, (N, N) float64: 2 I - shift - shift^T.

    The columns of `fourier_basis` are its eigenvectors, so the frequencies of a sequence are the frequencies of the
    ring graph. Raises ValueError for N < 1.

    Source: Shin et al., AAAI 2024, Figure 2a.

    Example:
        Each node is joined to the node before it and the node after it:

        >>> ring_laplacian(4).int()
        tensor([[ 2, -1,  0, -1],
                [-1,  2, -1,  0],
                [ 0, -1,  2, -1],
                [-1,  0, -1,  2]], dtype=torch.int32)
    """
    if length < 1:
        raise ValueError(f"a ring needs at least one node, got {length}")
    identity = torch.eye(length, dtype=torch.float64)
    return 2 * identity - identity.roll(1, 0) - identity.roll(-1, 0)


def laplacian_eigenvalues(length: int) -> Tensor:
    """Return the Laplacian's eigenvalue at each frequency 0..N//2, (F,) float64: 2 - 2 cos(2 pi k / N).

    Example:
        A constant signal has eigenvalue 0, an alternating one 4:

        >>> laplacian_eigenvalues(4).round(decimals=6).tolist()
        [0.0, 2.0, 4.0]
    """
    return 2 - 2 * angular_frequencies(length).cos()
