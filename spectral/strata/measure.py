"""Every similarity by groups of users: those with short and long histories, or with popular and unpopular items.

A mean over all users can hide that a model smooths some of them only, or come from some of them alone. The users are
therefore cut into strata of about equal size, by

    length       the number of real items in the window that the model gets, at most N;
    popularity   the mean, over these items, of how often an item occurs in the training part of all histories,

and in each of them are measured, on the pairs of users within the stratum,

    between_users    cosine similarity between users, `spectral.cosine_similarity`, layer by layer;
    within_sequence  cosine similarity between positions of one user, layer by layer;
    cka_with_last    linear CKA of each layer with the last one, `spectral.cka`, and by chance;
    overlap          overlap of recommendations with those of the last item alone, `spectral.last_item`, and by chance.

Users with equal numbers are in the same stratum, so strata may differ in size, and there may be fewer of them. Users
whose history is their last item alone are left out. CKA of fewer users is larger by chance, so compare it with that.

Half precision is widened as the measures do it that are made in each stratum.

Contents: `strata` for any numbers of users; `length` and `popularity`, the numbers; `StratifiedSimilarity`, the
similarities of a model. To measure anything else by stratum, feed one accumulator for each stratum.

Source: of the similarities, see their modules. Grouping users by the popularity of their items follows Abdollahpouri,
Mansoury, Burke and Mobasher, 2019, "The unfairness of popularity bias in recommendation" (arXiv 1907.13286), who form
three groups by the interest in popular items. The mean count and the cut are our definition.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ConfigError, DataError
from spectral.arrays import as_float64
from spectral.capture import capture, in_batches, real_items
from spectral.choices import BATCH_SIZE, BY, GROUPS, K
from spectral.cka import LinearCKA
from spectral.cosine_similarity import CosineSimilarity
from spectral.last_item import LastItemOverlap
from spectral.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

Array = NDArray[np.float64]

SIMILARITIES = ("between_users", "within_sequence", "cka_with_last", "overlap")


@dataclass(frozen=True, eq=False)
class Stratum:
    """Users whose numbers are alike.

    Attributes:
        low: The smallest of their numbers.
        high: The largest.
        rows: (S,) int, which of the users they are.
    """

    low: float
    high: float
    rows: Tensor


@dataclass(frozen=True, eq=False)
class StratifiedSimilarity(Result):
    """The similarities of a model in each stratum, from low to high.

    Attributes:
        by: What the strata are cut by, such as "length".
        strata: G strata.
        cosine: G results, between users and within a sequence.
        cka: G results, of the layers with each other.
        overlap: G results, of recommendations.
    """

    by: str
    strata: tuple[Stratum, ...]
    cosine: tuple[CosineSimilarity, ...]
    cka: tuple[LinearCKA, ...]
    overlap: tuple[LastItemOverlap, ...]

    @classmethod
    def of_model(
        cls,
        model: Any,
        windows: Tensor,
        numbers: Any,
        by: str,
        groups: int = GROUPS,
        k: int = K,
        batch_size: int = BATCH_SIZE,
    ) -> "StratifiedSimilarity":
        """Measure a model on users, stratum by stratum.

        Args:
            model: Like `models.recommender.Recommender`.
            windows: (P, N) int, the model's input for each user, padding 0.
            numbers: (P,) what the strata are cut by, such as `length(windows)`.
            by: Its name.
            groups: Number of strata.
            k: Length of the lists of recommendations.
            batch_size: Users at a time; changes memory and speed only.

        Raises ConfigError for fewer than 1 groups or an impossible k, and DataError if a stratum has fewer than two
        users.

        Example:
            >>> import torch
            >>> from models.registry import build, configure
            >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8))
            >>> model.initialise(seed=0)
            >>> windows = torch.tensor([[0, 0, 3, 1], [5, 6, 7, 8], [0, 0, 2, 9], [1, 2, 3, 4]])
            >>> measured = StratifiedSimilarity.of_model(model, windows, length(windows), "length", groups=2)
            >>> measured.labels
            ['length 2 (2 users)', 'length 4 (2 users)']
        """
        known = (windows != model.window(windows[:, -1:])).any(1)
        windows, values = windows[known], as_float64(numbers)[known]
        cosine, cka, overlap = [], [], []
        cut = strata(values, groups)
        for stratum in cut:
            members = windows[stratum.rows]
            if len(members) < 2:
                raise DataError(
                    f"the stratum of {by} {_range(stratum)} has one user, who has no other to be similar to; choose "
                    "fewer groups"
                )
            once, again = (capture(model, in_batches(members, batch_size, by), attention=False) for _ in range(2))
            cosine.append(CosineSimilarity.from_captures(once))
            cka.append(LinearCKA.from_captures({"": again}))
            overlap.append(LastItemOverlap.of_model(model, in_batches(members, batch_size, by), k))
        return cls(by, tuple(cut), tuple(cosine), tuple(cka), tuple(overlap))

    @property
    def labels(self) -> list[str]:
        """What the users of each stratum have, in words."""
        return [f"{self.by} {_range(stratum)} ({len(stratum.rows):,} users)" for stratum in self.strata]

    def curve(self, stratum: int, similarity: str) -> tuple[NDArray[np.int64], Array, Array]:
        """Return a similarity of a stratum (from 0): its layers, or k for `overlap`; its values; and those by chance.

        Values by chance are NaN for cosines. Raises ValueError for a similarity that is not one of `SIMILARITIES`.
        """
        if similarity not in SIMILARITIES:
            raise ValueError(f"similarity must be one of {', '.join(SIMILARITIES)}, got {similarity!r}")
        if similarity == "overlap":
            overlap = self.overlap[stratum]
            return np.arange(1, len(overlap.overlap) + 1), overlap.overlap, overlap.by_chance
        layers = self.cosine[stratum].layers
        if similarity == "cka_with_last":
            return layers, self.cka[stratum].cka[:, -1], self.cka[stratum].by_chance[:, -1]
        values = getattr(self.cosine[stratum], similarity)
        return layers, values, np.full(len(values), np.nan)

    def table(self) -> "DataFrame":
        """Return one row per stratum, similarity and layer (k for `overlap`): from, to, users, value, by_chance."""
        import pandas as pd

        tables = []
        for number, stratum in enumerate(self.strata):
            for similarity in SIMILARITIES:
                at, values, by_chance = self.curve(number, similarity)
                place = {"layer": pd.array(at if similarity != "overlap" else [pd.NA] * len(at), dtype="Int64")}
                place["k"] = pd.array(at if similarity == "overlap" else [pd.NA] * len(at), dtype="Int64")
                columns = {"similarity": similarity} | place | {"value": values, "by_chance": by_chance}
                ends = {"from": stratum.low, "to": stratum.high, "users": len(stratum.rows)}
                tables.append(pd.DataFrame({"by": self.by, "stratum": number + 1} | ends | columns))
        return pd.concat(tables, ignore_index=True)

    def plot(self, ax: "Axes | None" = None, *, similarity: str | None = None) -> "Axes | Figure":
        """Draw all four similarities, or one of `SIMILARITIES` (on a given `ax` "between_users")."""
        from spectral import plot

        if ax is None and similarity is None:
            return plot.strata_panels(self)
        return plot.strata(self, similarity or SIMILARITIES[0], ax=ax)

    def summary(self) -> list[dict[str, Any]]:
        """Return one record per stratum: its ends and users, cosines of the last layer, CKA of the first, overlap."""
        return [
            {
                "stratum": number + 1,
                "from": stratum.low,
                "to": stratum.high,
                "users": len(stratum.rows),
                "between_users": float(self.cosine[number].between_users[-1]),
                "within_sequence": float(self.cosine[number].within_sequence[-1]),
                "cka_first_last": float(self.cka[number].cka[0, -1]),
                "cka_by_chance": float(self.cka[number].by_chance[0, -1]),
                "overlap": float(self.overlap[number].overlap[-1]),
                "overlap_by_chance": float(self.overlap[number].by_chance[-1]),
            }
            for number, stratum in enumerate(self.strata)
        ]


def strata(numbers: Any, groups: int = GROUPS) -> list[Stratum]:
    """Return groups of users with similar numbers (P,), from low to high, of about equal size.

    Users with equal numbers are in the same stratum: the one in which the middle of them is, in the order of numbers.
    So there may be fewer strata. Raises ConfigError for fewer than 1 groups, DataError if there are no users, and
    ValueError for numbers that are NaN.

    Example:
        >>> [(s.low, s.high, s.rows.tolist()) for s in strata([3, 50, 4, 9, 50, 50], groups=2)]
        [(3.0, 9.0, [0, 2, 3]), (50.0, 50.0, [1, 4, 5])]
    """
    if groups < 1:
        raise ConfigError(f"groups must be at least 1, got {groups}")
    values = as_float64(numbers)
    if values.ndim != 1 or bool(values.isnan().any()):
        raise ValueError(f"expected a number for each user, (P,), got shape {tuple(values.shape)} or NaN")
    if len(values) == 0:
        raise DataError("there are no users to group")
    _, which, users = values.unique(return_inverse=True, return_counts=True)
    middle = (users.cumsum(0) - users / 2) / len(values)  # of the users with each number, 0 to 1
    group = (groups * middle).long()[which]
    rows = [(group == number).nonzero()[:, 0] for number in group.unique().tolist()]
    return [Stratum(float(values[of].min()), float(values[of].max()), of) for of in rows]


def numbers_of(windows: Tensor, by: str, counts: Callable[[], Any]) -> Tensor:
    """Return what strata of windows (P, N) are cut by, (P,): by "length" or "popularity".

    counts: returns the counts of items, see `popularity`; it is called only if they are needed. Raises ConfigError for
    another name.

    Example:
        >>> import torch
        >>> numbers_of(torch.tensor([[0, 0, 3, 1], [5, 6, 7, 8]]), "length", counts=list)
        tensor([2., 4.], dtype=torch.float64)
    """
    if by not in BY:
        raise ConfigError(f"strata are cut by {' or '.join(BY)}, got {by!r}")
    return length(windows) if by == "length" else popularity(windows, counts())


def length(windows: Tensor) -> Tensor:
    """Return the number of real items of windows (P, N) with padding 0, (P,) float64.

    Example:
        >>> import torch
        >>> length(torch.tensor([[0, 0, 3, 1], [5, 6, 7, 8]]))
        tensor([2., 4.], dtype=torch.float64)
    """
    return as_float64(real_items(windows))


def popularity(windows: Tensor, counts: Any) -> Tensor:
    """Return the mean count of the real items of windows (P, N) with padding 0, (P,) float64; NaN for no items.

    counts: (items + 1,), how often each item occurs, see `models.datasets.sequences.training_counts`. Raises
    ValueError for an item without a count.

    Example:
        >>> import torch
        >>> popularity(torch.tensor([[0, 1, 2], [2, 2, 2]]), counts=[0, 10, 4])
        tensor([7., 4.], dtype=torch.float64)
    """
    known = as_float64(counts)
    if len(windows) and int(windows.max()) >= len(known):
        raise ValueError(f"windows hold item {int(windows.max())}, there are counts of 0..{len(known) - 1}")
    real = windows > 0
    return (known[windows.long()] * real).sum(1) / real.sum(1)


def _range(stratum: Stratum) -> str:
    return " to ".join(dict.fromkeys(f"{end:.3g}" for end in (stratum.low, stratum.high)))
