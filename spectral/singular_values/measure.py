"""How many directions users occupy: singular values of the n x D matrix of their representations.

A steep spectrum means that users were smoothed into few directions. The values are the square roots of the eigenvalues
of the Gram matrix X^T X (D x D), which is summed in float64 batch by batch. They are therefore exact to about 1e-8 of
the largest one, and smaller values are rounding errors. The mean vector is removed only with `center`. The Gram matrix
of what is left is summed about the mean of the batches so far (Chan et al. 1983), so it keeps these digits also where
all users are nearly one point. What is then below the rounding of the mean itself, max(n, D) x 2^-52 of the
uncentered norm, is 0.

A matrix of independent numbers has a spectrum too, and it falls. `SingularValues.gaussian` simulates matrices of the
same size whose columns are normal with the same means and variances: what there would be without any correlation
between the columns. Only what falls faster is smoothed.

Half precision is widened to float64, like all rows.

Contents: `singular_values` for a matrix and its result `SingularValues`; `LayerSpectra`, the same after every layer of
a model; and `Gram`, the sums that both are computed from.

Source: Shin et al., AAAI 2024, Figure 3a; effective rank: Roy and Vetterli, EUSIPCO 2007; k95: Jolliffe, Principal
Component Analysis, 2002, section 6.1.1; comparison with simulated matrices: Horn, Psychometrika 30, 1965.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectral.arrays import as_float64, as_rows, check_finite
from spectral.capture import Capture
from spectral.decompositions import symmetric_eigenvalues_of
from spectral.pooling import Pooling, pooled
from spectral.resampling import ONE_MODEL, SampledGram, draw_counts, interval, sampled_gram
from spectral.result import Nulls, Result
from spectral.sums import Sums, sum_of_hidden

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

ROUNDING = 2.0**-52  # of a number in float64, relative

GAUSSIAN = "gaussian"  # the name of the null that only matrices have
GAUSSIAN_DRAWS = 20  # simulated matrices; their smallest and largest values are a band of some 90%


@dataclass(frozen=True, eq=False)
class SingularValues(Result):
    """The singular values of an n x D matrix.

    Attributes:
        values: (min(n, D),), descending.
        users: n, the number of rows. Spectra of different n have different scales (see `normalised`).
        centered: Whether the mean row was removed.
        column_means, column_deviations: (D,), mean and standard deviation of each column, for `gaussian`; None if they
            are not known.
        resampled: (R, min(n, D)), the values of R bootstrap samples of the rows; None if there are none.

    Example:
        >>> spectrum = SingularValues(np.array([4.0, 2.0]), users=10)
        >>> spectrum.normalised
        array([1. , 0.5])
        >>> spectrum.stable_rank  # (16 + 4) / 16
        1.25
    """

    values: NDArray[np.float64]
    users: int
    centered: bool = False
    column_means: NDArray[np.float64] | None = None
    column_deviations: NDArray[np.float64] | None = None
    resampled: NDArray[np.float64] | None = None

    KEYS: ClassVar = ("index",)
    VALUES: ClassVar = ("singular_value", "normalised")

    @property
    def normalised(self) -> NDArray[np.float64]:
        """The values divided by the largest; NaN for a matrix of zeros."""
        with np.errstate(invalid="ignore"):
            return self.values / self.values[0]

    @property
    def effective_rank(self) -> float:
        """Exponential of the entropy of p_i = s_i / sum s, 1 to min(n, D); NaN for a matrix of zeros."""
        return float(effective_rank(torch.from_numpy(self.values)))

    @property
    def stable_rank(self) -> float:
        """||X||_F^2 / s_1^2, 1 to min(n, D); NaN for a matrix of zeros."""
        return float(stable_rank(torch.from_numpy(self.values)))

    @property
    def k95(self) -> int:
        """The number of largest singular values that hold 95% of the energy; 0 for a matrix of zeros."""
        return int(energy_rank(torch.from_numpy(self.values)))

    def band(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the ends of the 95% interval of `normalised`, (min(n, D),) each; NaN where a sample has a 0.

        The interval is computed on the logarithm. Raises ValueError if there are no bootstrap samples.
        """
        if self.resampled is None:
            raise ValueError("there are no bootstrap samples; ask for them with resamples=200")
        with np.errstate(divide="ignore", invalid="ignore"):
            deviation = np.log(self.resampled / self.resampled[:, :1]).std(0)
            low, high = interval(np.log(self.normalised), deviation)
        return np.exp(low), np.exp(high)

    def gaussian(self, draws: int = GAUSSIAN_DRAWS, seed: int = 0) -> "list[SingularValues]":
        """Return the spectra of simulated matrices of this size, with normal columns of these means and variances.

        Raises ValueError if means and variances are not known, as in a `spectral.summary`.

        Example:
            Two equal columns are less than two independent ones of the same variance:

            >>> x = torch.randn(100, 1, generator=torch.Generator().manual_seed(0)).expand(-1, 2)
            >>> spectrum = singular_values(x)
            >>> round(spectrum.effective_rank, 2), [round(draw.effective_rank, 2) for draw in spectrum.gaussian(2)]
            (1.0, [2.0, 2.0])
        """
        if self.column_means is None or self.column_deviations is None:
            raise ValueError("means and variances of the columns are not known; measure the matrix itself")
        rng = np.random.default_rng(seed)
        means, deviations = self.column_means, self.column_deviations
        return [
            singular_values(rng.normal(means, deviations, (self.users, len(means))), self.centered)
            for _ in range(draws)
        ]

    def table(self) -> "DataFrame":
        """Return one row per singular value, the largest first; `index` counts from 1.

        With bootstrap samples, `low` and `high` are the ends of `band`, of one model (`seeds`) over its users.
        """
        import pandas as pd

        index = range(1, len(self.values) + 1)
        columns = {
            "index": index,
            "singular_value": self.values,
            "normalised": self.normalised,
            "users": self.users,
        }
        if self.resampled is not None:
            low, high = self.band()
            columns |= {"low": low, "high": high, **ONE_MODEL}
        return pd.DataFrame(columns)

    def plot(self, ax: "Axes | None" = None, *, nulls: Nulls | None = None) -> "Axes":
        """Draw the values, divided by the largest one, on a logarithmic axis."""
        from spectral import plot

        return plot.singular_values(self._by_label(self), nulls=self._by_label(nulls or {}) if nulls else None, ax=ax)


