"""Oversmoothing as similarity: how similar users become, and how similar the positions of one sequence become.

Between users: the mean cosine over all pairs of n representations is (||sum u_i||^2 - n) / (n (n - 1)), where u_i are
their directions, so no n x n matrix is needed. 1 means that all users point in the same direction, 0 that directions
cancel. The notebook published with BSARec divides by n^2 instead (`convention="published"`), so its numbers are smaller
by the factor (n - 1) / n.

Half precision is widened to float64, like all states.

Contents: `cosine_similarity` and `within_sequence_similarity` for arrays; `CosineSimilarity`, both after every layer of
a model; and the sums that they are computed from, `Directions` and `SequenceSimilarities`.

Source: Shin et al., AAAI 2024, Figure 3b. The similarity within a sequence is known as token-wise similarity in
language and vision models.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ConfigError, did_you_mean
from spectral.arrays import as_float64, as_rows, check_finite
from spectral.blocks import real_mask
from spectral.capture import Capture
from spectral.choices import CONVENTIONS
from spectral.pooling import Pooling, pooled
from spectral.resampling import ONE_MODEL, SampledSimilarities, draw_counts, interval_columns, sampled_similarities
from spectral.result import UNNAMED, Nulls, Result
from spectral.sums import Sums, sum_of_hidden

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

Convention = Literal["pairs", "published"]


@dataclass(frozen=True, eq=False)
class CosineSimilarity(Result):
    """Mean cosine similarities after each layer; layer 0 is the embedding output.

    Attributes:
        layers: (L + 1,), the layer numbers.
        between_users: (L + 1,), mean over pairs of users of the cosine of their pooled hidden states; see
            `spectral.pooling`.
        within_sequence: (L + 1,), mean over pairs of real positions of one sequence, then over the sequences with at
            least two real positions; NaN if there is none.
        users: Number of users.
        sequences: Number of sequences with at least two real items.
        convention: Of `between_users`, see `cosine_similarity`.
        deviation: By the name of each similarity, (L + 1,), its standard deviation over bootstrap samples of the users;
            None if there are no samples.

    Example:
        Two users with two positions each. Before the layer the directions are orthogonal in pairs, after it all
        states are the same: complete oversmoothing.

        >>> before = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
        >>> captured = Capture((before, torch.ones(2, 2, 2)), (), torch.ones(2, 2, dtype=torch.bool))
        >>> similarity = CosineSimilarity.from_captures([captured])
        >>> similarity.between_users.round(3), similarity.within_sequence.round(3)
        (array([0., 1.]), array([0., 1.]))
    """

    layers: NDArray[np.int64]
    between_users: NDArray[np.float64]
    within_sequence: NDArray[np.float64]
    users: int
    sequences: int
    convention: Convention = "pairs"
    deviation: dict[str, NDArray[np.float64]] | None = None

    KEYS: ClassVar = ("layer",)
    VALUES: ClassVar = ("between_users", "within_sequence")

    @classmethod
    def from_captures(
        cls,
        captures: Iterable[Capture],
        convention: Convention = "pairs",
        pooling: Pooling = "last",
        resamples: int = 0,
        seed: int = 0,
    ) -> "CosineSimilarity":
        """Measure the hidden states of all users of the captures, layer by layer.

        convention: see `cosine_similarity`. pooling: compare users by their state at the last or the first real
        position, or by the mean over real positions. resamples, seed: number and seed of the bootstrap samples of the
        users.

        Raises ValueError if there are fewer than two users, no hidden states, or a hidden state of zeros. Raises
        ConfigError for an unknown convention or pooling.
        """
        rng = np.random.default_rng(seed)

        def measure(hidden: Tensor, mask: Tensor) -> Similarities:
            units, within = unit_rows(pooled(hidden, mask, pooling)), similarity_of_each(hidden, mask)
            return Similarities(
                Directions(units.sum(0), len(units)),
                SequenceSimilarities(float(within.sum()), len(within)),
                sampled_similarities(units, within, mask.sum(1) >= 2, draw_counts(rng, len(units), resamples)),
            )

        sums = sum_of_hidden(captures, measure)
        layers = sorted(sums)
        samples = {
            kind: np.stack([getattr(sums[layer].samples, kind) for layer in layers])
            for kind in ("between_users", "within_sequence")
        }
        return cls(
            np.array(layers),
            np.array([sums[layer].between_users.similarity(convention) for layer in layers]),
            np.array([sums[layer].within_sequence.mean for layer in layers]),
            sums[layers[0]].between_users.users,
            sums[layers[0]].within_sequence.sequences,
            convention,
            {kind: np.nanstd(values, axis=1) for kind, values in samples.items()} if resamples else None,
        )

    def table(self) -> "DataFrame":
        """Return one row per layer.

        With bootstrap samples, the columns that end in `_low` and `_high` are 95% intervals, of one model (`seeds`)
        over its users.
        """
        import pandas as pd

        columns: dict[str, Any] = {}
        for kind, deviation in (self.deviation or {}).items():
            columns |= {**interval_columns(getattr(self, kind), deviation, f"{kind}_"), **ONE_MODEL}
        return pd.DataFrame(self.summary()).assign(
            **columns, users=self.users, sequences=self.sequences, convention=self.convention
        )

    def plot(self, ax: "Axes | None" = None, *, nulls: Nulls | None = None) -> "Axes":
        """Draw both similarities over layers."""
        from spectral import plot

        return plot.cosine_similarity_kinds(self.label or UNNAMED, self, nulls=nulls, ax=ax)

    def summary(self) -> list[dict[str, Any]]:
        """Return one record per layer: its number and the two similarities."""
        rows = zip(self.layers, self.between_users, self.within_sequence, strict=True)
        return [
            {"layer": int(layer), "between_users": float(between), "within_sequence": float(within)}
            for layer, between, within in rows
        ]


@dataclass(frozen=True, eq=False)
class Directions(Sums):
    """The sums of rows from which their mean cosine similarity is computed.

    Attributes:
        total: (D,) float64, the sum of the directions (unit vectors) of the rows.
        users: n, the number of rows.

    Example:
        >>> (directions([[3.0, 0.0]]) + directions([[0.0, 4.0]])).similarity()
        0.0
    """

    addends = "rows of equally many columns"

    total: Tensor
    users: int

    def similarity(self, convention: Convention = "pairs") -> float:
        """Return the mean cosine over all pairs. Raises ValueError for fewer than two rows."""
        n = self.users
        if n < 2:
            raise ValueError(f"a similarity between users needs at least 2 of them, got {n}")
        check_convention(convention)
        return float(_sum_over_pairs(self.total, n) / (n * (n - 1) if convention == "pairs" else n * n))


@dataclass(frozen=True, eq=False)
class SequenceSimilarities(Sums):
    """Sum over sequences of the mean cosine between their positions, and the number of these sequences.

    Example:
        >>> (SequenceSimilarities(0.5, 1) + SequenceSimilarities(2.5, 3)).mean
        0.75
    """

    total: float
    sequences: int

    @property
    def mean(self) -> float:
        """The mean over sequences; NaN if there are none."""
        return self.total / self.sequences if self.sequences else float("nan")


@dataclass(frozen=True, eq=False)
class Similarities(Sums):
    """The sums of both similarities of one layer, and of bootstrap samples of the users."""

    between_users: Directions
    within_sequence: SequenceSimilarities
    samples: SampledSimilarities


def cosine_similarity(x: Any, convention: Convention = "pairs") -> float:
    """Return the mean cosine similarity over all pairs of rows of a matrix (n, D), in [-1 / (n - 1), 1].

    convention: "pairs" divides by the n (n - 1) ordered pairs; "published" divides by n^2, as the notebook
    published with BSARec does (the mean of the whole n x n matrix with its diagonal set to 0).

    Raises ValueError for another shape, fewer than two rows, a row of zeros (it has no direction), or numbers that are
    not finite. Raises ConfigError for an unknown convention.

    Source: Shin et al., AAAI 2024, Figure 3b.

    Example:
        Two users who point in opposite directions, at right angles, and in the same direction:

        >>> cosine_similarity([[1.0, 0.0], [-2.0, 0.0]])
        -1.0
        >>> cosine_similarity([[1.0, 0.0], [0.0, 3.0]])
        0.0
        >>> cosine_similarity([[1.0, 0.0], [4.0, 0.0]]), cosine_similarity([[1.0, 0.0], [4.0, 0.0]], "published")
        (1.0, 0.5)
    """
    return directions(x).similarity(convention)


def within_sequence_similarity(hidden: Any, mask: Any = None) -> float:
    """Return the mean cosine similarity between the positions of one sequence, averaged over sequences.

    hidden: (B, N, D). mask: (B, N), True for real positions; None if all are real. Sequences with fewer than two real
    positions have no pair and are left out. Returns NaN if no sequence is left. Raises ValueError for another shape, a
    real position of zeros, or numbers that are not finite.

    Example:
        Three positions, two alike and one at a right angle to them. Of the three pairs one has cosine 1, two have 0.

        >>> round(within_sequence_similarity([[[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]]), 3)
        0.333
    """
    return sequence_similarities(hidden, mask).mean


def directions(x: Any) -> Directions:
    """Return the sum of the directions of rows (n, D), from which their mean cosine similarity is computed.

    Raises ValueError for another shape, a row of zeros, or numbers that are not finite.

    Example:
        >>> directions([[3.0, 0.0], [0.0, 4.0]]).total
        tensor([1., 1.], dtype=torch.float64)
    """
    rows = unit_rows(x)
    return Directions(rows.sum(0), len(rows))


def unit_rows(x: Any) -> Tensor:
    """Return rows (n, D) scaled to length 1, (n, D) float64.

    Raises ValueError for another shape, a row of zeros, or numbers that are not finite.

    Example:
        >>> unit_rows([[3.0, 4.0]])
        tensor([[0.6000, 0.8000]], dtype=torch.float64)
    """
    rows = as_rows(x)
    return _unit(rows, torch.ones(len(rows), dtype=torch.bool))


def sequence_similarities(hidden: Any, mask: Any = None) -> SequenceSimilarities:
    """Return the sum over sequences of the mean cosine between positions; see `within_sequence_similarity`.

    Example:
        >>> sequence_similarities(torch.ones(3, 4, 2)).sequences
        3
    """
    each = similarity_of_each(hidden, mask)
    return SequenceSimilarities(float(each.sum()), len(each))


def similarity_of_each(hidden: Any, mask: Any = None) -> Tensor:
    """Return the mean cosine between the real positions of each sequence that has at least two, (S,) float64.

    hidden, mask and errors: see `within_sequence_similarity`.

    Example:
        A constant sequence, and one that alternates between two opposite directions:

        >>> similarity_of_each([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [-1.0, 0.0]]])
        tensor([ 1., -1.], dtype=torch.float64)
    """
    states = as_float64(hidden)
    if states.ndim != 3 or states.shape[2] == 0:
        raise ValueError(f"hidden must be (B, N, D), got shape {tuple(states.shape)}")
    real = real_mask(mask, states.shape[:2])
    n = real.sum(1)  # (B,)
    real = real & (n >= 2)[:, None]
    n = n[n >= 2]
    totals = _unit(states, real).sum(1)[real.any(1)]  # (S, D)
    return _sum_over_pairs(totals, n) / (n * (n - 1))


def check_convention(convention: str) -> None:
    """Raise ConfigError if there is no such convention."""
    if convention not in CONVENTIONS:
        raise ConfigError(
            f"unknown convention {convention!r}; choose one of {', '.join(CONVENTIONS)}"
            f"{did_you_mean(convention, CONVENTIONS)}"
        )


def _sum_over_pairs(total: Tensor, n: Tensor | int) -> Tensor:
    """Return the sum of the cosines over all ordered pairs of n unit vectors, given their sum (..., D)."""
    return total.square().sum(-1) - n


def _unit(x: Tensor, wanted: Tensor) -> Tensor:
    """Return the wanted rows of x (..., D) with length 1, the others as zeros."""
    # Dividing by the largest entry first keeps the squares of very large or very small rows in range.
    largest = check_finite(x.abs().amax(-1)[wanted], "hidden states")
    if bool((largest == 0).any()):
        count = int((largest == 0).sum())
        raise ValueError(f"{count} of {len(largest)} rows are zero and have no direction; leave them out")
    result = torch.zeros_like(x)
    rows = x[wanted] / largest[:, None]
    result[wanted] = rows / rows.norm(dim=-1, keepdim=True)
    return result
