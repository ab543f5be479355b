"""The named datasets: where their files come from, and how they are read."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.datasets import files, movielens, movielens_1m, text
from models.datasets.sequences import Sequences
from models.errors import DataError

# The files published with S3-Rec (Zhou et al., CIKM 2020); BSARec and others use them unchanged.
BASE_URL = "https://raw.githubusercontent.com/RUCAIBox/CIKM2020-S3Rec/master/data/"


@dataclass(frozen=True)
class Dataset:
    """A named dataset.

    Attributes:
        description: One line of text.
        file_names: The files that are looked for in a local folder.
        fetch: Takes a local folder or None, returns the path of the verified file; downloads it if needed.
        read: Takes this path, returns the sequences.
        ties: How interactions of one user at the same time are ordered, as a sentence; "" for files in order.
    """

    description: str
    file_names: tuple[str, ...]
    fetch: Callable[[str | Path | None], Path]
    read: Callable[[Path], Sequences]
    ties: str = ""


def fetch_published(
    name: str, file_name: str, sha256: str, data_dir: str | Path | None = None, base_url: str | None = None
) -> Path:
    """Return the path of a verified file, from a local folder, the cache or the network.

    Raises:
        DataError: If a local file is not the published one, if the download fails or has another content (then
            nothing is kept), or if the cache cannot be written.
    """
    folders = files.local_folders(data_dir)
    for folder in folders:
        if (folder / file_name).is_file():
            return files.verify(folder / file_name, sha256)
    return _download(name, file_name, sha256, folders, base_url or BASE_URL)


def _download(name: str, file_name: str, sha256: str, searched: list[Path], base_url: str) -> Path:
    import pooch  # slow to import, and not needed for local files
    from requests import RequestException

    cache = files.make_cache_dir()
    downloads = pooch.create(path=cache, base_url=base_url, registry={file_name: f"sha256:{sha256}"})
    try:
        return Path(downloads.fetch(file_name, progressbar=sys.stderr.isatty()))
    except RequestException as error:
        raise files.not_available(
            name,
            reason=_reason(error),
            names=[file_name],
            folders=searched,
            remedy=f"Get {base_url}{file_name} (SHA-256 {sha256}) on a machine with a network, bring it",
        ) from error
    except OSError as error:
        raise files.cannot_store(cache, error) from error
    except ValueError as error:
        raise DataError(
            f"{base_url}{file_name} has another content than the published one, nothing was kept: {error}"
        ) from error


def _reason(error: Exception) -> str:
    """Return the innermost cause of a failed request, without the layers that repeat it."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    cause = getattr(error, "reason", None)
    return str(cause) if isinstance(cause, Exception) else str(error)


def _fetch_movielens_1m(data_dir: str | Path | None = None) -> Path:
    """Return the path of a local text file, else of the archive; raises DataError as `fetch_published` does."""
    for folder in files.local_folders(data_dir):
        if (folder / movielens_1m.TEXT).is_file():
            return files.verify(folder / movielens_1m.TEXT, movielens_1m.TEXT_SHA256)
    return fetch_published(
        movielens_1m.NAME,
        movielens_1m.ARCHIVE,
        movielens_1m.ARCHIVE_SHA256,
        data_dir,
        base_url=movielens_1m.BASE_URL,
    )


def _published(name: str, file_name: str, sha256: str, description: str) -> Dataset:
    return Dataset(
        description,
        (file_name,),
        fetch=partial(fetch_published, name, file_name, sha256),
        read=partial(text.read_sequences, name=name, source=name),
    )


_IN_ORDER_OF_LINES = "Ratings of one user in the same second keep the order of the lines in the rating file."

DATASETS = {
    movielens.NAME: Dataset(
        "MovieLens-100K, 5-core (from the RecBole 1.2.1 wheel)",
        (movielens.INTER, movielens.WHEEL),
        fetch=movielens.fetch,
        read=movielens.read,
        ties=_IN_ORDER_OF_LINES,
    ),
    movielens_1m.NAME: Dataset(
        "MovieLens-1M, 5-core (a local ML-1M.txt, or GroupLens' archive)",
        (movielens_1m.TEXT, movielens_1m.ARCHIVE),
        fetch=_fetch_movielens_1m,
        read=movielens_1m.read,
        ties=_IN_ORDER_OF_LINES,
    ),
    "beauty": _published(
        "beauty",
        "Beauty.txt",
        "226cce9c3105299ca0db9615d7d3fb32b3175e90da43100ae352599f0f0107b8",
        "Amazon reviews: Beauty, 5-core",
    ),
    "sports": _published(
        "sports",
        "Sports_and_Outdoors.txt",
        "2a095e0648872beb9982408958290f5d655db5be2911c3756b5446de9f0b8de2",
        "Amazon reviews: Sports and Outdoors, 5-core",
    ),
    "toys": _published(
        "toys",
        "Toys_and_Games.txt",
        "176c680c688d497598c4a89a03b402c0fe78d795e5db335c2e78dd5f2d778a3f",
        "Amazon reviews: Toys and Games, 5-core",
    ),
    "yelp": _published(
        "yelp",
        "Yelp.txt",
        "724b219106b81dd2349027da997334ddb6da9fe2f152ad6e0d97a93170f7caed",
        "Yelp business reviews, 5-core",
    ),
    "lastfm": _published(
        "lastfm",
        "LastFM.txt",
        "9ded486adb5b0fe9dc761950afa0a9a05e93ff018992e0c52bf11afec529f802",
        "LastFM artist taggings, first taggings only, 5-core",
    ),
}


def order_of(name: str) -> str:
    """Return how a dataset orders interactions at the same time, as a sentence after a space; "" if it says nothing.

    >>> order_of("lastfm"), order_of("ml-1m")[:25]
    ('', ' Ratings of one user in t')
    """
    ties = DATASETS[name].ties if name in DATASETS else ""
    return ties and f" {ties}"