@dataclass(frozen=True, eq=False)
class LayerSpectra(Result):
    """Singular values of the users' representations after each layer.

    Attributes:
        layers: The spectrum of each layer, by its number; layer 0 is the embedding output.

    Example:
        Two users point in different directions before a layer and in the same direction after it:

        >>> hidden = (torch.eye(2)[:, None], torch.ones(2, 1, 2))  # layers of (B, N, D) = (2, 1, 2)
        >>> spectra = LayerSpectra.from_captures([Capture(hidden, (), torch.ones(2, 1, dtype=torch.bool))])
        >>> {layer: round(spectrum.effective_rank, 3) for layer, spectrum in spectra.layers.items()}
        {0: 2.0, 1: 1.0}
    """

    layers: dict[int, SingularValues]

    KEYS: ClassVar = ("layer", "index")
    VALUES: ClassVar = ("singular_value", "normalised")

    @classmethod
    def from_captures(
        cls,
        captures: Iterable[Capture],
        center: bool = False,
        pooling: Pooling = "last",
        resamples: int = 0,
        seed: int = 0,
    ) -> "LayerSpectra":
        """Measure the pooled hidden states, (n, D), of all captured users, layer by layer.

        center: whether to remove the mean over users. pooling: take the state at the last or the first real position,
        or the mean over real positions; see `spectral.pooling`. resamples, seed: number and seed of the bootstrap
        samples of the users.

        Raises ValueError if the captures hold no users or no hidden states, and ConfigError for an unknown pooling.
        """
        rng = np.random.default_rng(seed)

        def measure(hidden: Tensor, mask: Tensor) -> _Grams:
            rows = as_rows(pooled(hidden, mask, pooling))
            return _Grams(gram(rows), sampled_gram(rows, draw_counts(rng, len(rows), resamples)))

        return cls({layer: sums.singular_values(center) for layer, sums in sum_of_hidden(captures, measure).items()})

    @property
    def last(self) -> SingularValues:
        """The spectrum after the last layer."""
        return self.layers[max(self.layers)]

    def gaussian(self, draws: int = GAUSSIAN_DRAWS, seed: int = 0) -> "list[LayerSpectra]":
        """Return the spectra of simulated matrices for each layer; see `SingularValues.gaussian`."""
        simulated = {layer: spectrum.gaussian(draws, seed) for layer, spectrum in self.layers.items()}
        return [LayerSpectra({layer: of[draw] for layer, of in simulated.items()}) for draw in range(draws)]

    def table(self) -> "DataFrame":
        """Return one row per layer and singular value."""
        import pandas as pd

        tables = {layer: spectrum.table() for layer, spectrum in self.layers.items()}
        return pd.concat(tables, names=["layer"]).reset_index(level="layer").reset_index(drop=True)

    def plot(self, ax: "Axes | None" = None, *, nulls: Nulls | None = None) -> "Axes":
        """Draw the values of every layer, divided by the largest one; null models are those of the last layer."""
        from spectral import plot

        last = max(self.layers)
        of_last = {name: [draw.layers[last] for draw in draws] for name, draws in (nulls or {}).items()}
        return plot.singular_values(self.layers, nulls={last: of_last} if nulls else None, ax=ax)

    def summary(self) -> list[dict[str, Any]]:
        """Return one record per layer: effective rank, stable rank, k95, and the singular values."""
        return [
            {
                "layer": layer,
                "effective_rank": spectrum.effective_rank,
                "stable_rank": spectrum.stable_rank,
                "k95": spectrum.k95,
                "singular_values": spectrum.values.tolist(),
            }
            for layer, spectrum in self.layers.items()
        ]


