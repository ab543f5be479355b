"""How low- or high-frequency the history of each user is, and how well models rank for users of each kind.

A user's last n <= N items are a signal of n positions. There are two such signals. One consists of the items'
embeddings in a model, (n, D), and the mean is not removed. If items have attributes, the other consists of their
categories, (n, A): 1 where the item at a position has an attribute, and a row of zeros for an item without attributes.
The measures of each signal are

    dc_share     the share of the energy in the constant part, the DC component;
    low_share    the share of the energy in the c lowest modes, DC included.

White noise of n positions has shares of 1 / n and c / n, so every short history looks low-frequency. The excess over
noise, (share - noise) / (1 - noise), corrects this:

    dc_excess, low_excess   0 for white noise, 1 for a signal only in those modes, negative for a signal that avoids
                            them.

A measure that a history does not have is NaN. With n = 1 there is no dc_excess, with n <= c there are no low_share and
low_excess, and if no item of a history has an attribute, it has no measures of categories. Names that begin with
`window_` are shares of the whole window of N positions as the model sees it, padding included. For users with full
windows they equal the other shares, and any difference comes from padding.

Half precision is widened to float64, like all embeddings.

Contents: `user_frequency`, a table of users, and `by_group`, a metric of models by groups of users, `RankingByGroup`.

Sources: grouping users by the share of DC in their category signal: Hutter et al., ECIR 2026 (arXiv 2512.17442).
The modes: Shin et al., AAAI 2024.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ConfigError, DataError
from spectral.arrays import as_float64
from spectral.capture import in_batches, real_items
from spectral.choices import BATCH_SIZE, SHARES
from spectral.fourier import check_c
from spectral.response import DEFAULT_C
from spectral.result import Result
from spectral.signals import low_frequency_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame, Series

    from models.datasets.attributes import Attributes

LEVEL = 0.95


def user_frequency(
    windows: Tensor,
    embeddings: Any,
    c: int = DEFAULT_C,
    attributes: "Attributes | None" = None,
    users: Sequence[int] | NDArray[Any] | None = None,
    batch_size: int = BATCH_SIZE,
    inputs: Tensor | None = None,
) -> "DataFrame":
    """Return one row per user: user, length and the measures of this module.

    Args:
        windows: (P, N) item ids, padded with 0 on the left.
        embeddings: (items + 1, D), row 0 is padding.
        c: Number of low modes.
        attributes: Of the items, for the measures of categories; None leaves these out.
        users: (P,) the dataset's ids of the users; None counts from 0.
        batch_size: Users at a time; changes memory and speed only.
        inputs: (P, N) the same windows as the model gets them, if its padding is not 0; None if they are `windows`.

    Raises ValueError for a c that is not odd or not in 1..N, or an item without an embedding.

    Example:
        Items 1 and 2 have opposite embeddings. The first user took item 1 twice, the second user alternates. White
        noise of four positions has a dc_share of 1/4, so the second user's excess is (0 - 1/4) / (1 - 1/4) = -1/3.

        >>> windows = torch.tensor([[0, 0, 1, 1], [1, 2, 1, 2]])
        >>> table = user_frequency(windows, embeddings=[[0.0], [1.0], [-1.0]], c=1)
        >>> print(table[["user", "length", "dc_share", "dc_excess"]].round(3).to_string(index=False))
         user  length  dc_share  dc_excess
            0       2       1.0      1.000
            1       4       0.0     -0.333
    """
    import pandas as pd

    check_c(c, windows.shape[1])
    table = as_float64(embeddings)
    if len(windows) and int(windows.max()) >= len(table):
        raise ValueError(f"windows hold item {int(windows.max())}, there are embeddings of 0..{len(table) - 1}")
    lengths = real_items(windows)
    columns: dict[str, Any] = {
        "user": np.arange(len(windows)) if users is None else users,
        "length": lengths.numpy(),
    }
    columns |= _shares_by_length(windows, lengths, lambda ids: table[ids.long()], c, batch_size)
    if attributes is not None:
        categories = _shares_by_length(
            windows, lengths, lambda ids: torch.from_numpy(attributes.matrix(ids.numpy())), c, batch_size
        )
        columns |= {f"category_{name}": values for name, values in categories.items()}
    given = windows if inputs is None else inputs
    whole = [_shares(table[batch.long()], c) for batch in in_batches(given, batch_size)]
    for column, name in enumerate(("window_dc_share", "window_low_share")):
        columns[name] = np.concatenate([shares[column] for shares in whole]) if whole else np.empty(0)
    return pd.DataFrame(columns)


@dataclass(frozen=True, eq=False)
class RankingByGroup(Result):
    """How well models rank for groups of users.

    Attributes:
        measure: What users are grouped by.
        metric: How the metric is called.
        rows: One for each model and group. Columns: model, group (from 1, the lowest measure), from, to (the measure's
            range in the group), users, mean, low, high. The interval is a percentile bootstrap over users; it is NaN
            for a group of one user.
    """

    measure: str
    metric: str
    rows: "DataFrame"

    def table(self) -> "DataFrame":
        """Return the rows."""
        return self.rows

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the mean of each group, with its interval."""
        from spectral import plot

        return plot.user_frequency(self, ax=ax)


