"""Attributes of items, as numbers: categories, tags and genres."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.datasets import files, movielens, movielens_1m
from models.datasets.registry import DATASETS, fetch_published
from models.errors import DataError

logger = logging.getLogger("models")

# Published with S3-Rec beside the sequences: for each dataset the name of the file and its SHA-256.
FILES = {
    "beauty": (
        "Beauty_item2attributes.json",
        "129e40f67486f6877eff0f5318cfa8530ee8ac23d8b0d1de04e1bb7a2ba0b2d4",
    ),
    "sports": (
        "Sports_and_Outdoors_item2attributes.json",
        "7fb10733ac4f1811384a52144cdefa7fcc7536fa80a7232c5da9bd789155c34b",
    ),
    "toys": (
        "Toys_and_Games_item2attributes.json",
        "d371acd25101eedac04afc727626464b7acec770c4eda708705d51eb76eb1ad0",
    ),
    "yelp": (
        "Yelp_item2attributes.json",
        "f25acd5e1e680e0b22fd4e3f4fb6be4b2a7461e9222610616e3e1ee6702dd58d",
    ),
    "lastfm": (
        "LastFM_item2attributes.json",
        "a4ccd678dc9ff6d43fe5073f491db5c9b02eb98dfa4f8c0382913a784be217ef",
    ),
}


@dataclass(frozen=True, eq=False)
class Attributes:
    """The attributes of the items 1..num_items; attributes are numbers from 1, and an item has each at most once.

    Attributes:
        values: The attributes of item 1, then those of item 2, ...
        offsets: (num_items + 1,), item i has `values[offsets[i - 1]:offsets[i]]`, sorted; none for an unknown item.
        names: The names of attributes 1, 2, ...; empty if they are not published.

    >>> films = Attributes(np.array([1, 3, 3]), np.array([0, 2, 2, 3]), names=("comedy", "crime", "drama"))
    >>> films.of(1).tolist(), films.of(2).tolist(), films.items_of(3).tolist()
    ([1, 3], [], [1, 3])
    >>> films.matrix(np.array([0, 1]))  # the first row is of padding
    array([[0., 0., 0.],
           [1., 0., 1.]])
    """

    values: NDArray[np.int64]
    offsets: NDArray[np.int64]
    names: tuple[str, ...] = ()

    def of(self, item: int) -> NDArray[np.int64]:
        """Return the attributes of an item, sorted; raises ValueError if the item is not in 1..num_items."""
        if not 1 <= item < len(self.offsets):
            raise ValueError(f"item must lie in 1..{len(self.offsets) - 1}, got {item}")
        return self.values[self.offsets[item - 1] : self.offsets[item]]

    def items_of(self, attribute: int) -> NDArray[np.int64]:
        """Return the items with an attribute, ascending."""
        return np.searchsorted(self.offsets, np.flatnonzero(self.values == attribute), side="right")

    @property
    def sparse(self) -> Any:
        """A scipy CSR array (num_items + 1, A) for A attributes, 1 where an item has one; row 0 is padding."""
        from scipy.sparse import csr_array  # slow to import

        starts = np.concatenate([[0], self.offsets])
        shape = (len(self.offsets), int(self.values.max(initial=0)))
        return csr_array((np.ones(len(self.values)), self.values - 1, starts), shape=shape)

    def matrix(self, items: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the rows of `sparse` for items (...), as an array (..., A); zeros for the padding item 0."""
        return self.sparse[items.ravel()].toarray().reshape(*items.shape, -1)


def has_attributes(name: str) -> bool:
    """Return whether attributes are published for a dataset of this name."""
    return name in FILES or name in (movielens.NAME, movielens_1m.NAME)


