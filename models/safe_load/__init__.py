"""Read a file of tensors without running any code in it; if it is something else, say what it is.

`read_tensors` reads zip files and the older format of torch.save, safetensors, weights in several files with an index,
and folders. Nothing is allocated that the file does not hold (`limits`), nothing that a pickle names is imported or
called (`pickles`), and no read leaves anything behind for the next.
"""

import io
import json
import os
import re
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from models.errors import CheckpointError
from models.safe_load.limits import check_extent, check_name, read_text
from models.safe_load.pickles import Rules, StandIn, read_pickle
from models.safe_load.tensors import Storages, is_of_tensors, normalise

__all__ = ["StandIn", "locate", "read_tensors"]

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
# Objects that training programs pickle beside the weights; they are read as stand-ins that only hold values.
_HARMLESS = re.compile(r"(recbole\.[\w.]+|argparse\.Namespace|yaml\.[\w.]+|numpy\.[\w.]+)")
_DICTIONARIES = re.compile(r"(pytorch_lightning|lightning|lightning_fabric)\.[\w.]+\.AttributeDict")  # of settings
_EXPORT = "torch.save(model.state_dict(), 'weights.pt')"
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
_INDEX = ".index.json"  # ends the name of the file that says in which file each tensor is
_WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_MAX_PICKLE = 64 * 2**20  # bytes; tensors are not in the pickle
_MAX_DIRECTORY = 8 * 2**20  # bytes of the list of parts of a zip file
_MAX_HEADER = 8 * 2**20  # bytes of the list of tensors of a safetensors file
# What the pickle, zip and numpy modules raise for damaged files.
_DAMAGE = (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, EOFError, MemoryError, zipfile.BadZipFile)


def locate(path: str | Path) -> Path:
    """Return the file to read for a path: of a folder, its only file of weights; of a part of weights, their index.

    Raises CheckpointError if that is no regular file, or if a folder has no or several files of weights; OSError if
    there is nothing.
    """
    path = Path(path)
    if path.is_dir():
        path = _only_weights(path)
    index = path.with_name(re.sub(r"-\d{5}-of-\d{5}(\.\w+)$", rf"\1{_INDEX}", path.name))
    path = index if index.is_file() else path
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise CheckpointError(f"{path}: is not a regular file")
    return path


def _only_weights(folder: Path) -> Path:
    files = sorted(file for file in folder.iterdir() if file.is_file())
    found = [file for file in files if file.name.endswith(tuple(f"{ending}{_INDEX}" for ending in _WEIGHTS))]
    found = found or [file for file in files if file.suffix in _WEIGHTS]
    if len(found) != 1:
        names = ", ".join(file.name for file in found[:5]) or "no file of weights in it"
        raise CheckpointError(f"{folder}: is a folder; name the file to read ({names})")
    return found[0]


def read_tensors(path: str | Path) -> Any:
    """Return the tensors and plain values that torch.save or safetensors wrote; no code of the file is executed.

    path: a file, a folder with one file of weights, or the index or a part of weights in several files. Configuration
    objects of RecBole and argparse are read as `StandIn` objects that hold their values.

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
    path = locate(path)
    if path.name.endswith(_INDEX):
        return _read_parts(path)
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
        except _DAMAGE as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"{path}: is not a checkpoint, or is damaged ({reason})") from error


def _reader(path: Path, start: bytes, size: int) -> Callable[[BinaryIO, Path, int], Any]:
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
        return _read_zip
    if start.startswith(_PICKLES):
        return _read_legacy
    raise CheckpointError(f"{path}: is not a checkpoint: it cannot be read as one that torch.save wrote")


def _rules(storages: Storages) -> Rules:
    """Return what a pickle of tensors may name."""
    return Rules(
        allowed=lambda name: bool(is_of_tensors(name) or _HARMLESS.fullmatch(name) or _DICTIONARIES.fullmatch(name)),
        functions=storages.functions,
        stored=storages.stored,
    )


def _unpickled(stream: io.BytesIO, storages: Storages, path: Path) -> Any:
    value, names, refused = read_pickle(stream, _rules(storages))
    if refused:
        raise CheckpointError(f"{path}: {_describe_code(refused[0], names)}")
    return value


class _Archive:
    """The parts of a zip file that torch.save wrote: they are not compressed, so each is a piece of the file."""

    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self.file, self.path, self.size = file, path, size
        self.parts = {part.filename.partition("/")[2]: part for part in _directory(file, path)}
        if any(part.compress_type != zipfile.ZIP_STORED or part.flag_bits & 1 for part in self.parts.values()):
            raise CheckpointError(
                f"{path}: is a compressed archive, which torch.save does not write; unpack it, or save it again"
            )
        if sum(part.file_size for part in self.parts.values()) > size:
            raise ValueError("its parts are larger than the file")

    def open(self, name: str) -> int:
        """Move to a part of the file, and return its size."""
        part = self.parts[name]
        self.file.seek(part.header_offset)
        header = self.file.read(30)
        if header[:4] != b"PK\x03\x04":
            raise ValueError(f"its part {name} is missing")
        begin = part.header_offset + 30 + sum(int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        if begin + part.file_size > self.size:
            raise ValueError(f"its part {name} is cut off")
        self.file.seek(begin)
        return part.file_size

    def fill(self, key: str, data: Tensor) -> None:
        """Read a storage."""
        if self.open(f"data/{key}") < len(data):
            raise ValueError("its tensors are larger than the file")
        _fill(self.file, data)


class _Bounded:
    """A file whose list of parts is only read up to a limit, which zipfile does not have."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self.seekable, self._read = file.seek, file.tell, file.seekable, file.read

    def read(self, size: int = -1) -> bytes:
        data = self._read(min(size, _MAX_DIRECTORY + 1) if size >= 0 else _MAX_DIRECTORY + 1)
        if len(data) > _MAX_DIRECTORY:
            raise ValueError("it has too many parts")
        return data


