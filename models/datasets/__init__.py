"""Interaction sequences: named datasets, generated ones, and text files with one user per line.

    sequences = load("ml-100k")
    samples = sequences.windows("test", max_len=50)
    genres = load_attributes("ml-100k", sequences.num_items)

`python -m models.datasets import` (`importing`) turns a table of your own interactions into such a text file.
`statistics` has the numbers that describe a dataset. `views` are parts of one, or other orders. `sampling` draws the
batches of training, and negatives.
"""

from pathlib import Path

from models.datasets import files, synthetic
from models.datasets.attributes import Attributes, find_attributes, load_attributes
from models.datasets.registry import DATASETS
from models.datasets.sequences import Samples, Sequences
from models.datasets.text import FORMAT, read_with_times
from models.datasets.views import is_view, split_name, view
from models.errors import DataError, did_you_mean

__all__ = ["Attributes", "Samples", "Sequences", "fetch", "find_attributes", "load", "load_attributes", "names"]


def names() -> list[str]:
    """Return the names that `load` knows, the default dataset first; `synthetic` also takes knobs.

    >>> names()
    ['ml-100k', 'ml-1m', 'beauty', 'sports', 'toys', 'yelp', 'lastfm', 'synthetic']
    """
    return [*DATASETS, synthetic.NAME]


def load(name_or_path: str | Path, data_dir: str | Path | None = None) -> Sequences:
    """Load a dataset by name, generate one, or read a file.

    The file of a named dataset is looked for in `data_dir`, then in the folder that SPECTRAL_DATA_DIR names, then in
    the cache folder (SPECTRAL_CACHE_DIR). If it is in none of them, it is downloaded into the cache. Its SHA-256 is
    checked in every case.

    Args:
        name_or_path: One of `names()`, `synthetic:knob=value,...` (see `models.datasets.synthetic`), or the
            path of a text file "user item item ..." (see `models.datasets.text`). A name has precedence over a
            file of the same name; write ./beauty for the file. With `:until=0.9` or `:ties=item` at its end, a view
            of the dataset (see `models.datasets.views`).
        data_dir: Folder that may hold the files of the named datasets.

    Raises:
        DataError: If the name is unknown, if the file cannot be found or downloaded, differs from the published one,
            or does not hold sequences. The message says where, and what to do.

    >>> sequences = load("synthetic:users=20,items=30")
    >>> sequences.num_users, sequences.num_items
    (20, 30)
    >>> samples = sequences.windows("test", max_len=5)  # for each user the last 5 items before the test item
    >>> samples.inputs.shape, samples.targets.shape
    ((20, 5), (20,))
    """
    name = str(name_or_path)
    if isinstance(name_or_path, str):
        if is_view(name):
            base, knob, value = split_name(name)
            return view(load(base, data_dir), knob, value)
        if synthetic.is_synthetic(name):
            return synthetic.generate(synthetic.parse(name))
        if name in DATASETS:
            return DATASETS[name].read(DATASETS[name].fetch(data_dir))
    path = files.expand(name_or_path)
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file in it. {FORMAT.capitalize()}")
    if not path.exists():
        raise _unknown(name)
    return read_with_times(path)


def fetch(name: str, data_dir: str | Path | None = None) -> Path | None:
    """Return the path of a named dataset's file, downloaded if needed; None for a generated dataset.

    Raises:
        DataError: As in `load`.
    """
    if synthetic.is_synthetic(name):
        synthetic.parse(name)
        return None
    if name not in DATASETS:
        raise _unknown(name)
    return DATASETS[name].fetch(data_dir)


def _unknown(name: str) -> DataError:
    return DataError(
        f"{name!r} is neither a file nor a known dataset; known are {', '.join(names())}, "
        f"synthetic:knob=value,... and paths of files{did_you_mean(name, names())}"
    )
