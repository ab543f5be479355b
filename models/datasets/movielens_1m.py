"""MovieLens-1M (Harper and Konstan, ACM TiiS 2015), out of GroupLens' archive.

Processed as MovieLens-100K is (models.datasets.movielens): 5-core, every rating an interaction, ordered by time, ties
in the order of the lines of the file, items numbered by their first line.
"""

import re
import zipfile
from pathlib import Path

import numpy as np

from models.datasets.interactions import to_sequences
from models.datasets.sequences import Sequences
from models.errors import DataError

NAME = "ml-1m"
ARCHIVE = "ml-1m.zip"
ARCHIVE_SHA256 = "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"
BASE_URL = "https://files.grouplens.org/datasets/movielens/"
MEMBER = "ml-1m/ratings.dat"
CORE = 5


def read(path: Path) -> Sequences:
    """Read the archive's ratings into 5-core sequences in time order.

    Raises DataError if the archive has no ratings, or a line that is not user::item::rating::second.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            data = archive.read(MEMBER)
    except (zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{path} is not GroupLens' archive: it has no {MEMBER} ({error})") from error
    for number, line in enumerate(data.splitlines(), start=1):
        if not re.fullmatch(rb"\d+::\d+::\d+::\d+", line):
            shown = line[:40].decode("latin-1")
            raise DataError(f"{path}, {MEMBER}, line {number}: expected user::item::rating::second, got {shown!r}")
    user, item, _rating, second = np.fromstring(data.replace(b"::", b" "), dtype=np.int64, sep=" ").reshape(-1, 4).T
    return to_sequences(user, item, second, CORE, NAME, NAME)[0]