def _directory(file: BinaryIO, path: Path) -> list[zipfile.ZipInfo]:
    """Return the parts of a zip file; raises CheckpointError if they are not those of a checkpoint."""
    try:
        parts = zipfile.ZipFile(_Bounded(file)).infolist()
    except zipfile.BadZipFile as error:
        cut = "truncated: it begins like a checkpoint but its end is missing"
        raise CheckpointError(f"{path}: is {cut if 'not a zip' in str(error) else f'damaged ({error})'}") from error
    names = {part.filename.partition("/")[2] for part in parts}
    if "constants.pkl" in names:
        raise CheckpointError(
            f"{path}: is a TorchScript model, which is code; save its weights instead, with {_EXPORT} after "
            "model = torch.jit.load(...)"
        )
    if "data.pkl" not in names:
        of_numpy = all(part.filename.endswith(".npy") for part in parts)
        kind = "NumPy arrays (.npz)" if of_numpy else "a zip archive of other files"
        raise CheckpointError(f"{path}: is not a checkpoint but {kind}")
    if len(names) < len(parts):
        raise ValueError("it has two parts of one name")
    return parts


def _read_zip(file: BinaryIO, path: Path, size: int) -> Any:
    archive = _Archive(file, path, size)
    if "byteorder" in archive.parts and file.read(min(archive.open("byteorder"), 10)) != b"little":
        raise CheckpointError(f"{path}: has the byte order of another kind of machine; save it again on this kind")
    length = archive.open("data.pkl")
    if length > _MAX_PICKLE:
        raise ValueError("it has too many values beside the tensors")
    return _unpickled(io.BytesIO(file.read(length)), Storages(size, archive.fill), path)


def _read_legacy(file: BinaryIO, path: Path, size: int) -> Any:
    """Read the older format: pickles of a magic number, a version, the machine, the content and the order of storages.

    The storages follow, each after its number of elements.
    """
    stream = io.BytesIO(file.read(_MAX_PICKLE))
    storages = Storages(size, read=None)
    first = _unpickled(stream, storages, path)
    if first != _LEGACY_MAGIC:
        raise CheckpointError(f"{path}: is not a checkpoint: it cannot be read as one that torch.save wrote")
    version, machine, content, order = (_unpickled(stream, storages, path) for _ in range(4))
    if version != _LEGACY_VERSION or not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise CheckpointError(f"{path}: was written by another version of torch, or on another kind of machine")
    if not isinstance(order, list) or sorted(map(str, order)) != sorted(storages.by_key):
        raise ValueError("it does not have the storages of its tensors")
    file.seek(stream.tell())
    for key in order:
        storage = storages.by_key[str(key)]
        itemsize = 1 if storage.dtype is None else storage.dtype.itemsize
        if int.from_bytes(file.read(8), "little") * itemsize != len(storage.data):
            raise ValueError("it has a storage of another size than its tensors")
        _fill(file, storage.data)
        normalise(storage)
    return content


def _fill(file: BinaryIO, data: Tensor) -> None:
    if file.readinto(data.numpy().data) != len(data):  # type: ignore[attr-defined]
        raise EOFError("it ends within a tensor")


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
        value = json.loads(text)
        check_extent(value)
        return value
    except (ValueError, RecursionError):
        return text


def _read_parts(index: Path) -> dict[str, Any]:
    """Return the tensors of all files that an index names, which lie beside it."""
    try:
        places = json.loads(read_text(index))["weight_map"]
        names = sorted(set(places.values()))
        if not all(isinstance(name, str) and Path(name).name == name for name in names):
            raise ValueError("it names files of other folders")
    except (*_DAMAGE, AttributeError) as error:
        raise CheckpointError(f"{index}: is no index of weights in several files ({error})") from error
    tensors: dict[str, Any] = {}
    for name in names:
        part = index.with_name(name)
        if not part.is_file():
            raise CheckpointError(f"{index}: names {name!r}, which is not beside it")
        content = _read_part(part)
        tensors |= {key: value for key, value in content.items() if places.get(key) == name}
    if missing := [key for key in places if key not in tensors]:
        raise CheckpointError(f"{index}: {len(missing)} of its tensors are in none of its files, such as {missing[0]}")
    return {"state_dict": tensors}


def _read_part(part: Path) -> dict[str, Any]:
    with part.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(32)
        read = _reader(part, start, size)
        file.seek(0)
        content = read(file, part, size)
    content = content.get("state_dict", content) if isinstance(content, dict) else {}
    return content if isinstance(content, dict) else {}


def _describe_code(name: str, names: list[str]) -> str:
    """Return what a file with objects that are not tensors is, judged by the names in it."""
    what_to_do = f"on a machine with its code, save only the weights: {_EXPORT}"
    if any(known.startswith(("torch.nn.modules.", "torch.nn.parallel.")) for known in names):
        return (
            f"is a whole pickled model ({name}, ...), which would run code when read; it was not executed; {what_to_do}"
        )
    if any(known.startswith(("pytorch_lightning.", "lightning.")) for known in names):
        return (
            f"is a Lightning checkpoint with objects ({name}) that would run code when read; it was not executed; "
            f"{what_to_do}"
        )
    return f"holds a pickle that would run code when read; it was not executed ({name}); {what_to_do}"