@dataclass(frozen=True, eq=False)
class Gram(Sums):
    """The sums of a matrix X (n, D) from which its singular values are computed.

    Attributes:
        scatter: (D, D) float64, the sum of (x - m)(x - m)^T over rows x with mean m.
        mean_products: (D, D) float64, n m m^T.
        total: (D,) float64, the sum of the rows.
        users: n.

    Example:
        The sums of two matrices are the sums of both, one below the other:

        >>> (gram([[3.0, 0.0]]) + gram([[0.0, 4.0]])).singular_values().values
        array([4., 3.])
    """

    addends = "rows of equally many columns"

    scatter: Tensor
    mean_products: Tensor
    total: Tensor
    users: int

    @property
    def products(self) -> Tensor:
        """X^T X, (D, D) float64."""
        return self.scatter + self.mean_products

    def __post_init__(self) -> None:
        """Move what lies between the means of several batches into the scatter, after a sum field by field.

        torchmetrics adds so over processes. The sum of `mean_products` is then that of several means, not of one.
        """
        of_one_mean = _outer(self.total, self.users)
        if not torch.equal(self.mean_products, of_one_mean):
            object.__setattr__(self, "scatter", self.scatter + (self.mean_products - of_one_mean))
            object.__setattr__(self, "mean_products", of_one_mean)

    def __add__(self, other: Self) -> Self:
        """Add the sums of two batches, the scatter about the mean of both. Raises ValueError for other columns."""
        both = super().__add__(other)
        if not self.users or not other.users:
            return both
        apart = other.total / other.users - self.total / self.users  # more exact than the difference of products
        between = self.users * other.users / both.users * torch.outer(apart, apart)
        return replace(both, scatter=self.scatter + other.scatter + between)

    def singular_values(self, center: bool = False) -> SingularValues:
        """Return the singular values of the matrix. Raises ValueError if it has no rows or is not finite."""
        if self.users == 0:
            raise ValueError("there are no rows, so there are no singular values")
        check_finite(self.scatter, "the matrix")
        squares = symmetric_eigenvalues_of(self.scatter if center else self.products).flip(0)
        squares = squares.clamp(min=0)  # rounding makes zeros slightly negative
        if center:
            squares[squares <= self.products.trace() * (ROUNDING * max(self.users, len(squares))) ** 2] = 0
        values = squares.sqrt()[: min(self.users, len(squares))].numpy()
        deviations = (self.scatter.diag() / self.users).clamp(min=0).sqrt()
        return SingularValues(values, self.users, center, (self.total / self.users).numpy(), deviations.numpy())