def by_group(
    measure: "Series",
    metric: "Mapping[str, Any]",
    groups: int = 4,
    resamples: int = 2000,
    seed: int = 0,
    called: str = "metric",
) -> RankingByGroup:
    """Return the mean of a metric by quantile group of a measure, with its 95% bootstrap interval over users.

    measure: (P,), NaN for users to leave out. metric: for each model by name, (P,), of the same users. Groups are cut
    at the quantiles of the measure. Users with equal measures are in the same group, so groups may differ in size, and
    there may be fewer of them. called: the name of the metric, for pictures.

    Raises ConfigError for fewer than 1 groups, and DataError if no user has the measure.

    Example:
        A model that finds the target of every low-frequency user and of no other:

        >>> import pandas as pd
        >>> measure = pd.Series([0.1, 0.2, 0.8, 0.9], name="dc_excess")
        >>> groups = by_group(measure, {"sasrec": [0, 0, 1, 1]}, groups=2, resamples=100)
        >>> print(groups.table()[["group", "from", "to", "users", "mean"]].to_string(index=False))
         group  from  to  users  mean
             1   0.1 0.2      2   0.0
             2   0.8 0.9      2   1.0
    """
    import pandas as pd
    from scipy.stats import bootstrap

    if groups < 1:
        raise ConfigError(f"groups must be at least 1, got {groups}")
    known = measure.dropna()
    if known.empty:
        raise DataError(f"no user has a {measure.name}, so there are no groups")
    group = pd.qcut(known, groups, labels=False, duplicates="drop").fillna(0).astype(int) + 1
    rows = []
    for model, values in metric.items():
        values = pd.Series(np.asarray(values, dtype=float), index=measure.index)
        for number, members in known.groupby(group):
            of_group = values[members.index].to_numpy()
            low = high = float("nan")
            if len(of_group) > 1:
                interval = bootstrap(
                    (of_group,), np.mean, n_resamples=resamples, method="percentile", rng=seed, confidence_level=LEVEL
                ).confidence_interval
                low, high = interval.low, interval.high
            rows.append((model, number, members.min(), members.max(), len(members), of_group.mean(), low, high))
    columns = ["model", "group", "from", "to", "users", "mean", "low", "high"]
    return RankingByGroup(str(measure.name), called, pd.DataFrame(rows, columns=columns))


def _shares_by_length(
    windows: Tensor, lengths: Tensor, embed: Any, c: int, batch_size: int
) -> dict[str, NDArray[np.float64]]:
    """Return `SHARES` of the real positions of each window, measured length by length."""
    found = {name: np.full(len(windows), np.nan) for name in SHARES}
    for n, rows in _batches_by_length(lengths, batch_size):
        dc, low = _shares(embed(windows[rows, -n:]), c)
        found["dc_share"][rows.numpy()], found["low_share"][rows.numpy()] = dc, low
        for name, share, modes in (("dc_excess", dc, 1), ("low_excess", low, c)):
            if n > modes:
                found[name][rows.numpy()] = (share - modes / n) / (1 - modes / n)
    return found


def _batches_by_length(lengths: Tensor, batch_size: int) -> Iterator[tuple[int, Tensor]]:
    for n in lengths.unique().tolist():
        if n:
            for rows in (lengths == n).nonzero()[:, 0].split(batch_size):
                yield n, rows


def _shares(signals: Tensor, c: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the shares of DC and of the c lowest modes of (B, n, D), (B,) each; NaN without energy, or if n <= c."""
    n = signals.shape[1]
    low = low_frequency_share(signals, c).numpy() if n > c else np.full(len(signals), np.nan)
    return low_frequency_share(signals, 1).numpy(), low
