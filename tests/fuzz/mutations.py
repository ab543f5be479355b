"""Mutations of files: of their bytes, of the pickle within, of the values that they were saved from, of their text."""

import copy
import io
import math
import pickle
import pickletools
import random
import re
import zipfile
from collections.abc import Callable
from typing import Any

import torch
from origins import Origin

ODD: tuple[Any, ...] = (
    *(0, -1, 1, 3, 255, 2**31 - 1, 2**31, -(2**63), 2**63, 2**70, 10**8, 10**400, 0.5, -0.0, 1e308, math.nan, math.inf),
    *("", "x", "x" * 5000, "\x1b[2J\x07", "\x00", "a\nb", "é\ud800", "1e999", "/dev/zero", "/etc/passwd", "../up"),
    *(None, True, [], {}, [[]], (), b"", b"\xff" * 9, {"a": {"b": 1}}, [1] * 1000, "sasrec", "synthetic", "ml-100k"),
)
SHAPES = ((), (0,), (1,), (0, 5), (3, 0, 2), (7,), (2, 3), (61, 16), (1, 1, 16), (1,) * 20)
DTYPES = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.bool, torch.complex64)
# Instructions that would run, change or repeat something, if the machine that reads them did.
SNIPPETS = (
    *(
        b"cos\nmkdir\n(V{canary}\ntR",
        b"cbuiltins\neval\n(Vopen('{canary}', 'w')\ntR",
        b"csubprocess\nPopen\n(]Vtrue\natR",
    ),
    *(b"ctorch._utils\n_rebuild_tensor_v2\n(N}Vneg\nI01\nstb", b"ctorch\nload\n(V{canary}\ntR", b"cbuiltins\nopen\n"),
    *(
        b"(Vmodule\nctorch\nTensor\nVx\nVy\ntQ",
        b"Pmodule\n",
        b"0",
        b"2",
        b"b",
        b"R",
        b"\x81",
        b"(",
        b"1",
        b"h\x00",
        b"q\x00",
    ),
    *(b"r\xff\xff\xff\x7f", b"j\xff\xff\xff\xff", b"\x8b\xff\xff\xff\x7f", b"T\xff\xff\xff\x7f", b"\x8d" + b"\xff" * 8),
    *(b"]h\x00a", b"}", b"N", b"\x88", b"I9999999999999999999\n", b"\x82\x01", b"G\x7f\xf0\0\0\0\0\0\0", b"\x97", b"."),
)

Change = Callable[[random.Random, bytes], bytes]


def mutated(origin: Origin, random_: random.Random, canary: str) -> dict[str, bytes]:
    """Return the files of an origin with one of them changed."""
    if origin.content is not None and random_.random() < 0.4:
        return {**origin.files, origin.opened: origin.save(change_values(origin.content, random_))}
    name = random_.choice(list(origin.files))
    data = origin.files[name]
    for _ in range(random_.choice((1, 1, 2, 4))):
        data = random_.choice(_changes(name, data, canary))(random_, data)
    return {**origin.files, name: data}


def _changes(name: str, data: bytes, canary: str) -> list[Change]:
    if data[:2] == b"PK" and not name.endswith(".parquet"):
        return [
            change_bytes,
            change_bytes,
            in_zip(change_bytes),
            in_zip(inject(canary)),
            in_zip(inject(canary)),
            repack,
        ]
    if data[:1] == pickle.PROTO:
        return [change_bytes, inject(canary)]
    if name.endswith((".parquet", ".safetensors")):
        return [change_bytes, change_start]
    return [change_bytes, change_text, change_text, change_lines]


def change_bytes(random_: random.Random, data: bytes) -> bytes:
    """Flip, replace, remove, repeat, insert or cut off some bytes."""
    if not data:
        return random_.randbytes(random_.randint(0, 64))
    start = min(int(random_.expovariate(8 / len(data))), len(data) - 1) if random_.random() < 0.5 else None
    start = random_.randrange(len(data)) if start is None else start
    end = min(start + random_.choice((1, 1, 2, 4, 8, 64, 1000)), len(data))
    kind = random_.randrange(7)
    if kind == 0:
        return data[:start] + bytes([data[start] ^ (1 << random_.randrange(8))]) + data[start + 1 :]
    if kind == 1:
        return data[:start] + random_.randbytes(end - start) + data[end:]
    if kind == 2:
        return data[:start] + random_.choice((b"\x00", b"\xff", b"\x7f", b"9")) * (end - start) + data[end:]
    if kind == 3:
        return data[:start] + data[end:]
    if kind == 4:
        return data[:end] + data[start:end] * random_.choice((1, 2, 50)) + data[end:]
    if kind == 5:
        other = random_.randrange(len(data))
        return data[:start] + data[other : other + end - start] + data[end:]
    return data[:start]


def change_start(random_: random.Random, data: bytes) -> bytes:
    """Change the first bytes only: the list of tensors of safetensors, or the end of Parquet, which is its list."""
    if data[:4] == b"PAR1":
        return data[:-600] + change_bytes(random_, data[-600:])
    return change_bytes(random_, data[:3000]) + data[3000:]


