"""Import your own interactions: a CSV, TSV or Parquet table with columns for user, item and time.

Every step is counted:

1. Rows without user, item or time are dropped. In a text file an empty value, NA, NaN, None, null and the like count as
   missing.
2. Of rows with the same user, item and time, only the first is kept.
3. Users and items outside the k-core are dropped.
4. A user's items are sorted by time; items of the same time keep the order of their rows.

Users are numbered from 1 in the order of their first remaining row, and so are items.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.datasets.interactions import to_sequences
from models.datasets.sequences import Sequences
from models.datasets.text import times_path
from models.errors import ConfigError, DataError, UserError
from models.files import write_atomically

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
PARQUET = (".parquet", ".pq")


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


@dataclass(frozen=True, eq=False)
class Imported:
    """The sequences of an imported table.

    Attributes:
        sequences: Users and items with their new ids.
        users: (num_users,) the table's name of the user in row u of `sequences`.
        items: (num_items,) the table's name of item i + 1.
        counts: What happened to the rows of the table.
    """

    sequences: Sequences
    users: NDArray[np.object_]
    items: NDArray[np.object_]
    counts: Counts

    def save(self, path: Path) -> list[Path]:
        """Write `path` with one user per line, and beside it times and the names of users and items; return the paths.

        The file of times has the layout of `path`, with the number of each time among the table's times, from 1.
        """
        assert self.sequences.times is not None
        paths = output_paths(path)
        tables = [pd.DataFrame({"id": np.arange(1, len(n) + 1), "name": n}) for n in (self.users, self.items)]
        lines = [self._lines(self.sequences.items), self._lines(self.sequences.times + 1)]
        texts = [*lines, *(table.to_csv(index=False) for table in tables)]
        path.parent.mkdir(parents=True, exist_ok=True)
        for target, text in zip(paths, texts, strict=True):
            write_atomically(target, text.encode())
        return paths

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


def import_table(
    path: str | Path, user: str, item: str, time: str, k: int = 5, separator: str | None = None
) -> Imported:
    r"""Make sequences from a table of interactions; the module says how.

    Args:
        path: CSV, TSV or Parquet file.
        user: Name of the column with users.
        item: Name of the column with items.
        time: Name of the column with times: numbers, or dates as pandas reads them (01/02/2024 has the month first).
        k: Only the k-core is kept: users and items with at least k interactions each.
        separator: What separates the columns of a text file; by default "," for .csv, a tab for .tsv and .txt.

    Raises:
        DataError: If the file is not such a table, or nothing is left; the message names file, column and line.
        ConfigError: For a k below 1, a column that is named twice, or a file ending without a known separator.

    >>> import tempfile
    >>> text = "who,what,when\nann,tea,1\nann,milk,3\nann,cake,2\nann,cake,2\nbob,tea,5\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = Path(folder, "shop.csv")
    ...     _ = table.write_text(text + "bob,cake,6\nbob,,7\nbob,milk,8\n")
    ...     imported = import_table(table, user="who", item="what", time="when", k=1)
    >>> imported.users.tolist(), imported.items.tolist()
    (['ann', 'bob'], ['tea', 'milk', 'cake'])
    >>> imported.sequences.items.tolist()  # ann: tea, cake, milk by time; bob: tea, cake, milk
    [1, 3, 2, 1, 3, 2]
    >>> imported.counts.duplicates, imported.counts.without_value, imported.counts.out_of_order
    (1, 1, 1)
    """
    path = Path(path)
    if k < 1:
        raise ConfigError(f"the core must be at least 1, got {k}")
    if len({user, item, time}) < 3:
        raise ConfigError(f"user, item and time must be three columns, got {user!r}, {item!r} and {time!r}")
    table = _read(path, [user, item, time], separator)
    complete = table.dropna()
    moment = _times(path, complete[time], separator)
    distinct = ~pd.DataFrame({"user": complete[user], "item": complete[item], "time": moment}).duplicated().to_numpy()
    complete, moment = complete[distinct], moment[distinct]
    if complete.empty:
        raise DataError(f"{path}: no row has a user, an item and a time")
    user_code, user_names = pd.factorize(complete[user])
    item_code, item_names = pd.factorize(complete[item])
    sequences, items = to_sequences(user_code, item_code, moment, k, path.stem, source="")
    counts = Counts(
        rows=len(table),
        without_value=int(table.isna().any(axis=1).sum()),
        duplicates=int((~distinct).sum()),
        outside_core=len(complete) - sequences.num_interactions,
        users_outside_core=len(user_names) - sequences.num_users,
        items_outside_core=len(item_names) - sequences.num_items,
        out_of_order=_out_of_order(user_code, moment),
        kept=sequences.num_interactions,
        users=sequences.num_users,
        items=sequences.num_items,
    )
    return Imported(sequences, np.asarray(user_names)[sequences.users], np.asarray(item_names)[items], counts)


def report(counts: Counts) -> dict[str, int]:
    """Return the counts by name."""
    return asdict(counts)


def _read(path: Path, columns: list[str], separator: str | None) -> pd.DataFrame:
    """Return these columns, rows numbered from 0."""
    if not path.is_file():
        raise DataError(f"{path} is not a file; name a CSV, TSV or Parquet table")
    try:
        table = _read_parquet(path, columns) if path.suffix in PARQUET else _read_text(path, separator)
    except UserError:
        raise
    except (ValueError, OSError) as error:  # pandas' and pyarrow's errors of parsing are ValueErrors
        raise DataError(f"{path} cannot be read as a table: {str(error).strip()}") from error
    _check_columns(path, columns, list(table.columns))
    return table[columns]


def _read_parquet(path: Path, columns: list[str]) -> pd.DataFrame:
    from pyarrow import parquet  # type: ignore[import-untyped]

    _check_columns(path, columns, parquet.read_schema(path).names)
    # Nullable types: whole numbers stay whole where some are missing. A column may have been written as the index.
    table = pd.read_parquet(path, columns=columns, dtype_backend="numpy_nullable")
    return table if isinstance(table.index, pd.RangeIndex) else table.reset_index()


def _read_text(path: Path, separator: str | None) -> pd.DataFrame:
    separator = _separator(path, separator)
    # As text: an id such as 007 must not become a number. Only the slower engine takes more than one character.
    engine: Literal["c", "python"] = "c" if len(separator) == 1 else "python"
    pattern = separator if engine == "c" else re.escape(separator)
    table = pd.read_csv(path, sep=pattern, dtype=str, engine=engine)
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes values without a column name as names of rows
        raise DataError(f"{path}: its rows have more values than its first line has names")
    return table


def _separator(path: Path, given: str | None) -> str:
    if given is None and path.suffix not in SEPARATORS:
        raise ConfigError(
            f"{path}: its ending does not tell what separates the columns; give --separator, or rename it to .csv "
            "or .tsv"
        )
    return "\t" if given == r"\t" else given or SEPARATORS[path.suffix]  # as it is typed in a shell


def _check_columns(path: Path, wanted: Sequence[str], there: Sequence[str]) -> None:
    for column in wanted:
        if column not in there:
            raise DataError(f"{path} has no column {column!r}; it has {', '.join(map(repr, there))}")


def _times(path: Path, column: pd.Series, separator: str | None) -> NDArray[np.int64]:
    """Return the rank of every time, equal times alike, (rows,)."""
    times = pd.to_numeric(column, errors="coerce")
    if times.isna().any() or not pd.api.types.is_numeric_dtype(times):
        numbers, times = times, pd.to_datetime(column, errors="coerce", format="mixed", utc=True)
        if times.isna().any():
            neither = (times.isna() & numbers.isna()).to_numpy()
            place = int(np.argmax(neither if neither.any() else numbers.isna().to_numpy()))
            raise DataError(
                f"{path}, {_place(path, int(column.index[place]), separator)}, column {column.name!r}: "
                f"{column.iloc[place]!r} is neither a number nor a date, or the column has both"
            )
    return np.unique(times.to_numpy(), return_inverse=True)[1].astype(np.int64)


def _place(path: Path, row: int, separator: str | None) -> str:
    """Return where row `row` (from 0) is in the file: its line in a plain text, the last line if it has several."""
    try:
        if path.suffix not in PARQUET:
            delimiter = _separator(path, separator)
            with path.open(newline="", encoding="utf-8") as file:
                rows = csv.reader(file, delimiter=delimiter if len(delimiter) == 1 else "\0")
                lines = (rows.line_num for values in rows if values)  # empty lines are no rows
                return f"line {next(islice(lines, row + 1, None))}"  # the first row has the names
    except (ValueError, csv.Error):
        pass  # compressed
    return f"row {row + 1}"


def _out_of_order(user: NDArray[np.int64], time: NDArray[np.int64]) -> int:
    """Count the rows that are earlier than the row of the same user above them."""
    order = np.argsort(user, kind="stable")
    same = np.diff(user[order]) == 0
    return int((same & (np.diff(time[order]) < 0)).sum())
