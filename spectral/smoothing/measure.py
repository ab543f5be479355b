"""How smooth the hidden states of a sequence are along its positions, layer by layer.

A sequence of n real positions is a signal X (n, D), one row per position; padding is cut off. Every measure is one
number per sequence, computed on the n positions of that sequence, because sequences of different lengths have different
frequencies. Mean and standard error over sequences come last. With

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
    high_low_ratio           ||HFC[X]||^2 / ||LFC[X]||^2, 0 if all positions are equal, infinite without LFC.

A single position is smooth whatever the model does (mad 0, ranks 1, dc_share 1), so sequences with one real position
are left out of all measures. `high_low_ratio` also leaves out sequences with at most c positions, which have no HFC.

Half precision is widened to float64, like all states; for the measures of a single signal to float32.

Contents: `smoothing` for arrays; its result `Smoothing`, which can also be measured from captures of a model; and the
measures of a single signal, `dirichlet_energy`, `dc_share` and `high_low_ratio`.

Sources: MAD: Chen et al., AAAI 2020, "Measuring and relieving the over-smoothing problem for graph neural networks from
the topological view", with the mask of all pairs. Their mean leaves out distances of exactly 0 between two nodes. Here
they count like all others, because otherwise complete smoothing would have no MAD. Dirichlet energy: Cai and Wang,
2020, "A note on over-smoothing for graph neural networks"; Rusch et al., 2023, "A survey on oversmoothing in graph
neural networks". Effective rank: Roy and Vetterli, EUSIPCO 2007. DC and HFC: Wang et al., ICLR 2022,
"Anti-oversmoothing in deep vision transformers via the Fourier domain analysis". LFC of c modes: Shin et al., AAAI
2024.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectral.arrays import as_float64, check_finite, widened
from spectral.blocks import real_blocks, real_mask
from spectral.capture import Capture
from spectral.cosine_similarity import similarity_of_each
from spectral.decompositions import singular_values_of
from spectral.fourier import check_c, split
from spectral.moments import Moments
from spectral.resampling import ONE_MODEL, interval_columns
from spectral.response import DEFAULT_C
from spectral.result import Nulls, Result
from spectral.singular_values import effective_rank, stable_rank
from spectral.sums import sum_of_hidden

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
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
    "high_low_ratio",
)


@dataclass(frozen=True, eq=False)
class Smoothing(Result):
    """Means over sequences of the measures of this module after each layer; layer 0 is the embedding output.

    All measures are (L + 1,), and NaN where there is no sequence to measure.

    Attributes:
        layers: (L + 1,) the layer numbers.
        mad: 0 to 2.
        dirichlet_path: In the squared units of the hidden states; grows with the length of the sequences.
        dirichlet_ring: In the squared units of the hidden states; grows with the length of the sequences.
        dirichlet_path_relative: 0 to 4.
        dirichlet_ring_relative: 0 to 4.
        effective_rank: At least 1.
        stable_rank: At least 1.
        dc_share: 0 to 1.
        high_low_ratio: At least 0.
        standard_error: For each measure by name, (L + 1,), the standard error of the mean over sequences; NaN for a
            single sequence.
        sequences: Number of sequences with at least two real positions.
        long_sequences: Number of sequences with more than c real positions, which `high_low_ratio` averages over.
        c: Number of modes that count as low frequency.

    Example:
        A layer that turns an alternating sequence into a constant one:

        >>> alternating = torch.tensor([[[1.0], [-1.0], [1.0], [-1.0]]])  # (B, N, D)
        >>> captured = Capture((alternating, torch.ones(1, 4, 1)), (), torch.ones(1, 4, dtype=torch.bool))
        >>> measured = Smoothing.from_captures([captured])
        >>> measured.layers, measured.dc_share, measured.dirichlet_ring_relative
        (array([0, 1]), array([0., 1.]), array([4., 0.]))
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
    high_low_ratio: Array
    standard_error: dict[str, Array]
    sequences: int
    long_sequences: int
    c: int

    KEYS: ClassVar = ("layer",)
    VALUES: ClassVar = MEASURES

    @classmethod
    def from_captures(cls, captures: Iterable[Capture], c: int = DEFAULT_C) -> "Smoothing":
        """Measure the hidden states of all sequences of the captures, layer by layer.

        Raises ValueError if there are no hidden states, or c is not odd and positive.
        """
        sums = sum_of_hidden(captures, lambda hidden, mask: smoothing_moments(hidden, mask, c))
        return cls.from_moments(stack(sums.values()), c, sorted(sums))

    @classmethod
    def from_moments(cls, moments: Moments, c: int, layers: Sequence[int] | None = None) -> "Smoothing":
        """Return the means, from sums (L + 1, 9) over sequences in the order of `MEASURES`."""
        return cls(
            layers=np.array(range(len(moments.total)) if layers is None else layers),
            **moments.named(MEASURES),
            sequences=int(moments.count[0, 0]),
            long_sequences=int(moments.count[0, -1]),
            c=c,
        )

    def table(self) -> "DataFrame":
        """Return one row per layer: each measure, its standard error `<measure>_se`, and its 95% interval.

        The intervals, `<measure>_low` and `<measure>_high`, are over the `users` of one model (`seeds`).
        """
        import pandas as pd

        columns: dict[str, Any] = {"layer": self.layers}
        for name in MEASURES:
            value, error = getattr(self, name), self.standard_error[name]
            columns |= {name: value, f"{name}_se": error} | interval_columns(value, error, f"{name}_")
        counts = {**ONE_MODEL, "users": self.sequences, "long_sequences": self.long_sequences, "c": self.c}
        return pd.DataFrame(columns | counts)

    def plot(
        self, ax: "Axes | None" = None, *, measure: str | None = None, nulls: Nulls | None = None
    ) -> "Axes | Figure":
        """Draw six measures over layers, or one of `MEASURES` (on a given `ax` "mad")."""
        from spectral import plot

        of_nulls = self._by_label(nulls or {})
        if ax is None and measure is None:
            return plot.smoothing_panels(self._by_label(self), of_nulls)
        return plot.smoothing(self._by_label(self), measure or "mad", nulls=of_nulls, ax=ax)

    def summary(self) -> list[dict[str, Any]]:
        """Return one record per layer: its number and the measures."""
        return [
            {"layer": int(layer)} | {name: float(getattr(self, name)[row]) for name in MEASURES}
            for row, layer in enumerate(self.layers)
        ]


