"""Other views of a dataset whose times are known: the part before a moment, or another order of ties.

    ml-100k:until=0.8      only interactions before the moment that 80% of all interactions precede
    ml-100k:ties=item      items of one user at the same time in the order of their ids
    ml-100k:ties=reversed  items of one user at the same time in the reverse of the dataset's order

Such a name may stand wherever a dataset's name may. Items keep their ids, so a model that was trained on the part
before a moment can be evaluated on what came after it (`at_or_after`).
"""

import re
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.datasets.sequences import MIN_ITEMS, Sequences
from models.errors import ConfigError, DataError

VIEW = re.compile(r"(?P<base>.+):(?P<knob>until|ties)=(?P<value>[^:]*)")
TIES = ("item", "reversed")
SHARE = 0.8  # of the interactions before the split, if nothing else is said


def is_view(name: str) -> bool:
    """Return whether a dataset name stands for a view.

    >>> is_view("ml-100k:until=0.9"), is_view("ml-100k"), is_view("synthetic:change=0.2")
    (True, False, False)
    """
    return VIEW.fullmatch(name) is not None


def split_name(name: str) -> tuple[str, str, str]:
    """Return the name of the dataset behind a view, the knob and its value; no knob and no value for other names.

    >>> split_name("ml-100k:until=0.9"), split_name("shop.txt")
    (('ml-100k', 'until', '0.9'), ('shop.txt', '', ''))
    """
    found = VIEW.fullmatch(name)
    return (found["base"], found["knob"], found["value"]) if found else (name, "", "")


def view(sequences: Sequences, knob: str, value: str) -> Sequences:
    """Return a view of sequences, named after its knob.

    Raises ConfigError for an impossible value, and DataError without times, or if no user is left.

    >>> import numpy as np
    >>> times = np.array([1, 2, 3, 4, 5, 6, 7, 8])
    >>> items = np.array([3, 1, 2, 5, 4, 1, 6, 7], dtype=np.int32)
    >>> both = Sequences("example", np.array([1, 2]), items, np.array([0, 4, 8]), times=times)
    >>> before = view(both, "until", "0.5")  # user 2 is there only afterwards
    >>> before.users.tolist(), before.items.tolist(), before.num_items
    ([1], [3, 1, 2, 5], 7)
    """
    changed = before(sequences, share_of(value)) if knob == "until" else reordered(sequences, value)
    source = f"{sequences.source}:{knob}={value}" if sequences.source else ""
    return replace(changed, name=f"{sequences.name}:{knob}={value}", source=source)


def share_of(value: str) -> float:
    """Return the share of interactions in the text of a knob. Raises ConfigError if it is not between 0 and 1."""
    try:
        share = float(value)
    except ValueError:
        share = np.nan
    if not 0 < share < 1:
        raise ConfigError(f"until must be a number between 0 and 1, the share of interactions before it, got {value!r}")
    return share


def moment(sequences: Sequences, share: float) -> int:
    """Return the earliest time that at least this share of all interactions precede. Raises DataError without times."""
    times = np.sort(times_of(sequences))
    return int(times[min(int(np.ceil(share * len(times))), len(times) - 1)])


def before(sequences: Sequences, share: float) -> Sequences:
    """Return what comes before the moment that a share of all interactions precede.

    Users with fewer than 3 items before it are left out, and the number of items stays. Raises DataError without times,
    or if no user is left.
    """
    times = times_of(sequences)
    kept = times < moment(sequences, share)
    owner = np.repeat(np.arange(sequences.num_users), sequences.lengths)
    counts = np.bincount(owner[kept], minlength=sequences.num_users)
    enough = counts >= MIN_ITEMS
    if not enough.any():
        raise DataError(f"{sequences.name}: no user has {MIN_ITEMS} items before {share:.0%} of the interactions")
    kept &= enough[owner]
    return replace(
        sequences,
        users=sequences.users[enough],
        items=sequences.items[kept],
        times=times[kept],
        offsets=np.concatenate([[0], np.cumsum(counts[enough])]),
        skipped=sequences.skipped + int(np.count_nonzero(~enough)),
        catalogue=sequences.num_items,
    )


def at_or_after(sequences: Sequences, share: float) -> NDArray[np.bool_]:
    """Return (num_users,) whether a user's last item comes at or after the moment that a share of interactions precede.

    Raises DataError without times, or if there is no such user.
    """
    found = times_of(sequences)[sequences.offsets[1:] - 1] >= moment(sequences, share)
    if not found.any():
        raise DataError(f"{sequences.name}: no user has an item after {share:.0%} of the interactions")
    return found


def reordered(sequences: Sequences, rule: str) -> Sequences:
    """Return the sequences with another order of a user's items at the same time: by `item` id, or `reversed`.

    Raises ConfigError for another rule, and DataError without times.
    """
    if rule not in TIES:
        raise ConfigError(f"ties must be {' or '.join(TIES)}, got {rule!r}")
    times = times_of(sequences)
    owner = np.repeat(np.arange(sequences.num_users), sequences.lengths)
    ties = sequences.items if rule == "item" else -np.arange(len(times))
    order = np.lexsort((ties, times, owner))
    return replace(sequences, items=sequences.items[order], times=times[order])


def times_of(sequences: Sequences) -> NDArray[np.int64]:
    """Return the times of the interactions; raises DataError if they are not known."""
    if sequences.times is None:
        raise DataError(
            f"{sequences.name} has no times of its interactions; ml-100k has them, ml-1m from GroupLens' archive, and "
            "tables imported with: python -m models.datasets import"
        )
    return sequences.times
