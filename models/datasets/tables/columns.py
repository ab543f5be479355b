"""The columns of a table: users, items and times, one row an interaction, with lists taken apart."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.errors import DataError

_SHOWN = 20  # names of columns that a message repeats


@dataclass(frozen=True)
class Wanted:
    """The columns of a table that are read, by their names or, in a text without names, by their numbers from 1.

    Attributes:
        user: The users.
        item: The items.
        time: The times; None if the rows are in order.
    """

    user: str
    item: str
    time: str | None

    @property
    def names(self) -> list[str]:
        """User, item and, if there is one, time."""
        return [self.user, self.item] + ([] if self.time is None else [self.time])


@dataclass(frozen=True)
class Columns:
    """What was read of a table.

    Attributes:
        values: The wanted columns, in the order of `Wanted.names`; arrays of pyarrow of one length.
        form: What the file is, in words.
        place: Says where a row (from 0) is in the file.
        notes: What a reader of the table should know, as sentences.
    """

    values: list[Any]
    form: str
    place: Callable[[int], str]
    notes: tuple[str, ...] = ()

    def taken_apart(self, path: Path, wanted: Wanted) -> "Columns":
        """Return the columns with one row an interaction, where a row has a list of items.

        Times are lists of the same lengths, or one time is that of all items of its row. An item is missing where a
        list is.

        Raises:
            DataError: If users are lists, times are lists where items are none, or lists of one row differ in length.
        """
        lists = [name for name, column in zip(wanted.names, self.values, strict=True) if _is_list(column)]
        if not lists:
            return self
        if wanted.user in lists or wanted.item not in lists:
            raise DataError(f"{path}: of the columns {', '.join(wanted.names)}, {lists[0]!r} has lists; only items may")
        lengths = _lengths(self.values[1])
        for name, column in zip(wanted.names[1:], self.values[1:], strict=True):
            if name in lists and (other := np.flatnonzero(_lengths(column) != lengths)).size:
                row = int(other[0])
                raise DataError(
                    f"{path}, {self.place(row)}: {lengths[row]} items, but {_lengths(column)[row]} values of {name!r}"
                )
        rows = np.repeat(np.arange(len(lengths)), np.maximum(lengths, 1))  # an empty list is a row without an item
        filled = np.repeat(lengths, np.maximum(lengths, 1)) > 0
        values = [_spread(column, rows, filled) for column in self.values]
        return replace(self, values=values, place=lambda row: self.place(int(rows[row])))


def place_in(paths: Sequence[Path], counts: Sequence[int], where: Callable[[Path, int], str]) -> Callable[[int], str]:
    """Return what says where a row (from 0) of a table in parts is.

    counts: the rows of each part. where: takes a part and a row of it, from 0.

    >>> place_in([Path("a.csv"), Path("b.csv")], [2, 3], lambda path, row: f"line {row + 2}")(3)
    'b.csv, line 3'
    """
    ends = np.cumsum(counts)

    def place(row: int) -> str:
        part = int(np.searchsorted(ends, row, side="right"))
        said = where(paths[part], row - (int(ends[part - 1]) if part else 0))
        return said if len(paths) == 1 else f"{paths[part].name}, {said}"

    return place


def no_column(path: Path, name: str, names: Sequence[str], advice: str = "") -> DataError:
    """Return the error for a column that is not there; it names the most similar one.

    >>> print(no_column(Path("shop.csv"), "User", ["user", "item"]))
    shop.csv has no column 'User'; did you mean 'user'? It has 'user', 'item'
    """
    by_lower = {other.lower(): other for other in reversed(names)}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    hint = f"did you mean {by_lower[close[0]]!r}? It" if close else "it"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return DataError(f"{path} has no column {name!r}; {hint} has {', '.join(map(repr, names[:_SHOWN]))}{more}{advice}")


def _is_list(column: Any) -> bool:
    kind = column.type
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _lengths(column: Any) -> np.ndarray:
    """Return the number of values of every list, (rows,); a missing list has none."""
    return np.asarray(pc.fill_null(pc.list_value_length(column), 0)).astype(np.int64)


def _spread(column: Any, rows: np.ndarray, filled: np.ndarray) -> Any:
    """Return a column with as many rows as there are values in lists, and one where a list is empty."""
    if not _is_list(column):
        return column.take(pa.array(rows))
    places = np.zeros(len(rows), dtype=np.int64)
    places[filled] = np.arange(int(filled.sum()))
    return pc.list_flatten(column).take(pa.array(places, mask=~filled))
