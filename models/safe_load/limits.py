"""Limits of what is taken from a file that nobody has to trust."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from models.errors import CheckpointError

MAX_DEPTH = 100  # of lists in lists
MAX_PARTS = 2_000_000  # of a value, with what it holds twice counted twice
MAX_NAME = 1000  # characters of a key, or of the name of a class
TIMES, SPARE_TENSORS, SPARE_NUMBERS = 4, 100, 2**20  # how much larger than its file a model may be
MAX_TEXT = 2**20  # bytes of a configuration or a log beside a file of weights


def check_name(name: Any) -> str:
    """Return a name of a file that can be printed; raises ValueError for another.

    >>> check_name("items.weight")
    'items.weight'
    """
    if not isinstance(name, str):
        raise ValueError(f"it has a {type(name).__name__} as a name")
    if len(name) > MAX_NAME:
        raise ValueError(f"it has a name of {len(name)} characters")
    if not name.isprintable():
        raise ValueError(f"it has the name {name[:40]!r}")
    return name


def plain_parts(value: Any) -> Iterable[Any] | None:
    """Return what a list or dictionary is made of, or None for a value without parts."""
    return value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple | set) else None


def check_extent(value: Any, parts: Callable[[Any], Iterable[Any] | None] = plain_parts) -> None:
    """Raise ValueError if a value holds itself, is too deep, or has too many parts.

    A list that is held twice is counted twice, because whoever walks through the value meets it twice: forty lists,
    each of which holds the one before twice, have 2^40 parts.

    >>> value = ["x"]
    >>> for _ in range(40):
    ...     value = [value, value]
    >>> check_extent(value)
    Traceback (most recent call last):
    ValueError: it has more than 2,000,000 values
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

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            left[0] -= 1
            left[1] -= parameter.numel()
        if min(left) < 0:
            raise CheckpointError(f"{path}: its configuration describes a larger model than its {numbers:,} numbers")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    except (RuntimeError, MemoryError, OverflowError) as error:  # of torch, which cannot allocate as much
        raise CheckpointError(
            f"{path}: its configuration describes no model ({str(error).partition(chr(10))[0]})"
        ) from error
    finally:
        hook.remove()


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return which tensors hold NaN or infinities, in words, or None.

    >>> import torch
    >>> not_finite({"a": torch.tensor([1.0, float("nan")]), "b": torch.tensor([float("inf")]), "c": torch.ones(2)})
    'NaN in a and 1 more'
    """
    found = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if not found:
        return None
    kind = "NaN" if tensors[found[0]].isnan().any() else "infinity"
    return f"{kind} in {found[0]}{f' and {len(found) - 1} more' if found[1:] else ''}"


def read_text(path: Path, most: int = MAX_TEXT, cut: bool = False) -> str:
    """Return the text of a small file beside a file of weights.

    path: the file. most: bytes. cut: Whether the start of a larger file is returned, as of a log.

    Raises ValueError if it has more bytes, or is not UTF-8.
    """
    with path.open("rb") as file:
        data = file.read(most + 1)
    if cut:
        return data[:most].decode(errors="replace")
    if len(data) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return data.decode()
