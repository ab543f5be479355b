"""MovieLens-1M (Harper and Konstan, ACM TiiS 2015), out of GroupLens' archive.

Processed as MovieLens-100K is (models.datasets.movielens): 5-core, every rating an interaction, ordered by time, ties
in the order of the lines of the file, items numbered by their first line.
"""

import re
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.datasets.interactions import to_sequences
from models.datasets.sequences import Sequences
from models.errors import DataError

NAME = "ml-1m"
ARCHIVE = "ml-1m.zip"
ARCHIVE_SHA256 = "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"
BASE_URL = "https://files.grouplens.org/datasets/movielens/"
RATINGS, MOVIES = "ml-1m/ratings.dat", "ml-1m/movies.dat"  # in the archive, in Latin-1
FIELDS = ("user", "item", "rating", "second")
CORE = 5

_NUMBER = rb"\d{1,18}"  # fits 64 bits
_RATINGS = re.compile(rb"(?:" + b"::".join([_NUMBER] * len(FIELDS)) + rb"(?:\r?\n|\Z))*+")


def read(path: Path) -> Sequences:
    """Read the archive's ratings into 5-core sequences in time order.

    Raises DataError if the archive has no ratings, or a line that is not user::item::rating::second.
    """
    return _read(path)[0]


def read_genres(path: Path) -> list[list[str]]:
    """Return the genres of items 1, 2, ... of the sequences; raises DataError as `read` does."""
    genres = {}
    for number, line in enumerate(_member(path, MOVIES).decode("latin-1").splitlines(), start=1):
        parts = re.fullmatch(r"(\d+)::.*::(.+)", line)
        if not parts:
            raise DataError(f"{path}, {MOVIES}, line {number}: expected item::title::genre|genre, got {line[:40]!r}")
        genres[int(parts[1])] = parts[2].split("|")
    return [genres.get(movie, []) for movie in _read(path)[1].tolist()]


def _read(path: Path) -> tuple[Sequences, NDArray[np.int64]]:
    data = _member(path, RATINGS)
    if not _RATINGS.fullmatch(data):
        raise DataError(f"{path}, {RATINGS}, {_first_fault(data)}")
    user, item, _rating, second = np.fromstring(data.replace(b"::", b" "), dtype=np.int64, sep=" ").reshape(-1, 4).T
    return to_sequences(user, item, second, CORE, NAME, NAME)


def _member(path: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(name)
    except (zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{path} is not GroupLens' archive: it has no {name} ({error})") from error


def _first_fault(data: bytes) -> str:
    """Say what is wrong with ratings that are known to hold a fault."""
    for number, line in enumerate(data.decode("latin-1").splitlines(), start=1):
        values = line.split("::")
        if len(values) != len(FIELDS):
            return f"line {number}: expected {'::'.join(FIELDS)}, got {line[:40]!r}"
        for field, value in zip(FIELDS, values, strict=True):
            if not re.fullmatch(_NUMBER, value.encode()):
                return f"line {number}, field {field}: expected a whole number, got {value[:40]!r}"
    raise AssertionError("no fault found")