def inject(canary: str) -> Change:
    """Return a change that puts an instruction into a pickle, or takes one out."""

    def change(random_: random.Random, data: bytes) -> bytes:
        try:
            places = [place for _, _, place in pickletools.genops(data) if place is not None]
        except Exception:  # a pickle that was changed before
            places = list(range(len(data)))
        if len(places) < 2:
            return change_bytes(random_, data)
        first = random_.randrange(len(places) - 1)
        if random_.random() < 0.25:
            last = min(first + random_.randint(1, 3), len(places) - 1)
            return data[: places[first]] + data[places[last] :]
        snippet = random_.choice(SNIPPETS).replace(b"{canary}", canary.encode()) * random_.choice((1, 1, 1, 3, 2000))
        return data[: places[first]] + snippet + data[places[first] :]

    return change


def in_zip(change: Change) -> Change:
    """Return a change of the pickle within a zip file, which stays whole."""

    def within(random_: random.Random, data: bytes) -> bytes:
        try:
            parts = _parts(data)
        except Exception:  # a zip file that was changed before
            return change_bytes(random_, data)
        for name in parts:
            if name.endswith("data.pkl"):
                parts[name] = change(random_, parts[name])
        return _zipped(parts)

    return within


def repack(random_: random.Random, data: bytes) -> bytes:
    """Remove, rename, resize, repeat or compress parts of a zip file."""
    try:
        parts = _parts(data)
    except Exception:  # a zip file that was changed before
        return change_bytes(random_, data)
    name = random_.choice(list(parts))
    kind = random_.randrange(5)
    if kind == 0:
        del parts[name]
    elif kind == 1:
        parts = {
            random_.choice((f"x{key}", key.upper(), f"../{key}")) if key == name else key: parts[key] for key in parts
        }
    elif kind == 2:
        parts[name] = parts[name][: random_.randint(0, len(parts[name]))] + bytes(random_.choice((0, 1, 4096)))
    elif kind == 3:
        parts["archive/extra/" * 3 + name] = bytes(10)
    return _zipped(parts, zipfile.ZIP_DEFLATED if kind == 4 else zipfile.ZIP_STORED)


def _parts(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zipped(parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, part in parts.items():
            archive.writestr(zipfile.ZipInfo(name), part, compression)  # without the time of now
    return buffer.getvalue()


def change_text(random_: random.Random, data: bytes) -> bytes:
    """Replace a word or a number of a text by an odd one."""
    words = list(re.finditer(rb"[\w.+-]+|[^\w\s]", data))
    if not words:
        return change_bytes(random_, data)
    word = random_.choice(words)
    odd = random_.choice(ODD)
    text = (odd if isinstance(odd, str) else str(odd) if not isinstance(odd, bytes) else "\xff").encode(
        errors="replace"
    )
    depth = random_.choice((1, 1, 1, 1, 3000))
    return data[: word.start()] + text * depth + data[word.end() :]


def change_lines(random_: random.Random, data: bytes) -> bytes:
    """Remove, repeat, or move lines of a text."""
    lines = data.splitlines(keepends=True)
    if not lines:
        return change_bytes(random_, data)
    place = random_.randrange(len(lines))
    kind = random_.randrange(3)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines[place] *= random_.choice((2, 2, 500))
    else:
        lines.insert(random_.randrange(len(lines)), lines.pop(place))
    return b"".join(lines)


def change_values(content: Any, random_: random.Random) -> Any:
    """Return a copy of nested values with one of them replaced, removed or renamed."""
    changed = copy.deepcopy(content)
    for _ in range(random_.choice((1, 1, 1, 2, 5))):
        inner, key = changed, None
        while isinstance(inner, dict | list) and len(inner):
            outer, key = inner, random_.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
            inner = outer[key]
            if random_.random() < 0.1:
                break
        if key is None:
            continue
        kind = random_.randrange(6)
        if kind == 0:
            del outer[key]
        elif kind == 1 and isinstance(outer, dict):
            outer[random_.choice((f"{key}x", f"{str(key)[:-1]}", str(key).replace("0", "1000000000"), 5))] = outer.pop(
                key
            )
        elif isinstance(inner, torch.Tensor):
            outer[key] = _changed_tensor(random_, inner)
        else:
            outer[key] = random_.choice(ODD)
    return changed


def _changed_tensor(random_: random.Random, tensor: torch.Tensor) -> Any:
    kind = random_.randrange(7)
    if kind == 0:
        return random_.choice(ODD)
    if kind == 1:
        return torch.ones(random_.choice(SHAPES), dtype=random_.choice((tensor.dtype, *DTYPES)))
    if kind == 2:
        return (tensor.abs() if tensor.is_complex() else tensor).to(random_.choice(DTYPES))
    if kind == 3:
        return tensor[: random_.randint(0, len(tensor))] if tensor.ndim else tensor[None]
    if kind == 4:
        return torch.full_like(tensor, random_.choice((0, 1, 100)))
    if kind == 5:
        return tensor.transpose(0, -1).contiguous() if tensor.ndim else tensor
    return torch.cat([tensor, tensor]) if tensor.ndim else tensor
