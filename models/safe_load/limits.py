"""Limits of what is taken from a file that nobody has to trust."""

import struct
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from models.errors import CheckpointError

MAX_DEPTH = 100  # of lists in lists
MAX_PARTS = 1_000_000  # of a value, with what it holds twice counted twice
MAX_NAME = 1000  # characters of a key, or of the name of a class
TIMES, SPARE_TENSORS, SPARE_NUMBERS = 4, 100, 2**20  # how much larger than its file a model may be
MAX_TEXT = 2**20  # bytes of a configuration, a log or an index beside a file of weights
# What modules that read zip files, pickles, JSON and YAML raise for damaged files.
DAMAGE = (
    *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError, EOFError, MemoryError),
    *(struct.error, zipfile.BadZipFile),
)


def check_name(name: Any) -> str:
    """Return a name of a file; raises ValueError for what is no name, or too long for one.

    >>> check_name("items.weight")
    'items.weight'
    """
    if not isinstance(name, str):
        raise ValueError(f"it has a {type(name).__name__} as a name")
    if len(name) > MAX_NAME:
        raise ValueError(f"it has a name of {len(name)} characters")
    return name


def check_extent(value: Any, parts: Callable[[Any], Iterable[Any] | None]) -> None:
    """Raise ValueError if a value holds itself, is too deep, or has too many parts.

    parts: returns what a value is made of, or None for a value without parts. A list that is held twice is counted
    twice, because whoever walks through the value meets it twice: forty lists, each of which holds the one before
    twice, have 2^40 parts.

    >>> value = ["x"]
    >>> for _ in range(40):
    ...     value = [value, value]
    >>> check_extent(value, lambda item: item if isinstance(item, list) else None)
    Traceback (most recent call last):
    ValueError: it has more than 1,000,000 values
    """
    known: dict[int, tuple[int, int]] = {}  # by identity: number of parts, and depth
    begun: set[int] = set()
    waiting: list[tuple[Any, bool]] = [(value, False)]
    while waiting:
        item, visited = waiting.pop()
        key = id(item)
        if key in known or (inner := parts(item)) is None:
            continue
        if visited:
            sizes = [known[id(part)] for part in inner if id(part) in known]
            size = 1 + len(list(inner)) + sum(size for size, _ in sizes)
            depth = 1 + max((depth for _, depth in sizes), default=0)
            if size > MAX_PARTS:
                raise ValueError(f"it has more than {MAX_PARTS:,} values")
            if depth > MAX_DEPTH:
                raise ValueError(f"it is more than {MAX_DEPTH} levels deep")
            known[key] = (size, depth)
        elif key in begun:
            raise ValueError("it has a list that holds itself")
        else:
            begun.add(key)
            waiting.append((item, True))
            waiting.extend((part, False) for part in inner if parts(part) is not None)


@contextmanager
def no_more_than(tensors: Mapping[str, Tensor], path: str | Path) -> Iterator[None]:
    """Within the block, raise CheckpointError as soon as a model is much larger than the tensors of the file `path`.

    So the sizes in a configuration cannot allocate much more than what the file holds. What a small model has more is
    left to the comparison of names and shapes, which says what is missing.
    """
    numbers = sum(tensor.numel() for tensor in tensors.values())
    left = [SPARE_TENSORS + TIMES * len(tensors), SPARE_NUMBERS + TIMES * numbers]
    thread = threading.get_ident()

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is None or threading.get_ident() != thread:
            return
        left[0] -= 1
        left[1] -= parameter.numel()
        if min(left) < 0:
            raise CheckpointError(f"{path}: its configuration describes a larger model than its {numbers:,} numbers")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    except (RuntimeError, MemoryError, OverflowError) as error:
        raise CheckpointError(f"{path}: its configuration describes no model, or none that the memory holds") from error
    finally:
        hook.remove()


def read_text(path: Path, most: int = MAX_TEXT) -> tuple[str, bool]:
    """Return the first `most` bytes of a file as text, and whether it has more; what is not UTF-8 is replaced."""
    with path.open("rb") as file:
        data = file.read(most + 1)
    return data[:most].decode("utf-8", "replace"), len(data) > most
