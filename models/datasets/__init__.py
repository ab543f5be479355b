"""Interaction sequences: named datasets, generated ones, and files with one user a line.

sequences = load("ml-100k")
samples = sequences.windows("test", max_len=50)
genres = load_attributes("ml-100k", sequences.num_items)

Tables of one's own become such files with `python -m models.datasets import` (models.datasets.importing); the numbers
that describe datasets are those of models.datasets.statistics. models.datasets.sampling draws what training takes:
batches of windows, and negatives.
"""

import difflib
from pathlib import Path

from models.datasets import files, synthetic
from models.datasets.attributes import Attributes, find_attributes, load_attributes
from models.datasets.registry import DATASETS
from models.datasets.sequences import Samples, Sequences
from models.datasets.text import FORMAT, read_sequences
from models.errors import DataError

__all__ = ["Attributes", "Samples", "Sequences", "fetch", "find_attributes", "load", "load_attributes", "names"]


def names() -> list[str]:
    """Return the names that `load` knows, the default dataset first; `synthetic` also takes knobs."""
    return [*DATASETS, synthetic.NAME]


def load(name_or_path: str | Path, data_dir: str | Path | None = None) -> Sequences:
    """Load a dataset by name, generate one, or read a file.

    A file of a named dataset is taken from `data_dir`, else from the folder in SPECTRAL_DATA_DIR, else from
    the cache folder (SPECTRAL_CACHE_DIR), and is downloaded into the cache where it is in none of them. In
    all of them its SHA-256 is checked.

    Args:
        name_or_path: One of `names()`, `synthetic:knob=value,...` (see `models.datasets.synthetic`), or the
            path of a text file "user item item ..." (see `models.datasets.text`). Names go first; write
            ./beauty to read a file of that name.
        data_dir: Folder that may hold the files of the named datasets.

    Raises:
        DataError: If the name is unknown, the file cannot be found or downloaded or is another one than the
            published one, or does not hold sequences; says where and what to do.
    """
    name = str(name_or_path)
    if isinstance(name_or_path, str):
        if synthetic.is_synthetic(name):
            return synthetic.generate(synthetic.parse(name))
        if name in DATASETS:
            return DATASETS[name].read(DATASETS[name].fetch(data_dir))
    path = files.expand(name_or_path)
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file in it. {FORMAT.capitalize()}")
    if not path.exists():
        raise _unknown(name)
    return read_sequences(path)


def fetch(name: str, data_dir: str | Path | None = None) -> Path | None:
    """Make sure that the file of a named dataset is here and return its path; None for a generated dataset.

    Raises:
        DataError: As `load`.
    """
    if synthetic.is_synthetic(name):
        synthetic.parse(name)
        return None
    if name not in DATASETS:
        raise _unknown(name)
    return DATASETS[name].fetch(data_dir)


def _unknown(name: str) -> DataError:
    close = difflib.get_close_matches(name.lower(), names(), n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return DataError(
        f"{name!r} is neither a file nor a known dataset; known are {', '.join(names())}, "
        f"synthetic:knob=value,... and paths of files{hint}"
    )
