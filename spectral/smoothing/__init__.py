"""How smooth the hidden states of a sequence are along its positions, layer by layer.

A sequence of n real positions is a signal X (n, D), one row a position; padding is cut off. Every measure is
one number per sequence, computed on its own n positions, since sequences of different lengths have different
frequencies; then come mean and standard error over sequences. With

    ||X||^2       the energy, the sum of the squares of all entries (Frobenius),
    DC[X]         every position replaced by the mean over positions,
    LFC, HFC      the c lowest modes of the discrete Fourier transform along positions, and the rest,

the measures are

    mad                      mean of 1 - cosine over ordered pairs of positions, 0 (one direction) to 2;
    dirichlet_path           sum over i of ||x_(i+1) - x_i||^2, the Dirichlet energy tr(X^T L X) on the path
                             graph, whose Laplacian L = D - W is not normalised;
    dirichlet_ring           the same with ||x_1 - x_n||^2, on the ring graph whose waves are the Fourier modes;
    dirichlet_path_relative, dirichlet_ring_relative
                             the same divided by ||X||^2, so free of scale: 0 (constant) to 4 (alternating);
    effective_rank           exp of the entropy of s_i / sum s of the singular values of X, 1 to min(n, D);
    stable_rank              ||X||^2 / s_1^2, 1 to min(n, D);
    dc_share                 ||DC[X]||^2 / ||X||^2, 0 to 1 (all positions equal);
    hfc_lfc                  ||HFC[X]||^2 / ||LFC[X]||^2, 0 if all positions are equal, infinite without LFC.

One position alone is smooth whatever the model does (mad 0, ranks 1, dc_share 1), so sequences with one real
position are left out of all measures, and of `hfc_lfc` also those with at most c, which have no HFC.

Here live `smoothing` for hidden states of one's own, its result `Smoothing`, which is measured from captures of a model
as well, and what can be asked of a single signal: `dirichlet_energy`, `dc_share` and `hfc_lfc`.

Sources: MAD: Chen et al., AAAI 2020, "Measuring and relieving the over-smoothing problem for graph neural
networks from the topological view", with the mask of all pairs; their mean leaves out distances of exactly 0
between two nodes, which here are distances like all others, or full smoothing would have no MAD. Dirichlet
energy: Cai and Wang, 2020, "A note on over-smoothing for graph neural networks"; Rusch et al., 2023, "A survey
on oversmoothing in graph neural networks". Effective rank: Roy and Vetterli, EUSIPCO 2007. DC and HFC: Wang et
al., ICLR 2022, "Anti-oversmoothing in deep vision transformers via the Fourier domain analysis"; LFC of c modes:
Shin et al., AAAI 2024.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectral.arrays import as_float64, check_finite
from spectral.blocks import real_blocks, real_mask
from spectral.capture import Capture
from spectral.cosine_similarity import similarity_of_each
from spectral.fourier import check_c, split
from spectral.moments import Moments
from spectral.response import DEFAULT_C
from spectral.singular_values import effective_rank, stable_rank
from spectral.sums import sum_of_hidden

if TYPE_CHECKING:
    from pandas import DataFrame

Array = NDArray[np.float64]
Graph = Literal["path", "ring"]

MEASURES = (
    "mad",
    "dirichlet_path",
    "dirichlet_ring",
    "dirichlet_path_relative",
    "dirichlet_ring_relative",
    "effective_rank",
    "stable_rank",
    "dc_share",
    "hfc_lfc",
)


@dataclass(frozen=True, eq=False)
class Smoothing:
    """Means over sequences of the measures of this module after each layer; layer 0 is the embedding output.

    Attributes:
        layers: (L + 1,) the layer numbers.
        mad: (L + 1,) as all of the following; NaN where there is no sequence to measure.
        dirichlet_path: In the squared units of the hidden states; grows with the length of the sequences.
        dirichlet_ring: In the squared units of the hidden states; grows with the length of the sequences.
        dirichlet_path_relative: 0 to 4.
        dirichlet_ring_relative: 0 to 4.
        effective_rank: At least 1.
        stable_rank: At least 1.
        dc_share: 0 to 1.
        hfc_lfc: At least 0.
        standard_error: For each measure by name, (L + 1,), the standard error of the mean over sequences; NaN for
            a single one.
        sequences: Number of sequences with at least two real positions.
        long_sequences: Number of those with more than c, of which `hfc_lfc` is the mean.
        c: Number of modes that count as low frequency.
    """

    layers: NDArray[np.int64]
    mad: Array
    dirichlet_path: Array
    dirichlet_ring: Array
    dirichlet_path_relative: Array
    dirichlet_ring_relative: Array
    effective_rank: Array
    stable_rank: Array
    dc_share: Array
    hfc_lfc: Array
    standard_error: dict[str, Array]
    sequences: int
    long_sequences: int
    c: int

    @classmethod
    def from_captures(cls, captures: Iterable[Capture], c: int = DEFAULT_C) -> "Smoothing":
        """Measure the hidden states of all sequences of the captures, layer by layer.

        Raises ValueError if there are no hidden states, or c is not odd and positive.
        """
        sums = sum_of_hidden(captures, lambda hidden, mask: smoothing_moments(hidden, mask, c))
        return cls.from_moments(stack(sums.values()), c, sorted(sums))

    @classmethod
    def from_moments(cls, moments: Moments, c: int, layers: Sequence[int] | None = None) -> "Smoothing":
        """Return the means of sums (L + 1, 9) over sequences, in the order of `MEASURES`."""
        return cls(
            layers=np.array(range(len(moments.total)) if layers is None else layers),
            **moments.named(MEASURES),
            sequences=int(moments.count[0, 0]),
            long_sequences=int(moments.count[0, -1]),
            c=c,
        )

    def table(self) -> "DataFrame":
        """Return one row per layer: each measure, and its standard error with `_se` behind the name."""
        import pandas as pd

        columns: dict[str, Any] = {"layer": self.layers}
        for name in MEASURES:
            columns |= {name: getattr(self, name), f"{name}_se": self.standard_error[name]}
        counts = {"sequences": self.sequences, "long_sequences": self.long_sequences, "c": self.c}
        return pd.DataFrame(columns | counts)

    def summary(self) -> list[dict[str, Any]]:
        """Return one record per layer: its number and the measures."""
        return [
            {"layer": int(layer)} | {name: float(getattr(self, name)[row]) for name in MEASURES}
            for row, layer in enumerate(self.layers)
        ]


def smoothing(hidden: Any, mask: Any = None, c: int = DEFAULT_C) -> Smoothing:
    """Return the measures of this module for hidden states.

    hidden: (N, D), (B, N, D) or (L, B, N, D), or a list of L of (B, N, D); layers count from 0. mask: (B, N), True
    for real positions, which are the last ones of their row; all if None. c: modes that count as low frequency.

    Raises ValueError for another shape, numbers that are not finite, a position of zeros (it has no direction),
    padding that is not on the left, or a c that is not odd and positive.
    """
    return Smoothing.from_moments(moments_of_layers(hidden, mask, c), c)


def moments_of_layers(hidden: Any, mask: Any = None, c: int = DEFAULT_C) -> Moments:
    """Return the sums over sequences, (L, 9) in the order of `MEASURES`, of hidden states as `smoothing` takes them."""
    return stack(smoothing_moments(x, mask, c) for x in _layers(hidden))


def smoothing_moments(hidden: Any, mask: Any = None, c: int = DEFAULT_C) -> Moments:
    """Return the sums over sequences, (9,) in the order of `MEASURES`, of hidden states (B, N, D)."""
    _check_odd(c)
    states = as_float64(hidden)
    if states.ndim != 3 or 0 in states.shape[1:]:
        raise ValueError(f"hidden must be (B, N, D), got shape {tuple(states.shape)}")
    values = [torch.empty(len(MEASURES), 0, dtype=torch.float64)]
    for n, sequences in real_blocks(real_mask(mask, (states.shape[0], states.shape[1]))):
        if n >= 2:
            values.append(_measure(states[sequences, -n:], c))
    return Moments.of(torch.cat(values, dim=1))


def dirichlet_energy(x: Tensor, graph: Graph = "path", relative: bool = False) -> Tensor:
    """Return tr(X^T L X) of signals (..., n, D) on the path or the ring graph of n positions, shape (...).

    `relative` divides it by the energy ||X||^2; NaN for zeros alone. A ring of two has two edges between them. Raises
    ValueError for an unknown graph.
    """
    if graph not in get_args(Graph):
        raise ValueError(f"graph must be path or ring, got {graph!r}")
    steps = x.diff(dim=-2) if graph == "path" else x.roll(-1, -2) - x
    energy = steps.square().sum((-2, -1))
    return energy / _energy(x) if relative else energy


def dc_share(x: Tensor) -> Tensor:
    """Return the share of the energy of signals (..., n, D) in their mean over positions, shape (...), 0 to 1."""
    return x.shape[-2] * x.mean(-2).square().sum(-1) / _energy(x)


def hfc_lfc(x: Tensor, c: int = DEFAULT_C) -> Tensor:
    """Return ||HFC[X]||^2 / ||LFC[X]||^2 of signals (..., n, D), shape (...).

    Raises ValueError for a c that n positions do not have.
    """
    low, high = split(x, c)
    return _energy(high) / _energy(low)


def stack(moments: Iterable[Moments]) -> Moments:
    """Put the sums of layers below each other; raises ValueError if there are none."""
    layers = list(moments)
    if not layers:
        raise ValueError("there are no hidden states to measure")
    return Moments(*(torch.stack([getattr(x, name) for x in layers]) for name in ("count", "total", "squares")))


def _measure(x: Tensor, c: int) -> Tensor:
    """(S, n, D) without padding, n >= 2 -> (9, S) in the order of `MEASURES`."""
    check_finite(x, "hidden states")
    values = torch.linalg.svdvals(x)  # (S, min(n, D))
    n = x.shape[1]
    measured = {
        "mad": 1 - similarity_of_each(x),
        "dirichlet_path": dirichlet_energy(x, "path"),
        "dirichlet_ring": dirichlet_energy(x, "ring"),
        "dirichlet_path_relative": dirichlet_energy(x, "path", relative=True),
        "dirichlet_ring_relative": dirichlet_energy(x, "ring", relative=True),
        "effective_rank": effective_rank(values),
        "stable_rank": stable_rank(values),
        "dc_share": dc_share(x),
        "hfc_lfc": hfc_lfc(x, c) if n > c else torch.full((len(x),), torch.nan, dtype=torch.float64),
    }
    return torch.stack([measured[name] for name in MEASURES])


def _energy(x: Tensor) -> Tensor:
    return x.square().sum((-2, -1))


def _layers(hidden: Any) -> list[Any]:
    if isinstance(hidden, list | tuple):
        return list(hidden)
    states = as_float64(hidden)
    return list(states) if states.ndim == 4 else [states[None] if states.ndim == 2 else states]


def _check_odd(c: int) -> None:
    """Whatever their lengths, some sequences could have c low modes."""
    check_c(c, max(c, 1) if isinstance(c, int) else 1)
