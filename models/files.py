"""Writing a file so that it is either complete or not there at all."""

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file in the same folder, flush it to the disk, and rename it to `path`.

    If the process is killed or the disk is full, the old file (if any) is unchanged, and there is no partial new one.
    Missing folders are created. Raises OSError if the folder cannot be written or the disk is full; the temporary file
    is then removed.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder, "new", "a.txt"), b"content")
    ...     [path.name for path in Path(folder, "new").iterdir()]  # the temporary file is gone
    ['a.txt']
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
    """Create the folder if it is missing; raises OSError if that fails, or if no file can be created in it."""
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
