"""The random part of a training epoch: the order of the samples, and their negatives."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.datasets.padding import fill_padding
from models.datasets.sequences import Prefixes, Sequences
from models.errors import DataError


@dataclass(frozen=True)
class Batch:
    """Training samples for one step.

    Attributes:
        inputs: (B, N) windows, padded with 0 on the left.
        targets: (B,) the item that follows each window.
        users: (B,) rows of the users in the training data.
        negatives: (B,) for each sample an item that the user does not have; None if the loss needs none.
        same_target: (B, N) for each sample the input of another one with the same target; None if the model needs none.
    """

    inputs: Tensor
    targets: Tensor
    users: Tensor
    negatives: Tensor | None = None
    same_target: Tensor | None = None


class EpochSampler:
    """Draws the batches of an epoch from the seed and the epoch's number alone, so that a run can be resumed.

    The samples are those of `Sequences.prefixes(max_len, padding)`, gathered batch by batch on the device that asks
    for them. `negatives` and `same_target` say whether batches have these fields. Raises DataError if negatives are
    needed and a user has every item.

    >>> from models.datasets import load
    >>> sampler = EpochSampler(load("synthetic:users=20,items=30"), max_len=10, batch_size=64, negatives=True, seed=0)
    >>> batch = next(sampler.epoch(0, torch.device("cpu")))
    >>> batch.inputs.shape, batch.targets.shape, batch.negatives.shape
    (torch.Size([64, 10]), torch.Size([64]), torch.Size([64]))
    >>> again = next(sampler.epoch(0, torch.device("cpu")))
    >>> torch.equal(batch.inputs, again.inputs), torch.equal(batch.negatives, again.negatives)
    (True, True)
    """

    def __init__(
        self,
        sequences: Sequences,
        max_len: int,
        batch_size: int,
        negatives: bool,
        seed: int,
        same_target: bool = False,
        padding: str = "zero",
    ) -> None:
        self.samples = Prefixes(sequences, max_len, padding)
        self.batch_size, self.seed = batch_size, seed
        self._negatives = NegativeSampler(sequences, self.samples) if negatives else None
        self._same_target = SameTargetSampler(self.samples.targets) if same_target else None

    def __len__(self) -> int:
        """Return the number of batches in an epoch; the last one may be smaller."""
        return -(-len(self.samples) // self.batch_size)

    def epoch(self, number: int, device: torch.device) -> Iterator[Batch]:
        """Yield every sample once, with an order and negatives that differ from epoch to epoch."""
        rng = np.random.default_rng([self.seed, number])
        drawn = (
            rng.permutation(len(self.samples)),
            self._negatives.draw(rng) if self._negatives else None,
            self._same_target.draw(rng) if self._same_target else None,
        )
        # All that comes from the processor is copied here, once, so that no step waits for it.
        order, negatives, same_target = (None if a is None else torch.from_numpy(a).to(device) for a in drawn)
        samples = DeviceSamples(self.samples, device)
        assert order is not None
        for rows in order.split(self.batch_size):
            yield Batch(
                *samples[rows],
                None if negatives is None else negatives[rows],
                None if same_target is None else samples[same_target[rows]][0],
            )


class DeviceSamples:
    """The samples of `Prefixes` as tensors of a device, where they are gathered.

    >>> from models.datasets import load
    >>> samples = Prefixes(load("synthetic:users=20,items=30"), max_len=10, padding="cyclic")
    >>> inputs, targets, users = DeviceSamples(samples, torch.device("cpu"))[torch.tensor([3, 1])]
    >>> (inputs.numpy() == samples[np.array([3, 1])].inputs).all()
    np.True_
    """

    def __init__(self, samples: Prefixes, device: torch.device) -> None:
        length = samples.max_len
        self.length = length
        self._padded, self._ends, self._starts, self._shifts = (
            torch.from_numpy(array).to(device)
            for array in (samples.padded, samples.ends, samples.starts, samples.starts - samples.ends + samples.counts)
        )
        # For each number of items before a target, where in the window the item of each position is; 0 for padding.
        place = np.arange(1, length + 1)
        known = np.where(place > length - np.arange(length + 1)[:, None], place, 0)
        self._sources = torch.from_numpy(fill_padding(known, samples.padding)).to(device)  # (N + 1, N), from 1

    def __getitem__(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return inputs (B, N) int32, targets (B,) int64 and users (B,) int64 of rows (B,), in this order."""
        users = torch.searchsorted(self._ends, rows, right=True)
        stops = self._shifts[users] + rows  # the position of each target among the items
        sources = self._sources[(stops - self._starts[users]).clamp(max=self.length)]
        # Behind the N zeros of `padded`, the window before a target begins at the target's own position.
        inputs = self._padded[torch.where(sources > 0, stops[:, None] + sources - 1, 0)]
        return inputs, self._padded[stops + self.length].long(), users


