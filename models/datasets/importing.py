"""Import your own interactions: a table with columns for user, item and time becomes sequences.

Tables are text (CSV, TSV and others, with names of columns or without), JSON lines, RecBole's .inter, or Parquet; also
compressed (.gz, .bz2, .zst), and in parts, which are the files of a folder. `models.datasets.tables` reads them.

Every step is counted:

1. Rows without user, item or time are dropped. In a text an empty value, NA, NaN, None, null and the like count as
   missing.
2. Of rows with the same user, item and time, only the first is kept.
3. Users and items outside the k-core are dropped.
4. A user's items are sorted by time; items of the same time keep the order of their rows. Without a column of times,
   all items keep the order of their rows, and none is dropped as a duplicate.

Users are numbered from 1 in the order of their first remaining row, and so are items.
"""

from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.datasets.interactions import to_sequences
from models.datasets.sequences import Sequences
from models.datasets.tables import json_lines, parquet, text
from models.datasets.tables.columns import Columns, Wanted
from models.datasets.tables.files import ending, opened_text, parts, stem
from models.datasets.tables.times import Dates, Times, times_of
from models.datasets.text import times_path
from models.errors import ConfigError, DataError
from models.files import check_replaceable, write_together

_PREVIEW = 5  # rows


@dataclass(frozen=True)
class Counts:
    """What happened to the rows of a table; all are numbers of rows, unless the name says users or items."""

    rows: int
    without_value: int  # dropped: user, item or time is missing
    duplicates: int  # dropped: same user, item and time as an earlier row
    outside_core: int  # dropped: the user or the item has too few rows
    users_outside_core: int
    items_outside_core: int
    out_of_order: int  # moved: earlier than the row of the same user above it
    kept: int
    users: int
    items: int


@dataclass(frozen=True)
class Reading:
    """How a table was understood.

    Attributes:
        form: What the file is, in words.
        order: What decides the order of a user's items, in words.
        first: The first rows that have all values: user, item and, if there is one, time.
        notes: What else a reader should know, as sentences.
    """

    form: str
    order: str
    first: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Interactions:
    """The rows of a table that have all values.

    Attributes:
        name: The table's name without its endings.
        user: (n,) text, an array of pyarrow; of the rows that are no duplicates, as all that follow.
        item: (n,) text.
        time: (n,) rank of the time; zeros if the rows are in order.
        rows: Rows of the table; an interaction each.
        without_value: Rows that lack a value.
        duplicates: Rows with the same user, item and time as an earlier one.
        reading: How the table was understood.
    """

    name: str
    user: Any
    item: Any
    time: NDArray[np.int64]
    rows: int
    without_value: int
    duplicates: int
    reading: Reading

    def core(self, k: int) -> "Imported":
        """Return the sequences of the k-core; raises DataError if nothing is left or a user has fewer than 3 items."""
        users, items = (column.dictionary_encode() for column in (self.user, self.item))
        user, item = (np.asarray(codes.indices).astype(np.int64) for codes in (users, items))
        sequences, kept = to_sequences(user, item, self.time, k, self.name, source="")
        if not self.time.any():  # rows in order, or all at one time
            sequences = replace(sequences, times=None)
        counts = Counts(
            rows=self.rows,
            without_value=self.without_value,
            duplicates=self.duplicates,
            outside_core=len(user) - sequences.num_interactions,
            users_outside_core=len(users.dictionary) - sequences.num_users,
            items_outside_core=len(items.dictionary) - sequences.num_items,
            out_of_order=_out_of_order(user, self.time),
            kept=sequences.num_interactions,
            users=sequences.num_users,
            items=sequences.num_items,
        )
        names = [np.asarray(column.dictionary.to_pylist(), dtype=object) for column in (users, items)]
        return Imported(sequences, names[0][sequences.users], names[1][kept], counts, self.reading)


