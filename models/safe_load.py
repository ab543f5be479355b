"""Read a file of tensors without running any code in it; if it is something else, say what it is."""

import collections
import io
import json
import os
import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from models.errors import CheckpointError

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
_PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
# Objects that training programs pickle beside the weights; they are read as stand-ins that only hold values.
_HARMLESS = re.compile(r"(recbole\.[\w.]+|argparse\.Namespace|yaml\.[\w.]+|numpy\.[\w.]+)")
_DICTIONARIES = re.compile(r"(pytorch_lightning|lightning|lightning_fabric)\.[\w.]+\.AttributeDict")  # of settings


def _bytes_of(text: str, encoding: str) -> bytes:
    """Return the bytes of a scalar of numpy, which protocol 2 writes as text with one character for each byte."""
    if encoding != "latin1":
        raise ValueError(f"bytes are written as latin1 text, not as {encoding}")
    return text.encode("latin1")


# What tensors are rebuilt with; torch's own restricted reader allows the same.
_OF_TENSORS: dict[str, Any] = {
    "collections.OrderedDict": collections.OrderedDict,
    "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
    "torch._utils._rebuild_parameter": torch._utils._rebuild_parameter,
    "torch.device": torch.device,
    "torch.Size": torch.Size,
    "_codecs.encode": _bytes_of,
    "builtins.set": set,
    "__builtin__.set": set,
}
_EXPORT = "torch.save(model.state_dict(), 'weights.pt')"


_UNREADABLE = (RuntimeError, EOFError, KeyError, ValueError, zipfile.BadZipFile)


class StandIn:
    """Replaces an object of a file whose class must not be run; it keeps the values that the file gives it."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {"state": state})


def read_tensors(path: str | Path) -> Any:
    """Return the tensors and plain values that torch.save or safetensors wrote; no code of the file is executed.

    Configuration objects of RecBole and argparse are read as `StandIn` objects that hold their values.

    Raises:
        CheckpointError: For any other file; the message names what it is and says what to do.
        OSError: If the file cannot be read.

    >>> import tempfile
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
    with open(path, "rb") as file:
        start = file.read(32)
    size = os.path.getsize(path)
    if size == 0:
        raise CheckpointError(f"{path}: is empty")
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < size:
        return _read_safetensors(path)
    for signature, kind in _SIGNATURES.items():
        if start.startswith(signature):
            raise CheckpointError(f"{path}: is not a checkpoint but {kind}")
    if start[:2] == b"PK":
        _check_archive(path)
    return _read_pickled(path, start)


class _Refused(pickle.UnpicklingError):
    """A file asks for a class or function that must not be run; `name` says which."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _Restricted(pickle.Unpickler):
    """Reads what torch's restricted reader does not: pickles of protocol 4 (RecBole), and configuration objects.

    Of all that a file names, only the functions that rebuild tensors are imported and called.
    """

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        name = f"{module_name}.{global_name}"
        if name in _OF_TENSORS:
            return _OF_TENSORS[name]
        if module_name == "torch" and isinstance(found := getattr(torch, global_name, None), torch.dtype):
            return found
        if _DICTIONARIES.fullmatch(name):
            return dict
        if _HARMLESS.fullmatch(name):
            return type(global_name, (StandIn,), {})
        raise _Refused(name)


def _read_pickled(path: str | Path, start: bytes) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # those are read below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "nsupported" not in str(error) or not start.startswith(_PICKLES):
            raise _not_readable(path, error) from error
        return _read_restricted(path)
    except _UNREADABLE as error:
        raise _not_readable(path, error) from error


def _load_restricted(file: Any, **options: Any) -> Any:
    return _Restricted(file, **options).load()


def _read_restricted(path: str | Path) -> Any:
    reader = SimpleNamespace(__name__="restricted", Unpickler=_Restricted, load=_load_restricted)
    try:
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=reader)
    except _Refused as error:
        raise CheckpointError(f"{path}: {_describe_code(path, error.name)}") from error
    except (pickle.UnpicklingError, AttributeError, TypeError, IndexError, *_UNREADABLE) as error:
        raise _not_readable(path, error) from error


def _read_safetensors(path: str | Path) -> dict[str, Any]:
    """Return the tensors of a file, and its metadata if there is any."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise CheckpointError(f"{path}: is a safetensors file; to read it: pip install safetensors") from error
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (file is not a dictionary)
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(f"{path}: is a damaged safetensors file ({error})") from error
    return {"state_dict": tensors, "config": {key: _parsed(text) for key, text in metadata.items()}}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _check_archive(path: str | Path) -> None:
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path}: is truncated: it begins like a checkpoint but its end is missing")
    names = zipfile.ZipFile(path).namelist()
    parts = {name.partition("/")[2] for name in names}
    if "constants.pkl" in parts:
        raise CheckpointError(
            f"{path}: is a TorchScript model, which is code; save its weights instead, with {_EXPORT} after "
            "model = torch.jit.load(...)"
        )
    if "data.pkl" not in parts:
        kind = "NumPy arrays (.npz)" if all(name.endswith(".npy") for name in names) else "a zip archive of other files"
        raise CheckpointError(f"{path}: is not a checkpoint but {kind}")


def _describe_code(path: str | Path, name: str) -> str:
    """Return what a file with objects that are not tensors is, judged by the names in it."""
    what_to_do = f"on a machine with its code, save only the weights: {_EXPORT}"
    names = _names(path)
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


def _names(path: str | Path) -> set[str]:
    """Return the names of classes and functions in a pickle, without loading it."""
    data = Path(path).read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            data = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    names: set[str] = set()
    texts: list[str] = []
    stream = io.BytesIO(data)
    try:
        while stream.tell() < len(data):  # files of older versions of torch hold several pickles
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "GLOBAL":
                    names.add(str(argument).replace(" ", "."))
                elif opcode.name == "STACK_GLOBAL" and len(texts) > 1:
                    names.add(".".join(texts[-2:]))
                if isinstance(argument, str):
                    texts.append(argument)
    except (ValueError, UnicodeDecodeError):
        pass  # the raw numbers after the pickles
    return names


def _not_readable(path: str | Path, error: Exception) -> CheckpointError:
    if isinstance(error, pickle.UnpicklingError):
        return CheckpointError(f"{path}: is not a checkpoint: it cannot be read as one that torch.save wrote")
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return CheckpointError(f"{path}: is not a checkpoint, or is damaged ({reason})")
