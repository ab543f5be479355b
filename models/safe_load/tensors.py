"""Tensors out of the storages of a file that torch.save wrote, after all sizes have been checked against the file."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.safe_load.limits import check_name
from models.safe_load.pickles import Global, StandIn, check_key

_TYPES: dict[str, torch.dtype | None] = {
    **{
        f"torch.{name}Storage": dtype
        for name, dtype in {
            "Float": torch.float32,
            "Double": torch.float64,
            "Half": torch.float16,
            "BFloat16": torch.bfloat16,
            "Long": torch.int64,
            "Int": torch.int32,
            "Short": torch.int16,
            "Char": torch.int8,
            "Byte": torch.uint8,
            "Bool": torch.bool,
            "ComplexFloat": torch.complex64,
            "ComplexDouble": torch.complex128,
        }.items()
    },
    "torch.storage.UntypedStorage": None,
}
_DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
_NUMPY = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
_SPARE = 64 * 2**20  # bytes of tensors that small files with shared weights may have
_MAX_AXES, _MAX_TENSORS, _MAX_DEVICES = 32, 20_000, 1024


def is_of_tensors(name: str) -> bool:
    """Return whether a name in a pickle is a type of storages or of numbers."""
    return name in _TYPES or name in _DTYPES or name in ("torch.Tensor", "torch.nn.parameter.Parameter")


@dataclass(frozen=True)
class Storage:
    """A storage of a file: its type, None if its tensors say theirs, and its bytes as a tensor."""

    dtype: torch.dtype | None
    data: Tensor  # (bytes,) uint8

    def numbers(self, dtype: Any) -> Tensor:
        """Return the numbers in the storage, (n,)."""
        if not isinstance(dtype, torch.dtype) or len(self.data) % dtype.itemsize:
            raise ValueError("it has a storage of another type than its tensors")
        return self.data.view(dtype)


class Storages:
    """The storages and tensors of one file.

    Args:
        size: Bytes of the file; the storages cannot have more.
        read: Fills the bytes of a storage from the file, by its key; None if they are filled later.
    """

    def __init__(self, size: int, read: Callable[[str, Tensor], None] | None) -> None:
        self.size, self.read = size, read
        self.left = size  # bytes of the file that no storage has
        self.shared = 4 * size + _SPARE  # bytes that all tensors together may have
        self.by_key: dict[str, Storage] = {}
        self.tensors = 0

    @cached_property
    def functions(self) -> dict[str, Callable[..., Any]]:
        """What is done in place of the functions that rebuild tensors and plain values, by their names in a pickle."""
        found: dict[str, Callable[..., Any]] = {
            "torch._utils._rebuild_tensor": self.tensor,
            "torch._utils._rebuild_tensor_v2": self.tensor,
            "torch._utils._rebuild_tensor_v3": self.tensor_of_type,
            "torch._utils._rebuild_parameter": _parameter,
            "torch._utils._rebuild_parameter_with_state": _parameter,
            "torch._tensor._rebuild_from_type_v2": self.of_type,
            "torch.Size": lambda sizes=(): tuple(sizes),
            "torch.device": lambda kind, index=0: f"{check_name(kind)}:{_count(index, _MAX_DEVICES)}",
            "_codecs.encode": _encoded,
            "collections.OrderedDict": _dictionary,
            "collections.Counter": _dictionary,
            "collections.defaultdict": lambda factory=None, items=(): _dictionary(items),
        }
        for module in ("builtins", "__builtin__"):
            found |= {f"{module}.{kind.__name__}": _set_of(kind) for kind in (set, frozenset)}
            found |= {f"{module}.bytes": _encoded, f"{module}.bytearray": _encoded}
            found |= {f"{module}.complex": lambda real, imaginary: complex(_number(real), _number(imaginary))}
        for module in ("numpy.core", "numpy._core"):
            found[f"{module}.multiarray.scalar"] = _numpy_scalar
        return found

    def stored(self, key: Any) -> Storage:
        """Return the storage of a persistent id: ("storage", type, key, location, number of elements, ...)."""
        if not isinstance(key, tuple) or len(key) not in (5, 6) or key[0] != "storage" or key[5:] not in ((), (None,)):
            raise ValueError("it refers to something that is not the storage of a tensor")
        _, kind, name, _, count = key[:5]
        if not isinstance(kind, Global) or kind.name.replace("torch.cuda.", "torch.") not in _TYPES:
            raise ValueError("it has a storage of an unknown type")
        dtype = _TYPES[kind.name.replace("torch.cuda.", "torch.")]
        size = _count(count, self.size) * (1 if dtype is None else dtype.itemsize)
        name = str(check_key(name))
        known = self.by_key.get(name)
        if known is None:
            self.left -= size
            if self.left < 0:
                raise ValueError("its tensors are larger than the file")
            known = self.by_key[name] = Storage(dtype, torch.empty(size, dtype=torch.uint8))
            if self.read is not None:
                self.read(name, known.data)
                normalise(known)
        if known.dtype != dtype or len(known.data) != size:
            raise ValueError("it describes one storage in two ways")
        return known

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *flags: Any) -> Tensor:
        """Return the tensor that a part of a storage is; `flags`: requires_grad, hooks, and lazy operations."""
        if not isinstance(storage, Storage):
            raise ValueError("it has a tensor without a storage")
        if len(flags) > 2 and flags[2]:
            raise ValueError("it has a tensor with an operation that is not done yet; save tensor.resolve_conj()")
        return self._view(storage.numbers(storage.dtype), offset, size, stride)

    def tensor_of_type(
        self, storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *flags: Any
    ) -> Tensor:
        """Return the tensor that a part of a storage without a type is."""
        if not isinstance(storage, Storage) or not isinstance(dtype, Global):
            raise ValueError("it has a tensor without a storage or a type")
        typed = Storage(_DTYPES.get(dtype.name), storage.data)
        normalise(typed)
        return self.tensor(typed, offset, size, stride, grad, hooks, *flags)

    def of_type(self, function: Any, kind: Any, arguments: Any, state: Any) -> Any:
        """Return a tensor without the attributes that a program gave it."""
        if not isinstance(function, Global) or not function.name.startswith("torch._utils._rebuild_"):
            raise ValueError("it makes a tensor of something else")
        return self.functions[function.name](*arguments)

    def _view(self, numbers: Tensor, offset: Any, size: Any, stride: Any) -> Tensor:
        if not isinstance(size, tuple) or not isinstance(stride, tuple) or len(size) != len(stride):
            raise ValueError("it has a tensor without a shape")
        if len(size) > _MAX_AXES:
            raise ValueError(f"it has a tensor of {len(size)} axes")
        self.tensors += 1
        if self.tensors > _MAX_TENSORS:
            raise ValueError(f"it has more than {_MAX_TENSORS:,} tensors")
        sizes = [_count(value, self.size + _SPARE) for value in size]  # also if another axis is 0
        steps = [_count(value, 2**48) for value in stride]
        count = prod(sizes)
        self.shared -= count * numbers.itemsize
        if self.shared < 0:
            raise ValueError("its tensors are larger than the file")
        last = _count(offset, 2**48) + sum((axis - 1) * step for axis, step in zip(sizes, steps, strict=True))
        if not count:
            return torch.empty(sizes, dtype=numbers.dtype)
        if last >= len(numbers):
            raise ValueError("it has a tensor that is larger than its storage")
        return numbers.as_strided(sizes, steps, offset)


def normalise(storage: Storage) -> None:
    """Make the bytes of truth values 0 or 1, because torch computes nonsense with others."""
    if storage.dtype is torch.bool:
        storage.data.clamp_(max=1)


def _count(value: Any, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError("its tensors are larger than the file")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float):
        raise ValueError(f"it has a {type(value).__name__} as a number")
    return value


def _parameter(data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise ValueError("it has a parameter that is no tensor")
    return data


def _dictionary(items: Any = ()) -> dict[Any, Any]:
    pairs = items.items() if isinstance(items, dict) else items
    return {check_key(key): value for key, value in pairs}


def _set_of(kind: Callable[..., Any]) -> Callable[..., Any]:
    return lambda items=(): kind(map(check_key, items))


def _encoded(text: Any = "", encoding: Any = "latin1") -> bytes:
    """Return bytes; protocol 2 of pickle has no instruction for them, and writes text."""
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("it has bytes in an unknown form")
    return text.encode("latin1")


def _numpy_scalar(kind: Any, data: Any) -> Any:
    """Return the number in a numpy scalar, or a stand-in for what is no number."""
    code = kind.values[0] if isinstance(kind, StandIn) and kind.kind == "numpy.dtype" and kind.values else None
    if code not in _NUMPY or not isinstance(data, bytes) or len(data) != int(code[1:]):
        return StandIn("numpy scalar", (kind, data))
    state = kind.attributes.get("state")
    order = ">" if isinstance(state, tuple) and len(state) > 1 and state[1] == ">" else "<"
    return np.frombuffer(data, order + code)[0].item()
