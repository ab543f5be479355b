"""Where the files of the named datasets are looked for, and how they are verified.

The order is: the folder that the caller names (`--data-dir`), the folder that the environment variable
SPECTRAL_DATA_DIR names, the cache folder (SPECTRAL_CACHE_DIR, else the user's cache), and a download into the cache.
"""

import hashlib
import os
from pathlib import Path

from models.errors import DataError
from models.files import Kind, write_atomically

DATA_DIR_VARIABLE = "SPECTRAL_DATA_DIR"
CACHE_DIR_VARIABLE = "SPECTRAL_CACHE_DIR"
_DOWNLOAD = Kind("a download", b"")  # whatever is in its place: the cache is ours, and its files are known by checksums


def expand(path: str | Path) -> Path:
    """Return the path with a leading ~ replaced by the home folder, or unchanged if the home folder is unknown."""
    return Path(os.path.expanduser(path))


def local_folders(data_dir: str | Path | None) -> list[Path]:
    """Return the folders to search before the cache.

    Raises:
        DataError: If a named folder does not exist; going on without it would hide a mistake.
    """
    named = [("the data folder", data_dir), (DATA_DIR_VARIABLE, os.environ.get(DATA_DIR_VARIABLE))]
    folders = []
    for origin, folder in named:
        if not folder:
            continue
        path = expand(folder)
        if not path.is_dir():
            raise DataError(f"{origin} {path} is not a folder; create it, or name another one")
        folders.append(path)
    return folders


def cache_dir() -> Path:
    """Return the folder for downloads; it may not exist yet."""
    if folder := os.environ.get(CACHE_DIR_VARIABLE):
        return expand(folder)
    import pooch  # here, because it is not needed to read local files

    return Path(pooch.os_cache("spectral-recommenders"))


def make_cache_dir() -> Path:
    """Return the cache folder, created if it is missing.

    Raises:
        DataError: If it cannot be created.
    """
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_store(folder, error) from error
    return folder


def cannot_store(folder: Path, error: OSError) -> DataError:
    """Return the error for a cache folder that cannot be written; it says how to use another."""
    return DataError(
        f"cannot keep the download in {folder} ({error.strerror or error}); "
        f"set {CACHE_DIR_VARIABLE} to a folder that can be written"
    )


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, expected: str) -> Path:
    """Return the path if the file's SHA-256 is the expected one.

    Raises:
        DataError: If it is not; the message names the file and both sums.
    """
    actual = sha256(path)
    if actual != expected:
        raise DataError(
            f"{path} is not the published file: its SHA-256 is {actual}, expected {expected}; "
            "replace it, or remove it to have it downloaded"
        )
    return path


def store(path: Path, content: bytes) -> None:
    """Write a file into the cache; other processes see the whole file or none.

    Raises:
        DataError: If the folder cannot be written.
    """
    try:
        write_atomically(path, content, _DOWNLOAD)
    except OSError as error:
        raise cannot_store(path.parent, error) from error


def not_available(what: str, reason: str, names: list[str], folders: list[Path], remedy: str) -> DataError:
    """Return the error for a file that is not on this machine and cannot be downloaded."""
    looked = ", ".join(str(folder) for folder in [*folders, cache_dir()])
    return DataError(
        f"{what} could not be downloaded ({reason}). Looked for {' or '.join(names)} in {looked}. "
        f"{remedy} and name its folder with --data-dir (data_dir= in Python) or {DATA_DIR_VARIABLE}."
    )