@dataclass(frozen=True, eq=False)
class Imported:
    """The sequences of an imported table.

    Attributes:
        sequences: Users and items with their new ids.
        users: (num_users,) the table's name of the user in row u of `sequences`, as text.
        items: (num_items,) the table's name of item i + 1, as text.
        counts: What happened to the rows of the table.
        reading: How the table was understood.
    """

    sequences: Sequences
    users: NDArray[np.object_]
    items: NDArray[np.object_]
    counts: Counts
    reading: Reading

    def save(self, path: Path) -> list[Path]:
        """Write `path` with one user per line, and beside it times and the names of users and items; return the paths.

        The file of times has the layout of `path`, with the number of each time among the table's times, from 1. There
        is none for a table whose rows are in order, and that of an earlier import is removed. Raises OutputError, and
        writes nothing, if there are other files.
        """
        path, times, *names = output_paths(path)
        contents = {path: self._lines(self.sequences.items)}
        if self.sequences.times is not None:
            contents[times] = self._lines(self.sequences.times + 1)
        for target, values in zip(names, (self.users, self.items), strict=True):
            contents[target] = pd.DataFrame({"id": np.arange(1, len(values) + 1), "name": values}).to_csv(index=False)
        check_replaceable(times)
        write_together({target: content.encode() for target, content in contents.items()})
        if times not in contents:
            times.unlink(missing_ok=True)
        return list(contents)

    def _lines(self, values: NDArray[np.integer]) -> str:
        """Return a line for each user, with the values (num_interactions,) of its interactions."""
        cut = zip(self.sequences.offsets[:-1], self.sequences.offsets[1:], strict=True)
        return "".join(f"{u} {' '.join(map(str, values[a:b]))}\n" for u, (a, b) in enumerate(cut, start=1))


def output_paths(path: Path) -> list[Path]:
    """Return the files that `Imported.save` writes: the sequences, their times, the names of users and of items.

    >>> [str(path) for path in output_paths(Path("shop.sequences"))]
    ['shop.sequences', 'shop.times.txt', 'shop.users.csv', 'shop.items.csv']
    """
    return [path, times_path(path), path.with_suffix(".users.csv"), path.with_suffix(".items.csv")]


def import_table(path: str | Path, user: str, item: str, time: str | None = None, k: int = 5, **how: Any) -> Imported:
    r"""Make sequences from a table of interactions; the module says how.

    Args:
        path: The table, or a folder with its parts.
        user: Name of the column with users; or its number from 1, in a text without names.
        item: Name or number of the column with items.
        time: Name or number of the column with times, numbers or dates; None if the rows are in order.
        k: Only the k-core is kept: users and items with at least k interactions each.
        how: How the table is read, see `read_interactions`.

    Raises:
        DataError: If the file is not such a table, or nothing is left; the message names file, column and line.
        ConfigError: For a k below 1, a column that is named twice, or a file ending without a known separator.

    >>> import tempfile
    >>> content = "who,what,when\nann,tea,1\nann,milk,3\nann,cake,2\nann,cake,2\nbob,tea,5\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = Path(folder, "shop.csv")
    ...     _ = table.write_text(content + "bob,cake,6\nbob,,7\nbob,milk,8\n")
    ...     imported = import_table(table, user="who", item="what", time="when", k=1)
    >>> imported.users.tolist(), imported.items.tolist()
    (['ann', 'bob'], ['tea', 'milk', 'cake'])
    >>> imported.sequences.items.tolist()  # ann: tea, cake, milk by time; bob: tea, cake, milk
    [1, 3, 2, 1, 3, 2]
    >>> imported.counts.duplicates, imported.counts.without_value, imported.counts.out_of_order
    (1, 1, 1)
    """
    if k < 1:
        raise ConfigError(f"the core must be at least 1, got {k}")
    return read_interactions(path, user, item, time, **how).core(k)