def load_attributes(name: str, num_items: int, data_dir: str | Path | None = None) -> Attributes:
    """Return the attributes of a named dataset's items.

    The attributes of MovieLens are genres with names; those of the other datasets are published as numbers only. Their
    file is looked for and downloaded as in `models.datasets.load`.

    Raises:
        DataError: If no attributes are published for the dataset, if their file cannot be found or downloaded, or if
            the dataset does not have `num_items` items.
    """
    if not has_attributes(name):
        known = ", ".join([movielens.NAME, movielens_1m.NAME, *FILES])
        raise DataError(f"no attributes of the items of {name!r} are published; they are for {known}")
    if name in FILES:
        return read_attributes(fetch_published(name, *FILES[name], data_dir=data_dir), num_items)
    interactions = DATASETS[name].fetch(data_dir)
    if interactions.name == movielens_1m.TEXT:
        return _genres_beside(interactions, num_items)
    if name == movielens.NAME:
        genres = movielens.read_genres(interactions, movielens.fetch(data_dir, movielens.ITEM))
    else:
        genres = movielens_1m.read_genres(interactions)
    if len(genres) != num_items:
        raise DataError(
            f"{name} has {len(genres)} items, not {num_items}; give the number of items of the whole dataset"
        )
    names = sorted({genre for of_item in genres for genre in of_item})
    number = {genre: place for place, genre in enumerate(names, start=1)}
    return _grouped([[number[genre] for genre in of_item] for of_item in genres], tuple(names))


def _genres_beside(interactions: Path, num_items: int) -> Attributes:
    """Return the genres of MovieLens-1M from the two files beside its text file; raises DataError if one is missing."""
    paths = []
    for file_name, sha256 in (movielens_1m.GENRES, movielens_1m.GENRE_NAMES):
        path = interactions.with_name(file_name)
        if not path.is_file():
            raise DataError(
                f"{path} is missing, which has the genres of the items in {interactions.name} (SHA-256 {sha256}); put "
                f"it there, or use {movielens_1m.ARCHIVE} instead, which has both"
            )
        paths.append(files.verify(path, sha256))
    numbers = json.loads(paths[1].read_text(encoding="utf-8"))
    return replace(read_attributes(paths[0], num_items), names=tuple(sorted(numbers, key=numbers.get)))


def find_attributes(name: str, num_items: int, data_dir: str | Path | None = None) -> tuple[Attributes | None, str]:
    """Return the attributes and "", or None and a short note for a figure that says why there are none.

    The arguments are those of `load_attributes`. The whole reason is logged, with what to do.
    """
    try:
        return load_attributes(name, num_items, data_dir), ""
    except DataError as error:
        logger.warning("note: %s", error)
        reason = "their file was not found" if has_attributes(name) else "none are published"
        return None, f"attributes of the items are left out: {reason}"


def read_attributes(path: Path, num_items: int) -> Attributes:
    """Read the attributes of the items 1..num_items from a JSON file {"item": [attribute, ...], ...}.

    Items beyond num_items are left out, counted and reported in one warning.

    Raises:
        DataError: If the file does not have this form.
    """
    fault = partial(_fault, path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise fault(str(error)) from error
    if not isinstance(content, dict):
        raise fault(f"it holds a {type(content).__name__}")
    known: list[list[int]] = [[] for _ in range(num_items)]
    unknown = 0
    for item, attributes in content.items():
        if not item.isdecimal() or not isinstance(attributes, list):
            raise fault(f"item {item!r} has {attributes!r}"[:80])
        if not all(isinstance(value, int) and value >= 1 for value in attributes):
            raise fault(f"item {item!r} has an attribute that is not a number from 1")
        if 1 <= int(item) <= num_items:
            known[int(item) - 1] = attributes
        else:
            unknown += 1
    if unknown:
        logger.warning("%s: left out %d items that the dataset (items 1..%d) does not have", path, unknown, num_items)
    return _grouped(known)


def _grouped(attributes: Sequence[Sequence[int]], names: tuple[str, ...] = ()) -> Attributes:
    """Return the attributes, given for items 1, 2, ...; those of an item in any order, and repeated or not."""
    distinct = [sorted(set(of_item)) for of_item in attributes]
    values = np.array([value for of_item in distinct for value in of_item], dtype=np.int64)
    return Attributes(values, np.concatenate([[0], np.cumsum([len(of_item) for of_item in distinct])]), names)


def _fault(path: Path, what: str) -> DataError:
    return DataError(f'{path}: expected attributes as {{"item": [attribute, ...], ...}}, numbers from 1; {what}')
