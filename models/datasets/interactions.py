"""From interactions (user, item, time) to sequences: the k-core, the order of time, ids from 1."""

import numpy as np
from numpy.typing import NDArray

from models.datasets.sequences import MIN_ITEMS, Sequences
from models.errors import DataError


def core(user: NDArray[np.int64], item: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """Mark the interactions of the k-core, the largest part in which every user and item has at least k of them.

    user, item: (n,) ids from 0. Returns (n,) bool, True for the interactions that stay.

    >>> user, item = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 0, 1, 1, 2])
    >>> core(user, item, k=2).tolist()  # item 2 has one interaction; without it user 2 has one
    [True, True, True, True, False, False]
    """
    kept = np.ones(len(user), dtype=bool)
    while kept.any():
        enough = (np.bincount(user[kept], minlength=user.max() + 1)[user] >= k) & (
            np.bincount(item[kept], minlength=item.max() + 1)[item] >= k
        )
        if not (kept & ~enough).any():
            break
        kept &= enough
    return kept


def by_first_appearance(ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct ids in order of first appearance, and for every id (n,) its index among them.

    >>> distinct, index = by_first_appearance(np.array([30, 10, 30, 20]))
    >>> distinct.tolist(), index.tolist()
    ([30, 10, 20], [0, 1, 0, 2])
    """
    distinct, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first)
    index = np.empty_like(order)
    index[order] = np.arange(len(order))
    return distinct[order], index[inverse]


def to_sequences(
    user: NDArray[np.int64], item: NDArray[np.int64], time: NDArray[np.int64], k: int, name: str, source: str
) -> tuple[Sequences, NDArray[np.int64]]:
    """Return the k-core as sequences, and the former id (num_items,) of each item 1, 2, ...

    user, item, time: (n,), ids from 0. A user's items are sorted by time; items of the same time keep the order of the
    input. Users are in the order of their first interaction and keep their ids. Items are numbered from 1 in the order
    of their first interaction. name and source: see `Sequences`.

    Raises:
        DataError: If nothing is left, or a user has fewer than 3 interactions.

    >>> user, item, time = np.array([7, 7, 7]), np.array([40, 50, 60]), np.array([3, 1, 2])
    >>> sequences, former = to_sequences(user, item, time, k=1, name="example", source="")
    >>> sequences.items.tolist(), former.tolist()  # 50, 60, 40 in the order of time
    ([2, 3, 1], [40, 50, 60])
    """
    kept = core(user, item, k)
    if not kept.any():
        raise DataError(f"{name}: no user and item with at least {k} interactions each; nothing is left")
    user, item, time = user[kept], item[kept], time[kept]
    users, row = by_first_appearance(user)
    items, item_index = by_first_appearance(item)
    counts = np.bincount(row)
    if counts.min() < MIN_ITEMS:
        raise DataError(
            f"{name}: a user has {counts.min()} interactions, and {MIN_ITEMS} are needed, one each for training, "
            f"validation and test; keep users with more of them (a core of at least {MIN_ITEMS})"
        )
    order = np.lexsort((time, row))  # stable
    sequences = Sequences(
        name=name,
        users=users,
        items=(item_index[order] + 1).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        source=source,
        times=time[order],
    )
    return sequences, items