@dataclass(frozen=True, eq=False)
class _Grams(Sums):
    """The sums of all rows, and of bootstrap samples of them."""

    whole: Gram
    samples: SampledGram

    def singular_values(self, center: bool) -> SingularValues:
        spectrum = self.whole.singular_values(center)
        if not len(self.samples.users):
            return spectrum
        return replace(spectrum, resampled=self.samples.singular_values(len(spectrum.values), center))


def _outer(total: Tensor, users: int) -> Tensor:
    return torch.outer(total, total) / max(users, 1)


def singular_values(x: Any, center: bool = False) -> SingularValues:
    """Return the singular values of a matrix with one row per user, (n, D).

    The mean row is removed if `center`. Raises ValueError for another shape, no rows, or numbers that are not finite.

    Source: Shin et al., AAAI 2024, Figure 3a.

    Example:
        Users in two directions, and users who all point the same way:

        >>> singular_values([[3.0, 0.0], [0.0, 4.0]]).values
        array([4., 3.])
        >>> round(singular_values([[1.0, 1.0], [2.0, 2.0], [5.0, 5.0]]).effective_rank, 3)
        1.0
    """
    return gram(x).singular_values(center)


def effective_rank(values: Tensor) -> Tensor:
    """Return the effective rank of singular values (..., r), shape (...), 1 to r; NaN if all are 0.

    It is the exponential of the entropy of p_i = s_i / sum s.

    Source: Roy and Vetterli, EUSIPCO 2007.

    Example:
        >>> [round(float(effective_rank(torch.tensor(s))), 3) for s in ([1.0, 0.0, 0.0], [5.0, 5.0, 5.0])]
        [1.0, 3.0]
    """
    return torch.special.entr(values / values.sum(-1, keepdim=True)).sum(-1).exp()


def stable_rank(values: Tensor) -> Tensor:
    """Return the stable rank, sum s_i^2 / s_1^2, of descending singular values (..., r), shape (...); NaN if all are 0.

    Example:
        >>> stable_rank(torch.tensor([[2.0, 1.0], [1.0, 1.0]]))
        tensor([1.2500, 2.0000])
    """
    return (values / values[..., :1]).square().sum(-1)


def energy_rank(values: Tensor, share: float = 0.95) -> Tensor:
    """Return how many of the largest singular values (..., r), descending, hold a share of the energy, (...) int64.

    The energy is the sum of squares. 0 if all values are 0.

    Source: Jolliffe, Principal Component Analysis, 2002, section 6.1.1.

    Example:
        Of 100 + 4 + 1 the first holds 95.2%:

        >>> energy_rank(torch.tensor([[10.0, 2.0, 1.0], [1.0, 1.0, 1.0]]))
        tensor([1, 3])
    """
    energy = as_float64(values).square()
    before = energy.cumsum(-1) - energy
    needed = share * energy.sum(-1, keepdim=True) * (1 - 1e-12)  # not one more for a rounding error
    return (before < needed).sum(-1)


def gram(x: Any) -> Gram:
    """Return the sums of a matrix (n, D) from which its singular values are computed.

    Raises ValueError for another shape.

    Example:
        >>> gram([[1.0, 2.0], [0.0, 1.0]]).products
        tensor([[1., 2.],
                [2., 5.]], dtype=torch.float64)
    """
    rows = as_rows(x)
    total = rows.sum(0)
    apart = rows - total / max(len(rows), 1)
    return Gram(apart.T @ apart, _outer(total, len(rows)), total, len(rows))
