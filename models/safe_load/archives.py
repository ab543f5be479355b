"""The two formats of torch.save: a zip file of a pickle and storages, and the older series of pickles and storages."""

import io
import mmap
import re
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

from torch import Tensor

from models.errors import CheckpointError
from models.safe_load.pickles import Rules, check_key, read_pickle
from models.safe_load.tensors import Storages, is_of_tensors, normalise

# Objects that training programs pickle beside the weights; they are read as stand-ins that only hold values.
_HARMLESS = re.compile(
    r"(recbole\.[\w.]+|argparse\.Namespace|yaml\.[\w.]+|numpy\.[\w.]+"
    r"|(pytorch_lightning|lightning|lightning_fabric)\.[\w.]+\.AttributeDict)"
)
EXPORT = "torch.save(model.state_dict(), 'weights.pt')"
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
_MAX_PICKLE = 64 * 2**20  # bytes; tensors are not in the pickle
_MAX_DIRECTORY = 8 * 2**20  # bytes of the list of parts of a zip file


def read_zip(file: BinaryIO, path: Path, size: int) -> Any:
    """Return the content of a zip file of `size` bytes; `path` is for messages.

    Raises CheckpointError, or one of limits.DAMAGE if it is damaged.
    """
    archive = _Archive(file, path, size)
    if "byteorder" in archive.parts and file.read(min(archive.open("byteorder"), 10)) != b"little":
        raise CheckpointError(f"{path}: has the byte order of another kind of machine; save it again on this kind")
    length = archive.open("data.pkl")
    if length > _MAX_PICKLE:
        raise ValueError("it has too many values beside the tensors")
    return _unpickled(io.BytesIO(file.read(length)), Storages(size, archive.fill), path)


def read_legacy(file: BinaryIO, path: Path, size: int) -> Any:
    """Return the content of a file of the older format, or raise as `read_zip` does.

    It has pickles of a magic number, a version, the machine, the content, and the order of storages. The storages
    follow, each after its number of elements.
    """
    storages = Storages(size, read=None)
    with mmap.mmap(file.fileno(), min(size, _MAX_PICKLE), access=mmap.ACCESS_READ) as mapped:
        stream = cast("BinaryIO", mapped)
        if _unpickled(stream, storages, path) != _LEGACY_MAGIC:
            raise CheckpointError(f"{path}: is not a checkpoint: it cannot be read as one that torch.save wrote")
        version, machine, content, order = (_unpickled(stream, storages, path) for _ in range(4))
        file.seek(stream.tell())
    if version != _LEGACY_VERSION or not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise CheckpointError(f"{path}: was written by another version of torch, or on another kind of machine")
    if not isinstance(order, list) or sorted(str(check_key(key)) for key in order) != sorted(storages.by_key):
        raise ValueError("it does not have the storages of its tensors")
    for key in order:
        storage = storages.by_key[str(key)]
        itemsize = 1 if storage.dtype is None else storage.dtype.itemsize
        if int.from_bytes(file.read(8), "little") * itemsize != len(storage.data):
            raise ValueError("it has a storage of another size than its tensors")
        _fill(file, storage.data)
        normalise(storage)
    return content


def _unpickled(stream: BinaryIO, storages: Storages, path: Path) -> Any:
    rules = Rules(
        allowed=lambda name: is_of_tensors(name) or _HARMLESS.fullmatch(name) is not None,
        functions=storages.functions,
        stored=storages.stored,
    )
    value, names, refused = read_pickle(stream, rules)
    if refused:
        raise CheckpointError(f"{path}: {_describe_code(refused[0], names)}")
    return value


class _Archive:
    """The parts of a zip file that torch.save wrote: they are not compressed, so each is a piece of the file."""

    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self.file, self.size = file, size
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
            f"{path}: is a TorchScript model, which is code; save its weights instead, with {EXPORT} after "
            "model = torch.jit.load(...)"
        )
    if "data.pkl" not in names:
        of_numpy = all(part.filename.endswith(".npy") for part in parts)
        kind = "NumPy arrays (.npz)" if of_numpy else "a zip archive of other files"
        raise CheckpointError(f"{path}: is not a checkpoint but {kind}")
    if len(names) < len(parts):
        raise ValueError("it has two parts of one name")
    return parts


def _fill(file: BinaryIO, data: Tensor) -> None:
    if file.readinto(data.numpy().data) != len(data):  # type: ignore[attr-defined]
        raise EOFError("it ends within a tensor")


def _describe_code(name: str, names: list[str]) -> str:
    """Return what a file with objects that are not tensors is, judged by the names in it."""
    what_to_do = f"on a machine with its code, save only the weights: {EXPORT}"
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
