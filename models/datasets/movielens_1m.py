"""MovieLens-1M (Harper and Konstan, ACM TiiS 2015), from GroupLens' archive or from a text file made of it.

It is processed like MovieLens-100K (models.datasets.movielens): every rating is an interaction, 5-core, sorted by time,
with ties in the order of the lines of the file. Items are numbered as in the text file that BSARec's authors and others
used: in the order of their first place in the sequences, with users in the order of the file. GroupLens does not allow
others to distribute the data, so this text file is only read from a local folder and verified by its SHA-256.
"""

import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.datasets.interactions import by_first_appearance, to_sequences
from models.datasets.sequences import Sequences
from models.datasets.text import read_sequences
from models.errors import DataError

NAME = "ml-1m"
ARCHIVE = "ml-1m.zip"
ARCHIVE_SHA256 = "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"
BASE_URL = "https://files.grouplens.org/datasets/movielens/"
TEXT, TEXT_SHA256 = "ML-1M.txt", "c3fa8abcfcdc8824e6b54fe5fdb50c5fac8316e7ef2bc00973f8dd69ba76163d"
# Beside the text file: the genres of its items, as numbers, and the names of the numbers.
GENRES = ("ML-1M_item2attributes.json", "6319d787032e2a1806884aeac1ccb2b1dbdd2265eb5a96770eb6e2c645806dd5")
GENRE_NAMES = ("ML-1M_genres.json", "f154bfaea731fb98b4f5cfb660c0de8a0d1a5084c97ede5667fef215e12f957a")
RATINGS, MOVIES = "ml-1m/ratings.dat", "ml-1m/movies.dat"  # in the archive, in Latin-1
FIELDS = ("user", "item", "rating", "second")
CORE = 5

_NUMBER = rb"\d{1,18}"  # fits 64 bits
_RATINGS = re.compile(rb"(?:" + b"::".join([_NUMBER] * len(FIELDS)) + rb"(?:\r?\n|\Z))*+")


def read(path: Path) -> Sequences:
    """Read the archive's ratings into 5-core sequences in time order, or read the text file's sequences.

    Raises:
        DataError: If the archive has no ratings, or a line is not user::item::rating::second.
    """
    return read_sequences(path, name=NAME, source=NAME) if path.name == TEXT else _read(path)[0]


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
    sequences, films = to_sequences(user, item, second, CORE, NAME, NAME)
    order, items = by_first_appearance(sequences.items.astype(np.int64))
    return replace(sequences, items=(items + 1).astype(np.int32)), films[order - 1]


def _member(path: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(name)
    except (zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{path} is not GroupLens' archive: it has no {name} ({error})") from error


def _first_fault(data: bytes) -> str:
    """Return the first fault of ratings that are known to have one, with its line."""
    for number, line in enumerate(data.decode("latin-1").splitlines(), start=1):
        values = line.split("::")
        if len(values) != len(FIELDS):
            return f"line {number}: expected {'::'.join(FIELDS)}, got {line[:40]!r}"
        for field, value in zip(FIELDS, values, strict=True):
            if not re.fullmatch(_NUMBER, value.encode()):
                return f"line {number}, field {field}: expected a whole number, got {value[:40]!r}"
    raise AssertionError("no fault found")