class NegativeSampler:
    """Draws for each sample one item, uniformly among those that its user does not have in the training part.

    Raises DataError if a user has every item.
    """

    def __init__(self, sequences: Sequences, samples: Prefixes) -> None:
        self.samples = samples
        self._unseen = UnseenItems(sequences.name, sequences.num_items, *sequences.history("valid"))

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return one item per sample, (samples,) int64 in 1..num_items."""
        return self._unseen.draw(rng, self.samples.users)


class UnseenItems:
    """Draws items that users do not have.

    items and offsets: what they have; user u has `items[offsets[u]:offsets[u + 1]]`. name: of the dataset, for
    messages. Raises DataError if a user has every item.

    >>> seen, offsets = np.array([1, 2, 2, 4]), np.array([0, 3, 4])  # user 0 has 1 and 2, user 1 has 4
    >>> unseen = UnseenItems("example", num_items=4, items=seen, offsets=offsets)
    >>> drawn = unseen.draw_distinct(np.random.default_rng(0), count=2)
    >>> sorted(drawn[0].tolist())  # user 0 has only two unseen items
    [3, 4]
    >>> 4 in drawn[1]
    False
    """

    def __init__(self, name: str, num_items: int, items: NDArray[np.integer], offsets: NDArray[np.int64]) -> None:
        self.name, self.num_items, self.num_users = name, num_items, len(offsets) - 1
        owners = np.repeat(np.arange(self.num_users), np.diff(offsets))
        self._seen = np.unique(self._key(owners, items))
        self._counts = np.bincount(self._seen // (num_items + 1), minlength=self.num_users)
        self._check(1)

    def draw(self, rng: np.random.Generator, users: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return an unseen item for each entry of users (n,), uniform and independent, (n,) int64 from 1."""
        drawn = rng.integers(1, self.num_items + 1, len(users))
        redo = np.arange(len(users))
        while len(redo := redo[self._is_seen(users[redo], drawn[redo])]):
            drawn[redo] = rng.integers(1, self.num_items + 1, len(redo))
        return drawn

    def draw_distinct(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Return `count` different unseen items for each user, (num_users, count) int64.

        Raises DataError if a user has fewer unseen items.
        """
        self._check(count)
        users = np.repeat(np.arange(self.num_users), count)
        drawn = self.draw(rng, users)
        while True:
            keys = self._key(users, drawn)
            order = np.argsort(keys, kind="stable")  # stable: the first of equal draws stays
            repeated = order[1:][keys[order[1:]] == keys[order[:-1]]]
            if not len(repeated):
                return drawn.reshape(self.num_users, count)
            drawn[repeated] = self.draw(rng, users[repeated])

    def _check(self, count: int) -> None:
        left = self.num_items - int(self._counts.max())
        if left < count:
            raise DataError(
                f"{self.name}: {count} unseen items are needed for every user, but a user has only {left} left"
            )

    def _key(self, users: NDArray[np.int64], items: NDArray[np.integer]) -> NDArray[np.int64]:
        return users * (self.num_items + 1) + items

    def _is_seen(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.bool_]:
        keys = self._key(users, items)
        places = np.searchsorted(self._seen, keys)
        return self._seen[np.minimum(places, len(self._seen) - 1)] == keys


class SameTargetSampler:
    """Draws for each sample another sample with the same target, or the sample itself if no other has its target.

    >>> sampler = SameTargetSampler(np.array([7, 5, 7]))
    >>> sampler.draw(np.random.default_rng(0)).tolist()  # samples 0 and 2 share the target 7
    [2, 1, 0]
    """

    def __init__(self, targets: NDArray[np.int64]) -> None:
        self._order = np.argsort(targets, kind="stable")  # samples of one target side by side
        starts = np.flatnonzero(np.diff(targets[self._order], prepend=-1))
        sizes = np.diff(starts, append=len(targets))
        self._start, self._size, self._place = (np.empty(len(targets), np.int64) for _ in range(3))
        self._start[self._order] = np.repeat(starts, sizes)
        self._size[self._order] = np.repeat(sizes, sizes)
        self._place[self._order] = np.arange(len(targets)) - np.repeat(starts, sizes)

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the row of one sample for each sample, (samples,), uniform among the others with its target."""
        chosen = rng.integers(0, np.maximum(self._size - 1, 1))
        chosen += (chosen >= self._place) & (self._size > 1)  # skip the sample itself
        return self._order[self._start + chosen]
