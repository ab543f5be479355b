"""Writing a file so that it is either there in full or not at all."""

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file in the same folder, flush it to the disk, and rename it to `path`.

    A kill, a crash or a full disk at any moment leaves the old file, if there was one, and no half-written new one.
    Raises OSError, with the temporary file removed, if the folder cannot be written or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise


def check_writable(folder: Path) -> None:
    """Create the folder if it is missing; raises OSError if it cannot be, or no file can be made in it."""
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
