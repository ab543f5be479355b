"""How sure a curve of one model is: bootstrap samples of its users, and the columns `low` and `high` of its table.

How often a user is in a sample is a Poisson variable of mean 1, so that samples add up over batches (Hanley and
MacGibbon 2006). An interval is the value plus and minus 1.96 standard deviations of the samples, or 1.96 standard
errors of a mean over users. It says what other users of this model would give, and nothing about other trainings: that
is `seeds`, which is 1. Intervals over seeds are those of `spectral.estimate`.

Contents: `draw_counts`; the sums `SampledGram` and `SampledSimilarities`, of `sampled_gram` and `sampled_similarities`;
`interval` and `interval_columns`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectral.arrays import as_float64
from spectral.decompositions import symmetric_eigenvalues_of
from spectral.sums import Sums

RESAMPLES = 200  # bootstrap samples of the users that commands draw
ERRORS = NormalDist().inv_cdf(0.975)  # standard errors on either side of a value, 1.96, in a 95% interval
ONE_MODEL: Mapping[str, int] = {"seeds": 1}  # of tables of one model

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SampledGram(Sums):
    """The sums of X^T X over R bootstrap samples of the rows of X (n, D).

    Attributes:
        products: (R, D, D) float64.
        total: (R, D), sums of the rows.
        users: (R,), the number of rows in each sample.

    Example:
        A sample that holds the first row twice, and one that holds both:

        >>> sums = sampled_gram(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.tensor([[2.0, 0.0], [1.0, 1.0]]))
        >>> sums.singular_values(most=2).round(3)
        array([[4.243, 0.   ],
               [4.   , 3.   ]])
    """

    addends = "samples of rows of equally many columns"

    products: Tensor
    total: Tensor
    users: Tensor

    def singular_values(self, most: int, center: bool = False) -> Array:
        """Return the `most` largest of each sample, (R, most), without the mean row of the sample if `center`."""
        products = self.products
        if center:
            means = self.total / self.users.clamp(min=1)[:, None]
            products = products - torch.einsum("rd,re->rde", self.total, means)
        squares = symmetric_eigenvalues_of(products).flip(-1).clamp(min=0)
        return np.asarray(squares.sqrt()[:, :most].numpy())


@dataclass(frozen=True, eq=False)
class SampledSimilarities(Sums):
    """The sums over R bootstrap samples of users from which both mean cosine similarities follow.

    Attributes:
        directions: (R, D) float64, sums of the users' directions (unit vectors).
        users: (R,), the number of users in each sample.
        squared: (R,), the sum of squares of how often each user is in it.
        within: (R,), sums of the mean cosine between positions.
        sequences: (R,), the number of users with at least two positions.

    Example:
        Two users at right angles: a sample that holds both once, and one that holds the first twice.

        >>> counts = torch.tensor([[1.0, 1.0], [2.0, 0.0]])
        >>> sums = sampled_similarities(torch.eye(2), torch.tensor([0.5, 0.1]), torch.tensor([True, True]), counts)
        >>> sums.between_users, sums.within_sequence  # the second sample has no pair of different users
        (array([ 0., nan]), array([0.3, 0.5]))
    """

    addends = "samples of rows of equally many columns"

    directions: Tensor
    users: Tensor
    squared: Tensor
    within: Tensor
    sequences: Tensor

    @property
    def between_users(self) -> Array:
        """(R,) mean cosine over pairs of different users: a user equals itself, however much the model smooths."""
        pairs = self.users.square() - self.squared
        return np.asarray(((self.directions.square().sum(-1) - self.squared) / pairs).numpy())

    @property
    def within_sequence(self) -> Array:
        """(R,) mean over sequences of the mean cosine between their positions."""
        return np.asarray((self.within / self.sequences).numpy())


def draw_counts(rng: np.random.Generator, users: int, resamples: int) -> Tensor:
    """Return how often each user is in each bootstrap sample, (R, users) float64.

    Example:
        >>> draw_counts(np.random.default_rng(0), users=1000, resamples=2).mean(1).round()
        tensor([1., 1.], dtype=torch.float64)
    """
    return torch.from_numpy(rng.poisson(1.0, (users, resamples)).T).double()


def sampled_gram(rows: Tensor, counts: Tensor) -> SampledGram:
    """Return the sums of rows (B, D) over bootstrap samples. counts: (R, B), how often each row is in each.

    Example:
        >>> sampled_gram(torch.ones(5, 3), torch.ones(2, 5)).users
        tensor([5., 5.], dtype=torch.float64)
    """
    x, weights = as_float64(rows), as_float64(counts)
    products = torch.einsum("bd,be->bde", x, x).flatten(1)
    size = x.shape[1]
    return SampledGram((weights @ products).unflatten(-1, (size, size)), weights @ x, weights.sum(1))


def sampled_similarities(directions: Tensor, within: Tensor, several: Tensor, counts: Tensor) -> SampledSimilarities:
    """Return the sums over bootstrap samples from which mean cosine similarities follow.

    directions: (B, D), unit vectors. several: (B,) bool, which users have at least two positions. within: (S,), the
    mean cosine between positions of these S users. counts: (R, B), how often each user is in each sample.

    Example:
        >>> sampled_similarities(torch.eye(2), torch.ones(1), torch.tensor([True, False]), torch.ones(3, 2)).sequences
        tensor([1., 1., 1.], dtype=torch.float64)
    """
    weights = as_float64(counts)
    chosen = weights[:, several.cpu()]
    return SampledSimilarities(
        directions=weights @ as_float64(directions),
        users=weights.sum(1),
        squared=weights.square().sum(1),
        within=chosen @ as_float64(within),
        sequences=chosen.sum(1),
    )


def interval(value: Any, deviation: Any) -> tuple[Array, Array]:
    """Return the ends of 95% intervals around values with these standard deviations or standard errors.

    Example:
        >>> [float(end.round(2)) for end in interval(1.0, 0.5)]
        [0.02, 1.98]
    """
    half = ERRORS * np.asarray(deviation)
    return np.asarray(value - half), np.asarray(value + half)


def interval_columns(value: Any, deviation: Any, prefix: str = "") -> dict[str, Array]:
    """Return the ends of `interval` as columns of a table, one row per value; the prefix goes before each name.

    Example:
        >>> interval_columns(np.ones((1, 2)), np.zeros((1, 2)), "mad_")
        {'mad_low': array([1., 1.]), 'mad_high': array([1., 1.])}
    """
    low, high = interval(value, deviation)
    return {f"{prefix}low": low.ravel(), f"{prefix}high": high.ravel()}
