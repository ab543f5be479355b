"""How much of the recommendations is explained by the last item alone: the top k of a whole and of a one-item history.

For each user the model ranks items twice: for the history as it is, and for a history of nothing but its last item. The
items of the whole history and the padding item are left out of both rankings, so that the lists differ by what the
model computes and not by what is excluded. Of equal scores the lower item id comes first. With the first k items A_k
and B_k of both rankings,

    overlap      mean over users of |A_k and B_k have in common| / k, the overlap@k, 0 to 1;
    same         share of users with A_k = B_k as sets: how often the top k equals that of the last item alone;
    same_order   share of users whose top k are the same items in the same order;
    by_chance    mean overlap@k of the list of one user with the one-item list of another user, over all pairs of
                 different users: what lists have in common because some items are recommended to everybody.

Users whose history is their last item alone have equal lists for any model. They are left out.

Half precision is widened to float32, and a model in half precision ranks as a copy in float32: its own scores would
have ties that mean nothing.

Contents: `last_item_overlap` for lists of recommended items, and its result `LastItemOverlap`, which
`LastItemOverlap.of_model` measures on a model; `top_items`, which makes such lists of scores.

Source: overlap@k is the overlap at depth k of which the rank-biased overlap of Webber, Moffat and Zobel is a weighted
mean (ACM Transactions on Information Systems 2010, "A similarity measure for indefinite rankings"). Comparing with a
one-item history, and `by_chance`, are our definitions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ConfigError
from models.precision import widened
from spectral.arrays import as_float, check_finite
from spectral.choices import K
from spectral.moments import Moments
from spectral.resampling import ONE_MODEL, interval_columns
from spectral.result import Result
from spectral.sums import Sums

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

Array = NDArray[np.float64]

MEASURES = ("overlap", "same", "same_order")


@dataclass(frozen=True, eq=False)
class LastItemOverlap(Result):
    """What recommendations of whole histories share with those of last items alone, for k = 1..K.

    Attributes:
        overlap: (K,) 0 to 1.
        same: (K,) 0 to 1.
        same_order: (K,) 0 to 1.
        by_chance: (K,) 0 to 1; NaN for a single user.
        standard_error: For `overlap`, `same` and `same_order` by name, (K,), of the mean over users; NaN for one user.
        users: Number of users.

    Example:
        One user's lists are the same up to the order, the other's have one of two items in common:

        >>> measured = last_item_overlap([[1, 2], [3, 4]], [[2, 1], [3, 5]])
        >>> measured.overlap, measured.same, measured.same_order
        (array([0.5 , 0.75]), array([0.5, 0.5]), array([0.5, 0. ]))
    """

    overlap: Array
    same: Array
    same_order: Array
    by_chance: Array
    standard_error: dict[str, Array]
    users: int

    @classmethod
    def of_model(cls, model: Any, batches: Iterable[Tensor], k: int = K) -> "LastItemOverlap":
        """Measure a model on the histories of users.

        model: with `window` and scores of all items, like `models.recommender.Recommender`. batches: its windows
        (B, N), padding 0. Raises ConfigError if k is below 1 or a user has fewer than k items that can be recommended,
        and ValueError if no user has more than one item.

        Example:
            >>> from models.registry import build, configure
            >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8))
            >>> model.initialise(seed=0)
            >>> measured = LastItemOverlap.of_model(model, [torch.tensor([[0, 0, 0, 1], [5, 6, 7, 8]])], k=3)
            >>> measured.users  # the other has nothing but a last item
            1
        """
        sums: Overlaps | None = None
        model = widened(model)
        training = model.training
        for batch in batches:
            model.eval()
            try:
                with torch.inference_mode():
                    lists = _lists(model, batch.to(next(model.parameters()).device), k)
            finally:
                model.train(training)
            added = overlaps(lists, model.config.num_items)
            sums = added if sums is None else sums + added
        if sums is None or sums.users == 0:
            raise ValueError("no user has an item before the last one, so there is nothing to compare")
        return sums.result()

    def table(self) -> "DataFrame":
        """Return one row per k: each measure, its standard error `<measure>_se`, its 95% interval, and by_chance.

        The intervals, `<measure>_low` and `<measure>_high`, are over the `users` of one model (`seeds`).
        """
        import pandas as pd

        columns: dict[str, Any] = {"k": np.arange(1, len(self.overlap) + 1)}
        for name in MEASURES:
            value, error = getattr(self, name), self.standard_error[name]
            columns |= {name: value, f"{name}_se": error} | interval_columns(value, error, f"{name}_")
        return pd.DataFrame(columns | {"by_chance": self.by_chance, **ONE_MODEL, "users": self.users})

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the overlap against k."""
        from spectral import plot

        return plot.last_item(self._by_label(self), ax=ax)

    def summary(self) -> list[dict[str, Any]]:
        """Return one record for the first and one for the last k."""
        names = (*MEASURES, "by_chance")
        rows = dict.fromkeys((0, len(self.overlap) - 1))
        return [{"k": row + 1} | {name: float(getattr(self, name)[row]) for name in names} for row in rows]


