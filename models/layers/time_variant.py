"""TV-Rec's mixing layer: a graph filter whose taps differ between positions.

Shapes: B sequences, N positions, D hidden size, M basis filters of order K.
"""

import torch
from torch import Tensor, nn

from models.layers.add_norm import AddNorm, ResidualStep
from models.layers.attention import Mixer
from models.layers.dropout import MaskSource
from models.layers.packing import Packing
from models.layers.parts import Branch, Part


class TimeVariantFilter(Mixer):
    """The layer of TV-Rec: position n of the output is sum_k h_k[n] x[n - k], with taps h of its own.

    The taps are combinations of M basis filters, h[n] = C[n] B, with the rows of B scaled to norm 1. The positions are
    the nodes of a directed ring, padded with zeros to N + K - 1 of them. The published form is
    Re(V ((C B Lambda^T) * V) V^-1) with eigenvectors V and powers Lambda of eigenvalues of the ring's shift. The shift
    to the power k just delays by k, so the filter is a matrix that holds the real part of h_k[n] in row n, column
    n - k; no transform is needed.

    N + K - 1 nodes are one too few to keep every delay from going round the ring: row 0 sees column N - 1 by tap K.
    This entry is the only one that is not causal. It is kept, as published.

    Source: Shin et al., TV-Rec: Time-Variant Convolutional Filter for Sequential Recommendation, NeurIPS 2025.

    >>> layer = TimeVariantFilter(size=2, length=4, filters=1, order=4, p=0.0, masks=MaskSource())
    >>> with torch.no_grad():  # taps 1, 2, 3, 4, 5 at every position, before they are scaled
    ...     _ = layer.basis.copy_(torch.stack([torch.arange(1.0, 6.0), torch.zeros(5)], -1)[None])
    ...     _ = layer.coefficients.fill_(55**0.5)
    >>> layer.matrix.round(decimals=3).tolist()  # the 5 in the corner is the wrapped delay
    [[1.0, 0.0, 0.0, 5.0], [2.0, 1.0, 0.0, 0.0], [3.0, 2.0, 1.0, 0.0], [4.0, 3.0, 2.0, 1.0]]
    """

    def __init__(self, size: int, length: int, filters: int, order: int, p: float, masks: MaskSource) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.empty(filters, order + 1, 2))  # real and imaginary parts
        self.coefficients = nn.Parameter(torch.empty(length + order - 1, filters))  # only the first N rows are used
        # Each row's taps are laid out as its N columns; the last place of the taps holds a 0.
        delay = (torch.arange(length)[:, None] - torch.arange(length)) % (length + order - 1)
        self.delay: Tensor
        self.register_buffer("delay", delay.clamp(max=order + 1), persistent=False)
        self.add_norm = AddNorm(size, p, masks)

    @property
    def matrix(self) -> Tensor:
        """The filter as a matrix over positions, (N, N): row n is what position n takes of each position."""
        basis = self.basis / self.basis.square().sum((1, 2), keepdim=True).sqrt()
        taps = self.coefficients[: len(self.delay)] @ basis[..., 0]  # (N, K + 1)
        return nn.functional.pad(taps, (0, 1)).gather(1, self.delay)

    def forward(self, x: Tensor, packing: Packing) -> tuple[Tensor, list[Tensor]]:
        """See Mixer; states of padding are set to 0 before the layer. There is no attention."""
        x = x * (packing.items > 0)[..., None]
        return self.add_norm(packing.pack(self.matrix @ packing.to_grid(x)), x), []

    def steps(self, x: Tensor, packing: Packing) -> list[ResidualStep]:
        """See Mixer; the input is that of `forward`, 0 at padding."""
        x = x * (packing.items > 0)[..., None]
        return [self.add_norm.step("time-variant filter", self.matrix @ x, x)]

    def last(self, x: Tensor, at: Tensor, mask: Tensor) -> Tensor:
        """See Mixer; the mask says where padding is."""
        real = mask[:, 0] == 0  # (B, N)
        weight = self.matrix[-1] * real
        return self.add_norm((weight[:, None] @ x)[:, 0], at * real[:, -1:])

    def branches(self) -> tuple[Branch, ...]:
        """See Mixer."""
        filters, taps, _ = self.basis.shape
        own = Part(
            "time-variant filter", f"{filters} of order {taps - 1}", self.basis.numel() + self.coefficients.numel()
        )
        return (Branch(self.add_norm.around(own)),)

    def overlap(self) -> Tensor:
        """Return how far the basis filters are from orthogonal: sum of (Gram matrix - I)^2, real and imaginary parts.

        The rows of each part are scaled to norm 1. A scalar; 0 for an orthogonal basis.
        """
        rows = nn.functional.normalize(self.basis.permute(2, 0, 1), dim=-1)  # (2, M, K + 1)
        return (rows @ rows.mT - torch.eye(rows.shape[1], device=rows.device)).square().sum()
