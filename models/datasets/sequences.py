"""Users' histories as one flat array of items, and the samples for training and testing models."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models.datasets.padding import check_mode, fill_padding
from models.errors import ConfigError, did_you_mean

MIN_ITEMS = 3  # one item each to train on, to validate with and to test with
HELD_OUT = {"test": 1, "valid": 2, "train": 3}  # the target of a split is this many items before the end


@dataclass(frozen=True, eq=False)
class Samples:
    """Model inputs, each with the item that follows it.

    Attributes:
        inputs: (B, N) int32, the most recent item last, padded with 0 on the left.
        targets: (B,) int64, the item to predict, from 1.
        users: (B,) int64, the row of the user in the `Sequences` the sample comes from.
    """

    inputs: NDArray[np.int32]
    targets: NDArray[np.int64]
    users: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of samples B."""
        return len(self.targets)


@dataclass(frozen=True, eq=False)
class Sequences:
    """The items of every user in time order, split leave-one-out.

    The last item of a user is the test target, the one before it the validation target, and the rest is for training.

    Attributes:
        name: Name of the dataset in reports and folders.
        users: (num_users,) int64, the user ids as the file has them.
        items: (num_interactions,) int32, the items of the first user, then of the second, ...; ids from 1.
        offsets: (num_users + 1,) int64, user u has `items[offsets[u]:offsets[u + 1]]`, at least 3 items.
        skipped: Number of users that were left out because they had fewer than 3 items.
        source: What to give `models.datasets.load` to get these sequences again; "" if that is not possible.
        times: (num_interactions,) int64, the time of each item, in any unit that keeps the order; None if not known.
        catalogue: The number of items, if items with higher ids exist than those that occur here.

    Raises:
        ValueError: If the arrays do not fit together as described.

    >>> items = np.array([5, 3, 9, 2, 4, 1, 6], dtype=np.int32)  # user 10 has 5 3 9 2, user 11 has 4 1 6
    >>> sequences = Sequences("example", np.array([10, 11]), items, np.array([0, 4, 7]))
    >>> test = sequences.windows("test", max_len=3)
    >>> test.inputs.tolist(), test.targets.tolist()
    ([[5, 3, 9], [0, 4, 1]], [2, 6])
    >>> training = sequences.prefixes(max_len=3)
    >>> training.inputs.tolist(), training.targets.tolist()
    ([[0, 0, 0], [0, 0, 5], [0, 0, 0]], [5, 3, 4])
    """

    name: str
    users: NDArray[np.int64]
    items: NDArray[np.int32]
    offsets: NDArray[np.int64]
    skipped: int = 0
    source: str = ""
    times: NDArray[np.int64] | None = None
    catalogue: int = 0

    def __post_init__(self) -> None:
        """Check that the arrays fit together."""
        if self.users.ndim != 1 or len(self.users) == 0 or self.offsets.shape != (len(self.users) + 1,):
            raise ValueError(
                f"users must be (num_users,) with at least one user and offsets (num_users + 1,), "
                f"got shapes {self.users.shape} and {self.offsets.shape}"
            )
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.items):
            raise ValueError(f"offsets must go from 0 to the number of items {len(self.items)}")
        if self.lengths.min() < MIN_ITEMS:
            raise ValueError(f"every user needs at least {MIN_ITEMS} items, one has {self.lengths.min()}")
        if self.items.dtype != np.int32 or self.items.min() < 1:
            raise ValueError(f"items must be int32 from 1, got {self.items.dtype} from {self.items.min()}")
        if self.times is not None and self.times.shape != self.items.shape:
            raise ValueError(f"there must be a time for each of the {len(self.items)} items, got {self.times.shape}")

    @property
    def num_users(self) -> int:
        """Number of users."""
        return len(self.users)

    @cached_property
    def num_items(self) -> int:
        """The largest item id; the ids are 1..num_items, even if some do not occur."""
        return max(self.catalogue, int(self.items.max()))

    @property
    def num_interactions(self) -> int:
        """Number of items in all sequences, repetitions included."""
        return len(self.items)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(num_users,) number of items of every user."""
        return np.diff(self.offsets)

    @property
    def density(self) -> float:
        """Interactions per cell of the user-item matrix; repeated items count each time, so it can exceed 1."""
        return self.num_interactions / (self.num_users * self.num_items)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of items and offsets; equal if and only if the sequences are, on every platform."""
        digest = hashlib.sha256(self.items.astype("<i4").tobytes())
        digest.update(self.offsets.astype("<i8").tobytes())
        return digest.hexdigest()

    def prefixes(self, max_len: int, padding: str = "zero") -> Samples:
        """Return the training samples: every item of a user's training window, with the items before it as input.

        The training window is the last `max_len` + 2 items of the user without the final two (the validation and test
        targets). Its first item has nothing before it, so the input of that sample is all padding; no input has more
        than `max_len` - 1 items. Samples are ordered by user, then by time. Shorter inputs are padded on the left as
        `padding` says (models.datasets.padding).

        Raises ConfigError for a max_len below 1 or an unknown padding.

        Source: the training loop published with BSARec (Shin et al., AAAI 2024).
        """
        prefixes = Prefixes(self, max_len, padding)
        return prefixes[np.arange(len(prefixes))]

    def num_prefixes(self, max_len: int) -> NDArray[np.int64]:
        """Return the number of training samples of each user, (num_users,), from 1 to `max_len`; see `prefixes`."""
        _check_max_len(max_len)
        return np.minimum(self.lengths - 2, max_len)

    def windows(self, split: str, max_len: int, padding: str = "zero") -> Samples:
        """Return one sample per user: the last `max_len` items before the target of the split.

        The target is the last item for "test", the second last for "valid" and the third last for "train". For "train"
        the input has up to `max_len` items, one more than the user's last sample of `prefixes` can have; for a user
        with 3 items it is all padding. Shorter inputs are padded on the left as `padding` says
        (models.datasets.padding).

        Raises ConfigError for an unknown split, a max_len below 1 or an unknown padding.
        """
        _check_max_len(max_len)
        targets = self.offsets[1:] - held_out(split)
        before = windows_before(_padded(self.items, max_len), targets, targets - self.offsets[:-1], max_len)
        return Samples(fill_padding(before, padding), self.items[targets].astype(np.int64), np.arange(self.num_users))

    def history(self, split: str) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return all items of every user before the target of the split, without a limit on their number.

        Returns:
            items (num_kept,) int32 and offsets (num_users + 1,) int64: user u has seen
            `items[offsets[u]:offsets[u + 1]]` when the split asks for the next item.
        """
        kept = self.lengths - held_out(split)
        offsets = np.concatenate([[0], np.cumsum(kept)])
        # Position j of the result comes after the dropped items of all users before its own.
        shift = np.repeat(self.offsets[:-1] - offsets[:-1], kept)
        return self.items[np.arange(offsets[-1]) + shift], offsets


class Prefixes:
    """The training samples of some sequences, gathered from the flat array of items when they are asked for.

    They are those of `Sequences.prefixes`, with the same errors, but take no memory before they are asked for: windows
    of N items would take N times that of the items.

    >>> items = np.array([5, 3, 9, 2, 4, 1, 6], dtype=np.int32)  # user 10 has 5 3 9 2, user 11 has 4 1 6
    >>> prefixes = Prefixes(Sequences("example", np.array([10, 11]), items, np.array([0, 4, 7])), max_len=3)
    >>> samples = prefixes[np.array([2, 1])]
    >>> len(prefixes), samples.inputs.tolist(), samples.targets.tolist(), samples.users.tolist()
    (3, [[0, 0, 0], [0, 0, 5]], [4, 3], [1, 0])
    """

    def __init__(self, sequences: Sequences, max_len: int, padding: str = "zero") -> None:
        check_mode(padding)
        self.max_len, self.padding = max_len, padding
        self.counts = sequences.num_prefixes(max_len)  # of each user's samples
        self.ends = np.cumsum(self.counts)
        self.starts = sequences.offsets[1:] - 2 - self.counts  # of each user's window of targets
        self.padded = _padded(sequences.items, max_len)  # all items, behind N zeros
        self._items = sequences.items

    def __len__(self) -> int:
        """Return the number of samples."""
        return int(self.ends[-1])

    def __getitem__(self, rows: NDArray[np.int64]) -> Samples:
        """Return the samples of these rows, from 0, in this order."""
        users, stops = self._places(rows)
        before = windows_before(self.padded, stops, stops - self.starts[users], self.max_len)
        return Samples(fill_padding(before, self.padding), self._items[stops].astype(np.int64), users)

    @property
    def users(self) -> NDArray[np.int64]:
        """The row of each sample's user, (samples,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def targets(self) -> NDArray[np.int64]:
        """The target of each sample, (samples,)."""
        return self._items[self._places(np.arange(len(self)))[1]].astype(np.int64)

    def _places(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the user of each row, and the position of its target among the items."""
        users = np.searchsorted(self.ends, rows, side="right")
        return users, self.starts[users] + rows - (self.ends - self.counts)[users]


def _padded(items: NDArray[np.int32], max_len: int) -> NDArray[np.int32]:
    return np.concatenate([np.zeros(max_len, np.int32), items])


def windows_before(
    padded: NDArray[np.int32], stops: NDArray[np.int64], available: NDArray[np.int64], max_len: int
) -> NDArray[np.int32]:
    """Return (B, N) the N items before each of the positions `stops`, with 0 where the user has none.

    padded: the flat array of items behind N zeros. available: (B,) so many of the items before a stop are of its user.

    >>> padded = np.array([0, 0, 5, 3, 9, 2], dtype=np.int32)
    >>> windows_before(padded, np.array([1, 3]), np.array([1, 3]), max_len=2).tolist()
    [[0, 5], [3, 9]]
    """
    windows = sliding_window_view(padded, max_len)[stops]  # a copy, with items of earlier users in it
    windows[np.arange(max_len) < max_len - available[:, None]] = 0
    return windows


def held_out(split: str) -> int:
    """Return the number of items at the end of a sequence that the split must not see: its target and later ones.

    Raises:
        ConfigError: If the split is not train, valid or test.

    >>> held_out("test"), held_out("valid")
    (1, 2)
    """
    if split not in HELD_OUT:
        raise ConfigError(f"split must be train, valid or test, got {split!r}{did_you_mean(split, HELD_OUT)}")
    return HELD_OUT[split]


def _check_max_len(max_len: int) -> None:
    if max_len < 1:
        raise ConfigError(f"max_len must be at least 1, got {max_len}")


def training_counts(sequences: Sequences, num_items: int) -> NDArray[np.int64]:
    """Return how often each item occurs in the training part of all histories, (num_items + 1,); padding has 0.

    The training part is without the last two items of each user. num_items: of the model, at least as many as there
    are.

    >>> items = np.array([5, 3, 9, 2, 3, 1, 6], dtype=np.int32)  # for training: of user 10 5 3, of user 11 3
    >>> training_counts(Sequences("example", np.array([10, 11]), items, np.array([0, 4, 7])), num_items=9)
    array([0, 0, 0, 2, 0, 1, 0, 0, 0, 0])
    """
    from_the_end = np.repeat(sequences.offsets[1:], sequences.lengths) - np.arange(len(sequences.items))
    return np.bincount(sequences.items[from_the_end > 2], minlength=num_items + 1)