@dataclass(frozen=True, eq=False)
class Overlaps(Sums):
    """The sums over users that `LastItemOverlap` follows from.

    Attributes:
        users: Number of users.
        total: (3, K) sums of what `MEASURES` are the means of.
        squares: (3, K) sums of squares.
        whole: (K, V) how many users have an item in their first k, for whole histories.
        alone: (K, V) the same for last items alone.

    Example:
        >>> (overlaps([[[1, 2]], [[2, 1]]], 5) + overlaps([[[3, 4]], [[3, 5]]], 5)).result().overlap
        array([0.5 , 0.75])
    """

    addends = "lists of equally many items"

    users: int
    total: Tensor
    squares: Tensor
    whole: Tensor
    alone: Tensor

    def result(self) -> LastItemOverlap:
        """Return the means."""
        n = self.users
        moments = Moments(torch.full_like(self.total, n), self.total, self.squares)
        k = torch.arange(1, self.total.shape[1] + 1)
        # Over all pairs of users, without the pairs of a user with themselves.
        between = (self.whole * self.alone).sum(1) / k - self.total[0]
        by_chance = between / (n * (n - 1)) if n > 1 else torch.full_like(between, torch.nan)
        errors = {name: moments.standard_error[row] for row, name in enumerate(MEASURES)}
        overlap, same, same_order = moments.mean
        return LastItemOverlap(overlap, same, same_order, by_chance.numpy(), errors, n)


def last_item_overlap(whole: Any, alone: Any) -> LastItemOverlap:
    """Return what lists of recommended items share, for their first 1..K items.

    whole, alone: (P, K) item ids from 1 for the same users, the best first: of their histories, and of their last items
    alone. Raises ValueError for another shape, no users, or an item that is twice in a list.

    Source: overlap@k: Webber, Moffat and Zobel, ACM Transactions on Information Systems 2010.

    Example:
        The lists of both users begin with the same items, and so they do for a pair of different users:

        >>> measured = last_item_overlap([[7, 1], [7, 2]], [[7, 1], [7, 2]])
        >>> measured.overlap, measured.by_chance
        (array([1., 1.]), array([1. , 0.5]))
    """
    lists = torch.as_tensor(whole), torch.as_tensor(alone)
    if any(0 in each.shape for each in lists):
        raise ValueError("there are no lists to compare")
    return overlaps(lists, num_items=max(1, *(int(each.max()) for each in lists))).result()


def overlaps(lists: Sequence[Any] | Tensor, num_items: int) -> Overlaps:
    """Return the sums over users of two lists (P, K) as `last_item_overlap` takes them, with ids up to num_items.

    Example:
        >>> overlaps([[[1, 2]], [[2, 1]]], num_items=2).total.tolist()  # overlap, same, same_order, for k = 1 and 2
        [[0.0, 1.0], [0.0, 1.0], [0.0, 0.0]]
    """
    whole, alone = (torch.as_tensor(each).cpu().long() for each in lists)
    if whole.ndim != 2 or whole.shape[1] == 0 or whole.shape != alone.shape:
        raise ValueError(
            "expected two lists of K items for each user, (P, K) each, got shapes "
            f"{tuple(whole.shape)} and {tuple(alone.shape)}"
        )
    for each in (whole, alone):
        if bool((each < 1).any()) or bool((each > num_items).any()):
            raise ValueError(f"items must lie in 1..{num_items}, got {int(each.min())}..{int(each.max())}")
        if bool((each.sort(1).values.diff(dim=1) == 0).any()):
            raise ValueError("an item is twice in a list")
    k = torch.arange(1, whole.shape[1] + 1)
    match = (whole[:, :, None] == alone[:, None, :]).double()  # (P, K, K), places in one and in the other list
    common = match.cumsum(1).cumsum(2).diagonal(dim1=1, dim2=2)  # (P, K)
    in_order = match.diagonal(dim1=1, dim2=2).cumprod(1)
    values = torch.stack([common / k, (common == k).double(), in_order])  # (3, P, K)
    counts = [_counts(each, num_items) for each in (whole, alone)]
    return Overlaps(len(whole), values.sum(1), values.square().sum(1), *counts)


def top_items(scores: Any, history: Any, k: int = K) -> Tensor:
    """Return the ids of the k items with the highest scores that are not in the history, the best first, (B, k).

    scores: (B, items + 1), column 0 is padding. history: (B, N) item ids, padding 0. Of equal scores the lower id comes
    first. Raises ConfigError if k is below 1 or fewer than k items are left, and ValueError for scores that are not
    finite.

    Example:
        >>> top_items([[9.0, 1.0, 3.0, 3.0, 8.0]], [[0, 4]], k=2)
        tensor([[2, 3]])
    """
    given = check_finite(as_float(scores), "scores")
    excluded = torch.zeros(given.shape, dtype=torch.bool, device=given.device)
    excluded.scatter_(1, torch.as_tensor(history, device=given.device).long(), True)
    excluded[:, 0] = True
    left = int((~excluded).sum(1).min()) if len(given) else k
    if not 1 <= k <= left:
        raise ConfigError(f"k must lie in 1..{left}, the fewest items that a user's history leaves, got {k}")
    return given.masked_fill(excluded, -torch.inf).sort(dim=1, descending=True, stable=True).indices[:, :k]


def _lists(model: Any, windows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the top k of windows and of their last items alone, without users who have nothing else."""
    alone = model.window(windows[:, -1:])
    windows, alone = (x[(windows != alone).any(1)] for x in (windows, alone))
    if not len(windows):
        return windows.new_empty(0, k), windows.new_empty(0, k)
    return top_items(model(windows), windows, k), top_items(model(alone), windows, k)


def _counts(lists: Tensor, num_items: int) -> Tensor:
    """Return how many of the lists (P, K) have each item in their first k, (K, num_items) float64."""
    at = torch.zeros(lists.shape[1], num_items, dtype=torch.float64)
    at.scatter_add_(1, lists.T - 1, torch.ones_like(lists.T, dtype=torch.float64))
    return at.cumsum(0)
