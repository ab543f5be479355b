"""Writing a file so that it is either complete or not there at all, and never in place of a file of somebody else."""

import os
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from models.errors import UserError

try:
    import fcntl
except ImportError:  # not a POSIX system: temporary files of killed runs stay
    fcntl = None  # type: ignore[assignment]

_ENDS = 4096  # bytes at the start and at the end of a file, in which its mark is looked for
_PARTIAL = ".partial"


class OutputError(UserError):
    """A file that would be overwritten is not one that this program wrote."""


@dataclass(frozen=True)
class Kind:
    """A kind of file that this program writes, and how it knows one of its own.

    Attributes:
        name: In words, for messages.
        mark: What every file of the kind has near its start or its end.
    """

    name: str
    mark: bytes

    def has(self, path: Path) -> bool:
        """Return whether a file is of this kind; an empty file is of every kind."""
        with path.open("rb") as file:
            start = file.read(_ENDS)
            file.seek(max(os.fstat(file.fileno()).st_size - _ENDS, 0))
            return not start or self.mark in start or self.mark in file.read(_ENDS)


def check_replaceable(path: Path, kind: Kind | None = None) -> None:
    """Raise OutputError if there is a file at `path` that is not of this kind, or that is no regular file.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.csv")
    ...     _ = path.write_text("my notes")
    ...     try:
    ...         check_replaceable(path, Kind("a table of epochs", b"epoch,loss"))
    ...     except OutputError as error:
    ...         print(str(error).partition("a.csv")[2])
    : exists and is not a table of epochs of this program; choose another name, or move it away
    """
    if not path.exists() or path.is_dir():
        return
    if not stat.S_ISREG(path.stat().st_mode):
        raise OutputError(f"{path}: is not a regular file, so nothing can be written in its place")
    if kind is not None and not kind.has(path):
        raise OutputError(
            f"{path}: exists and is not {kind.name} of this program; choose another name, or move it away"
        )


def write_atomically(path: Path, content: bytes, kind: Kind | None = None) -> None:
    """Write a temporary file in the same folder, flush it to the disk, and rename it to `path`.

    If the process is killed or the disk is full, the old file (if any) is unchanged, and there is no partial new one.
    Missing folders are created. The temporary file has the name of `path` with an ending; those of killed processes
    are removed.

    kind: What an old file must be, if given. Raises OutputError if it is not; OSError if the folder cannot be written
    or the disk is full, and the temporary file is then removed.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder, "new", "a.txt"), b"content")
    ...     [path.name for path in Path(folder, "new").iterdir()]  # the temporary file is gone
    ['a.txt']
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    check_replaceable(path, kind)
    remove_partial(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=_PARTIAL)
    try:
        with os.fdopen(handle, "wb") as file:
            _lock(file.fileno())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only their owner can read
            os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise


def remove_partial(path: Path) -> None:
    """Remove temporary files for `path` that killed processes left; those of running ones are locked, and stay."""
    if not path.parent.is_dir():
        return
    ours = re.compile(rf"{re.escape(path.name)}\.[a-z0-9_]{{8}}{re.escape(_PARTIAL)}")
    for name in filter(ours.fullmatch, os.listdir(path.parent)):
        left = path.with_name(name)
        try:
            with left.open("rb+") as file:
                if _lock(file.fileno()):
                    left.unlink()
        except OSError:  # removed meanwhile, or of another user
            continue


def check_writable(folder: Path) -> None:
    """Create the folder if it is missing; raises OSError if that fails, or if no file can be created in it."""
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def _lock(handle: int) -> bool:
    """Lock an open file until it is closed or the process ends; return whether that was possible."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held by another process, or a file system without locks
        return False
    return True


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