def read_interactions(
    path: str | Path,
    user: str,
    item: str,
    time: str | None = None,
    separator: str | None = None,
    quoting: str | None = None,
    encoding: str | None = None,
    day_first: bool | None = None,
    date_format: str | None = None,
) -> Interactions:
    r"""Read the interactions of a table, and how it was understood.

    Args:
        path: The table, or a folder with its parts.
        user: Name of the column with users; or its number from 1, in a text without names.
        item: Name or number of the column with items.
        time: Name or number of the column with times; None if the rows are in order.
        separator: What separates the columns of a text; by default "," for .csv, a tab for .tsv and .inter, and for
            .txt a tab, or blanks if there is none.
        quoting: "double" for values in quotation marks, "none" where these are characters; by default "none" where tabs
            or blanks separate columns.
        encoding: Of a text; by default UTF-8, or what the first bytes of the file say.
        day_first: Whether dates such as 05/01/2024 have the day first; None if their column tells it.
        date_format: Of dates, as of strptime, if they are none of the known ones.

    Raises:
        DataError: If the file is not such a table; the message names file, column and line.
        ConfigError: For settings that contradict each other, or an ending that does not tell what separates columns.
    """
    path, wanted = Path(path), Wanted(user, item, time)
    if len(set(wanted.names)) < len(wanted.names):
        raise ConfigError(f"user, item and time must be different columns, got {_listed(wanted.names)}")
    if day_first is not None and date_format is not None:
        raise ConfigError("give a format of dates or which of day and month is first, not both")
    columns = _read(path, wanted, separator, quoting, encoding).taken_apart(path, wanted)
    values = [_present(column) for column in columns.values]
    values[:2] = [_names(path, column, name) for column, name in zip(values, (user, item), strict=False)]
    complete = reduce(pc.and_, (column.is_valid() for column in values))
    rows = np.flatnonzero(complete)
    if len(rows) == 0:
        raise DataError(f"{path}: no row has a value of each of {_listed(wanted.names)}")
    users, items, *moments = (column.take(pa.array(rows)) for column in values)
    times = None
    if time is not None:
        dates = Dates(date_format, day_first)
        times = times_of(moments[0], time, lambda row: f"{path}, {columns.place(int(rows[row]))}", dates)
    distinct = _distinct(users, items, times)
    return Interactions(
        name=stem(path),
        user=users.take(pa.array(distinct)),
        item=items.take(pa.array(distinct)),
        time=np.zeros(len(distinct), np.int64) if times is None else times.rank[distinct],
        rows=len(complete),
        without_value=len(complete) - len(rows),
        duplicates=len(rows) - len(distinct),
        reading=_reading(columns, users, items, times),
    )


def _reading(columns: Columns, users: Any, items: Any, times: Times | None) -> Reading:
    shown = [users[:_PREVIEW].to_pylist(), items[:_PREVIEW].to_pylist()]
    if times is None:
        return Reading(columns.form, "the order of the rows", tuple(zip(*shown, strict=True)), columns.notes)
    shown.append([times.shown(row) for row in range(len(shown[0]))])
    order = f"by time, {times.rule}; rows of the same time keep their order"
    return Reading(columns.form, order, tuple(zip(*shown, strict=True)), columns.notes + times.notes)


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _read(path: Path, wanted: Wanted, separator: str | None, quoting: str | None, encoding: str | None) -> Columns:
    paths = parts(path)
    kind = ending(paths[0])
    if kind in parquet.ENDINGS:
        return parquet.read_parquet(paths, path if path.is_dir() else path.parent, wanted)
    if kind in json_lines.ENDINGS or (
        kind not in text.SEPARATORS and separator is None and _is_json(paths[0], encoding)
    ):
        return json_lines.read_json(paths, wanted, encoding)
    return text.read_text(paths, wanted, text.form_of(paths[0], separator, quoting, encoding))


def _is_json(path: Path, encoding: str | None) -> bool:
    with opened_text(path, encoding) as content:
        return content.read(1 << 10).lstrip().startswith(("{", "[{"))


def _present(column: Any) -> Any:
    """Return a column in one piece, with texts that have nothing but blanks as missing values."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), None, column)


def _names(path: Path, column: Any, name: str) -> Any:
    """Return ids as text."""
    try:
        return _present(pc.cast(column, pa.large_string()))
    except pa.ArrowException as error:
        raise DataError(f"{path}: column {name!r} is of the type {column.type}, which is no id") from error


def _distinct(users: Any, items: Any, times: Times | None) -> NDArray[np.int64]:
    """Return the rows that are the first with their user, item and time; all of them if there are no times."""
    if times is None:
        return np.arange(len(users))
    codes = {name: np.asarray(column.dictionary_encode().indices) for name, column in (("u", users), ("i", items))}
    return np.flatnonzero(~pd.DataFrame({**codes, "t": times.rank}).duplicated())


def _out_of_order(user: NDArray[np.int64], time: NDArray[np.int64]) -> int:
    """Count the rows that are earlier than the row of the same user above them."""
    order = np.argsort(user, kind="stable")
    same = np.diff(user[order]) == 0
    return int((same & (np.diff(time[order]) < 0)).sum())
