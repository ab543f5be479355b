"""Other people's interactions: a CSV, TSV or Parquet table with columns for user, item and time.

What is done, and counted: rows without user, item or time are dropped; of rows that agree in all three one stays;
users and items outside the k-core are dropped; a user's items are put in the order of time, those of the same time in
the order of their rows. Users are numbered from 1 by their first row that is left, items likewise.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.datasets.interactions import to_sequences
from models.datasets.sequences import Sequences
from models.errors import ConfigError, DataError
from models.files import write_atomically

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
PARQUET = (".parquet", ".pq")


@dataclass(frozen=True)
class Counts:
    """What became of the rows of a table."""

    rows: int
    without_value: int  # dropped: user, item or time is missing
    duplicates: int  # dropped: user, item and time as in an earlier row
    outside_core: int  # dropped: of a user or an item with too few rows
    out_of_order: int  # moved: earlier than a row of the same user above
    kept: int
    users: int
    items: int


@dataclass(frozen=True, eq=False)
class Imported:
    """Sequences, what the table called their users and items, and what became of its rows.

    Attributes:
        users: (num_users,) what the user in row u of `sequences` was called.
        items: (num_items,) what item i + 1 was called.
    """

    sequences: Sequences
    users: NDArray[np.object_]
    items: NDArray[np.object_]
    counts: Counts

    def save(self, path: Path) -> list[Path]:
        """Write `path` with one user a line, and beside it the names of users and items; return the three paths."""
        cut = zip(self.sequences.offsets[:-1], self.sequences.offsets[1:], strict=True)
        lines = [f"{u} {' '.join(map(str, self.sequences.items[a:b]))}\n" for u, (a, b) in enumerate(cut, start=1)]
        paths = [path, path.with_suffix(".users.csv"), path.with_suffix(".items.csv")]
        tables = [pd.DataFrame({"id": np.arange(1, len(n) + 1), "name": n}) for n in (self.users, self.items)]
        texts = ["".join(lines), *(table.to_csv(index=False) for table in tables)]
        path.parent.mkdir(parents=True, exist_ok=True)
        for target, text in zip(paths, texts, strict=True):
            write_atomically(target, text.encode())
        return paths


def import_table(
    path: str | Path, user: str, item: str, time: str, k: int = 5, separator: str | None = None
) -> Imported:
    """Make sequences of a table's columns `user`, `item` and `time`, keeping the k-core; see the module for how.

    Times are numbers, or anything that pandas reads as a date. Raises DataError, naming file, column and line, for a
    file that is no such table; ConfigError for a k below 1 or an ending without a known separator.
    """
    path = Path(path)
    if k < 1:
        raise ConfigError(f"the core must be at least 1, got {k}")
    table = _read(path, [user, item, time], separator)
    complete = table.dropna()
    moment = _times(path, complete[time])
    distinct = ~pd.DataFrame({"user": complete[user], "item": complete[item], "time": moment}).duplicated().to_numpy()
    complete, moment = complete[distinct], moment[distinct]
    if complete.empty:
        raise DataError(f"{path}: no row has a user, an item and a time")
    user_code, user_names = pd.factorize(complete[user])
    item_code, item_names = pd.factorize(complete[item])
    name = path.stem
    sequences, items = to_sequences(user_code, item_code, moment, k, name, str(path.absolute()))
    counts = Counts(
        rows=len(table),
        without_value=int(table.isna().any(axis=1).sum()),
        duplicates=int((~distinct).sum()),
        outside_core=len(complete) - sequences.num_interactions,
        out_of_order=_out_of_order(user_code, moment),
        kept=sequences.num_interactions,
        users=sequences.num_users,
        items=sequences.num_items,
    )
    return Imported(sequences, np.asarray(user_names)[sequences.users], np.asarray(item_names)[items], counts)


def report(counts: Counts) -> dict[str, int]:
    """Return the counts as plain values."""
    return asdict(counts)


def _read(path: Path, columns: list[str], separator: str | None) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"{path} is not a file; name a CSV, TSV or Parquet table")
    if path.suffix not in PARQUET and separator is None and path.suffix not in SEPARATORS:
        raise ConfigError(
            f"{path}: what separates its columns? Name it with --separator, or call the file .csv or .tsv"
        )
    try:
        if path.suffix in PARQUET:
            table = pd.read_parquet(path)
        else:
            # As text: an id such as 007 must not become a number.
            table = pd.read_csv(path, sep=separator or SEPARATORS[path.suffix], dtype=str)
    except (ValueError, OSError) as error:  # pandas' and pyarrow's errors of parsing are ValueErrors
        raise DataError(f"{path} cannot be read as a table: {error}") from error
    for column in columns:
        if column not in table:
            raise DataError(f"{path} has no column {column!r}; it has {', '.join(map(repr, table.columns))}")
    return table[columns]


def _times(path: Path, column: pd.Series) -> NDArray[np.int64]:
    """Return a number for every time, in the order of time."""
    times = pd.to_numeric(column, errors="coerce")
    if times.isna().any() or not pd.api.types.is_numeric_dtype(times):
        numbers, times = times, pd.to_datetime(column, errors="coerce", format="mixed", utc=True)
        if times.isna().any():
            neither = (times.isna() & numbers.isna()).to_numpy()
            raise _bad_time(path, column, int(np.argmax(neither if neither.any() else numbers.isna().to_numpy())))
    return np.unique(times.to_numpy(), return_inverse=True)[1].astype(np.int64)


def _bad_time(path: Path, column: pd.Series, place: int) -> DataError:
    is_text = path.suffix not in PARQUET
    line = int(column.index[place]) + (2 if is_text else 1)  # a text's first line has the names
    return DataError(
        f"{path}, {'line' if is_text else 'row'} {line}, column {column.name!r}: {column.iloc[place]!r} is neither a "
        "number nor a date, or the column has both"
    )


def _out_of_order(user: NDArray[np.int64], time: NDArray[np.int64]) -> int:
    """Count the rows that are earlier than the row of the same user above them."""
    order = np.argsort(user, kind="stable")
    same = np.diff(user[order]) == 0
    return int((same & (np.diff(time[order]) < 0)).sum())