def smoothing(hidden: Any, mask: Any = None, c: int = DEFAULT_C) -> Smoothing:
    """Return the measures of this module for hidden states.

    hidden: (N, D), (B, N, D) or (L, B, N, D), or a list of L of (B, N, D); layers count from 0. mask: (B, N), True for
    real positions, which must be the last ones of their row; None if all are real. c: number of modes that count as low
    frequency.

    Raises ValueError for another shape, numbers that are not finite, a position of zeros (it has no direction), padding
    that is not on the left, or a c that is not odd and positive.

    Example:
        A constant sequence is completely smooth. An alternating one has the largest Dirichlet energy, and no DC.

        >>> constant = smoothing(torch.ones(4, 2), c=1)
        >>> float(constant.dirichlet_path[0]), float(constant.dc_share[0].round(3))
        (0.0, 1.0)
        >>> alternating = smoothing(torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]), c=1)
        >>> float(alternating.dirichlet_ring_relative[0]), float(alternating.dc_share[0])
        (4.0, 0.0)
        >>> float(alternating.dirichlet_path[0])  # three steps of 2, squared
        12.0
    """
    return Smoothing.from_moments(moments_of_layers(hidden, mask, c), c)


def moments_of_layers(hidden: Any, mask: Any = None, c: int = DEFAULT_C) -> Moments:
    """Return the sums over sequences, (L, 9) in the order of `MEASURES`, of hidden states as `smoothing` takes them.

    Example:
        >>> moments_of_layers(torch.ones(3, 5, 4, 2)).mean.shape  # three layers, five sequences
        (3, 9)
    """
    return stack(smoothing_moments(x, mask, c) for x in _layers(hidden))


def smoothing_moments(hidden: Any, mask: Any = None, c: int = DEFAULT_C) -> Moments:
    """Return the sums over sequences, (9,) in the order of `MEASURES`, of hidden states (B, N, D).

    mask, c and errors: see `smoothing`.

    Example:
        >>> smoothing_moments(torch.ones(5, 4, 2)).count[0].item()
        5.0
    """
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

    `relative` divides it by the energy ||X||^2, and gives NaN if all entries are 0. A ring of two positions has two
    edges between them. Raises ValueError for an unknown graph.

    Source: Cai and Wang, 2020.

    Example:
        Steps of 1, 1 and 1 on the path; the ring adds the step from 3 back to 0:

        >>> ramp = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> dirichlet_energy(ramp).item(), dirichlet_energy(ramp, "ring").item()
        (3.0, 12.0)
    """
    if graph not in get_args(Graph):
        raise ValueError(f"graph must be path or ring, got {graph!r}")
    x = widened(x)
    steps = x.diff(dim=-2) if graph == "path" else x.roll(-1, -2) - x
    energy = steps.square().sum((-2, -1))
    return energy / _energy(x) if relative else energy


def dc_share(x: Tensor) -> Tensor:
    """Return the share of the energy of signals (..., n, D) in their mean over positions, shape (...), 0 to 1.

    NaN for a signal of zeros.

    Source: Wang et al., ICLR 2022.

    Example:
        The mean of 3 and 1 is 2. Two positions of 2 have energy 8, and the signal has energy 10.

        >>> round(dc_share(torch.tensor([[3.0], [1.0]])).item(), 3)
        0.8
    """
    x = widened(x)
    return x.shape[-2] * x.mean(-2).square().sum(-1) / _energy(x)


def high_low_ratio(x: Tensor, c: int = DEFAULT_C) -> Tensor:
    """Return ||HFC[X]||^2 / ||LFC[X]||^2 of signals (..., n, D), shape (...); infinite if LFC is 0.

    Raises ValueError for a c that n positions cannot have.

    Source: Shin et al., AAAI 2024, Definition 2, here squared.

    Example:
        With c = 1 LFC is the mean. The signal 3, 1 has an LFC of 2, 2 and an HFC of 1, -1:

        >>> round(high_low_ratio(torch.tensor([[3.0], [1.0]]), c=1).item(), 3)
        0.25
    """
    low, high = split(x, c)
    return _energy(high) / _energy(low)


def stack(moments: Iterable[Moments]) -> Moments:
    """Stack the sums (9,) of layers to (L, 9). Raises ValueError if there are none."""
    layers = list(moments)
    if not layers:
        raise ValueError("there are no hidden states to measure")
    return Moments(*(torch.stack([getattr(x, name) for x in layers]) for name in ("count", "total", "squares")))


def _measure(x: Tensor, c: int) -> Tensor:
    """Return the measures (9, S), in the order of `MEASURES`, of (S, n, D) without padding, n >= 2."""
    check_finite(x, "hidden states")
    values = singular_values_of(x)  # (S, min(n, D))
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
        "high_low_ratio": high_low_ratio(x, c) if n > c else torch.full((len(x),), torch.nan, dtype=torch.float64),
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
    """Raise ValueError unless c is odd and positive. Whether n positions can have c low modes is not checked."""
    check_c(c, max(c, 1) if isinstance(c, int) else 1)
