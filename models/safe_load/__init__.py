"""Read a file of tensors without running any code in it; if it is something else, say what it is.

Nothing is allocated that the file does not hold (`limits`), nothing that a pickle names is imported or called
(`pickles`), and no read leaves anything behind for the next.
"""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from models.errors import CheckpointError
from models.safe_load.archives import read_legacy, read_zip
from models.safe_load.limits import DAMAGE, check_name
from models.safe_load.pickles import StandIn

__all__ = ["StandIn", "read_tensors"]

# The first bytes of files that people give by mistake.
_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file (Keras?)",
    b"\x93NUMPY": "a NumPy array",
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it first",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; fetch it with git lfs pull",
    b"<": "a web page or XML; download the file itself",
    b"{": "JSON text",
}
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_MAX_HEADER = 8 * 2**20  # bytes of the list of tensors of a safetensors file

_Reader = Callable[[BinaryIO, Path, int], Any]


def read_tensors(path: str | Path) -> Any:
    """Return the tensors and plain values that torch.save or safetensors wrote; no code of the file is executed.

    Configuration objects of RecBole and argparse are read as `StandIn` objects that hold their values.

    Raises:
        CheckpointError: For any other file; the message names what it is and says what to do.
        OSError: If the file cannot be read.

    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "weights.pt")
    ...     torch.save({"weight": torch.ones(2)}, path)
    ...     read_tensors(path)["weight"].tolist()
    ...     torch.save(print, path)  # not tensors, but a function
    ...     try:
    ...         read_tensors(path)
    ...     except CheckpointError as error:
    ...         print(str(error).partition(": ")[2].partition(" (")[0])
    [1.0, 1.0]
    holds a pickle that would run code when read; it was not executed
    """
    path = Path(path)
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe or a device may have no end
        raise CheckpointError(f"{path}: is not a regular file")
    with path.open("rb") as file:
        start, size = file.read(32), os.fstat(file.fileno()).st_size
        if size == 0:
            raise CheckpointError(f"{path}: is empty")
        read = _reader(path, start, size)
        file.seek(0)
        try:
            return read(file, path, size)
        except CheckpointError:
            raise
        except DAMAGE as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"{path}: is not a checkpoint, or is damaged ({reason})") from error


def _reader(path: Path, start: bytes, size: int) -> _Reader:
    """Return what reads a file that begins with these bytes; raises CheckpointError for a file of another kind."""
    is_safetensors = start[8:9] == b"{" and int.from_bytes(start[:8], "little") < size
    if path.suffix == ".safetensors" and not is_safetensors:
        raise CheckpointError(f"{path}: is not a safetensors file, or is damaged, though its name says so")
    if is_safetensors:
        return _read_safetensors
    for signature, kind in _SIGNATURES.items():
        if start.startswith(signature):
            raise CheckpointError(f"{path}: is not a checkpoint but {kind}")
    if start[:2] == b"PK":
        return read_zip
    if start.startswith(_PICKLES):
        return read_legacy
    raise CheckpointError(f"{path}: is not a checkpoint: it cannot be read as one that torch.save wrote")


def _read_safetensors(file: BinaryIO, path: Path, size: int) -> dict[str, Any]:
    """Return the tensors of a file, and its metadata if there is any."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise CheckpointError(f"{path}: is a safetensors file; to read it: pip install safetensors") from error
    if int.from_bytes(file.read(8), "little") > _MAX_HEADER:
        raise ValueError("it has too many tensors")
    try:
        with safe_open(path, framework="pt") as opened:
            tensors = {check_name(key): opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
            metadata = opened.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(f"{path}: is a damaged safetensors file ({error})") from error
    return {"state_dict": tensors, "config": {check_name(key): _parsed(text) for key, text in metadata.items()}}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
