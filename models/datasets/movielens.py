"""MovieLens-100K, the default dataset, taken out of a wheel that every Python package index delivers.

The interactions (Harper and Konstan, ACM TiiS 2015) come as an example inside the wheel of RecBole 1.2.1;
the wheel is downloaded with pip, the one file is taken out and kept, and RecBole is not installed.

Kept are the users and items with at least 5 interactions, repeatedly until both hold (5-core). Every rating
is an interaction. A user's items are ordered by time, in seconds; three quarters of them share their second
with another one of the same user (people rated lists of films), and these ties keep the order of the lines of
the file. That order is random: breaking ties by item id instead would put structure into the sequences that
no user made and that a model could learn. Items are numbered from 1 by their first line in the file; users
come in the order of their first line and keep their ids.
"""

import hashlib
import logging
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from models.datasets import files
from models.datasets.interactions import to_sequences
from models.datasets.sequences import Sequences
from models.errors import DataError

logger = logging.getLogger("models")

NAME = "ml-100k"
INTER = "ml-100k.inter"
INTER_SHA256 = "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff"
REQUIREMENT = "recbole==1.2.1"
WHEEL = "recbole-1.2.1-py3-none-any.whl"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
MEMBER = f"recbole/dataset_example/ml-100k/{INTER}"
CORE = 5


def fetch(data_dir: str | Path | None = None) -> Path:
    """Return the path of the verified interactions file, from a local folder, the cache or a package index.

    A local folder may hold `ml-100k.inter` or the RecBole wheel itself.

    Raises:
        DataError: If a local file is not the published one, or the file is nowhere and cannot be downloaded.
    """
    folders = files.local_folders(data_dir)
    cached = files.cache_dir() / INTER
    for folder in folders:
        if (folder / INTER).is_file():
            return files.verify(folder / INTER, INTER_SHA256)
        if (folder / WHEEL).is_file():
            wheel = files.verify(folder / WHEEL, WHEEL_SHA256)
            return cached if _is_good(cached) else _extract(wheel)
    if _is_good(cached):
        return cached
    logger.info("Downloading %s for its file %s", REQUIREMENT, INTER)
    with tempfile.TemporaryDirectory() as temporary:
        return _extract(_download(Path(temporary), folders))


def read(path: Path) -> Sequences:
    """Read the interactions file into 5-core sequences in time order; see the module for how."""
    body = path.read_text(encoding="utf-8").split("\n", 1)[1]  # the first line names the columns
    user, item, _rating, second = np.fromstring(body, dtype=np.int64, sep=" ").reshape(-1, 4).T
    return to_sequences(user, item, second, CORE, NAME, NAME)[0]


def _is_good(path: Path) -> bool:
    return path.is_file() and files.sha256(path) == INTER_SHA256


def _extract(wheel: Path) -> Path:
    """Put the interactions file of a verified wheel into the cache.

    The sum of the wheel fixes what is in it, so another content of the member would be a fault of ours.
    """
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(MEMBER)
    assert hashlib.sha256(content).hexdigest() == INTER_SHA256, f"{WHEEL} holds another {INTER}"
    target = files.make_cache_dir() / INTER
    files.store(target, content)
    return target


def _download(folder: Path, searched: list[Path]) -> Path:
    """Download the wheel with the pip of this interpreter, so that its index settings and proxies count."""
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    wheel = folder / WHEEL
    if done.returncode != 0 or not wheel.is_file():
        lines = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.strip()]
        raise files.not_available(
            NAME,
            reason=f"pip says: {lines[-1]}" if lines else f"pip ended with code {done.returncode}",
            names=[INTER, WHEEL],
            folders=searched,
            remedy=f"Run `pip download --no-deps {REQUIREMENT}` where there is a network, bring the wheel",
        )
    try:
        return files.verify(wheel, WHEEL_SHA256)
    except DataError as error:
        actual = files.sha256(wheel)
        raise DataError(
            f"the package index delivered another {WHEEL} than the published one (SHA-256 {actual}, expected "
            f"{WHEEL_SHA256}); nothing was kept"
        ) from error
