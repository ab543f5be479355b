"""What is known of items beside who took them: categories, tags, genres, as numbers."""

import json
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.datasets.registry import fetch_published
from models.errors import DataError

logger = logging.getLogger("models")

# Published with S3-Rec beside the sequences; name of the dataset to name and SHA-256 of the file.
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
    """The attributes of the items 1..num_items, ids from 1; an attribute of an item counts once.

    Attributes:
        values: The attributes of item 1, then those of item 2, ...
        offsets: (num_items + 1,), item i has `values[offsets[i - 1]:offsets[i]]`, sorted; none for an unknown item.
    """

    values: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def of(self, item: int) -> NDArray[np.int64]:
        """Return the attributes of an item from 1."""
        if not 1 <= item < len(self.offsets):
            raise ValueError(f"item must lie in 1..{len(self.offsets) - 1}, got {item}")
        return self.values[self.offsets[item - 1] : self.offsets[item]]

    def matrix(self, items: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return (..., A) one-hot rows for items (...), A the largest attribute; zeros for padding 0."""
        rows = np.zeros((len(self.offsets), int(self.values.max(initial=0))))
        owners = np.repeat(np.arange(1, len(self.offsets)), np.diff(self.offsets))
        rows[owners, self.values - 1] = 1
        return rows[items]


def has_attributes(name: str) -> bool:
    """Return whether attributes are published for a dataset of this name."""
    return name in FILES


def load_attributes(name: str, num_items: int, data_dir: str | Path | None = None) -> Attributes:
    """Return the attributes of a named dataset's items, found or downloaded as the dataset itself is.

    Raises DataError if none are published for it, or the file is not to be had.
    """
    if not has_attributes(name):
        raise DataError(f"no attributes of the items of {name!r} are published; they are for {', '.join(FILES)}")
    return read_attributes(fetch_published(name, *FILES[name], data_dir=data_dir), num_items)


def read_attributes(path: Path, num_items: int) -> Attributes:
    """Read {"item": [attribute, ...], ...} of the items 1..num_items.

    Items beyond are left out, counted and reported in one warning. Raises DataError if the file is something else.
    """
    fault = partial(_fault, path)
    try:
        content = json.loads(path.read_text())
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
            known[int(item) - 1] = sorted(set(attributes))
        else:
            unknown += 1
    if unknown:
        logger.warning("%s: left out %d items that the dataset (items 1..%d) does not have", path, unknown, num_items)
    values = np.array([value for attributes in known for value in attributes], dtype=np.int64)
    return Attributes(values, np.concatenate([[0], np.cumsum([len(attributes) for attributes in known])]))


def _fault(path: Path, what: str) -> DataError:
    return DataError(f'{path}: expected attributes as {{"item": [attribute, ...], ...}}, numbers from 1; {what}')
