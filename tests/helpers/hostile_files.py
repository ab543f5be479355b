"""Files that try to run code, to write, to outgrow the memory, or to take forever; each kind is a function."""

import copy
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from third_party_states.recbole import sasrec_state

Maker = Callable[[Path, Path], Path]  # a folder of its own, a good checkpoint -> the file to open
KINDS: dict[str, tuple[str, Maker]] = {}  # by name: what the message says, and the maker
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def kind(says: str) -> Callable[[Maker], Maker]:
    def add(make: Maker) -> Maker:
        KINDS[make.__name__] = says, make
        return make

    return add


def zipped(data: bytes, storages: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip file as torch.save writes it, of a pickle and storages."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("a/data.pkl", data)
        archive.writestr("a/byteorder", "little")
        for key, storage in (storages or {}).items():
            archive.writestr(f"a/data/{key}", storage)
        archive.writestr("a/version", "3\n")
    return buffer.getvalue()


def legacy(data: bytes) -> bytes:
    """Return a file of the older format, without storages."""
    machine = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    return b"".join([*(pickle.dumps(part, 2) for part in (MAGIC, VERSION, machine)), data, pickle.dumps([], 2)])


def value(plain: Any) -> bytes:
    """Return instructions that put a plain value on the stack."""
    return pickle.dumps(plain, 2)[2:-1]


def tensor(count: int, size: tuple[int, ...], stride: tuple[int, ...], key: str = "0", offset: int = 0) -> bytes:
    """Return instructions for a tensor of float32 in a storage of `count` numbers."""
    storage = b"(" + value("storage") + b"ctorch\nFloatStorage\n" + value(key) + value("cpu") + value(count) + b"tQ"
    return REBUILD + b"(" + storage + value(offset) + value(size) + value(stride) + b"\x89}tR"


def state_dict(*tensors: bytes) -> bytes:
    return b"\x80\x02}(" + b"".join(value(f"a.{place}") + one for place, one in enumerate(tensors)) + b"u."


def write(folder: Path, data: bytes, name: str = "a.pt") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


@kind("would run code when read; it was not executed")
def calls_a_function(folder: Path, good: Path) -> Path:
    return write(folder, zipped(b"\x80\x02cos\nmkdir\n" + value((str(folder / "ran"),)) + b"R."))


@kind("would run code when read; it was not executed")
def calls_a_function_in_the_older_format(folder: Path, good: Path) -> Path:
    return write(folder, legacy(b"\x80\x02cos\nmkdir\n" + value((str(folder / "ran"),)) + b"R."))


@kind("it changes a Global")
def changes_the_defaults_of_a_function(folder: Path, good: Path) -> Path:
    return write(folder, zipped(b"\x80\x02" + REBUILD + value((None, {"__defaults__": ({"neg": True},)})) + b"b."))


@kind("refers to something that is not the storage")
def writes_a_patch_of_a_module(folder: Path, good: Path) -> Path:
    stored = b"(" + value("module") + REBUILD + value("x\ntext\n") + value("y") + b"tQ"
    return write(folder, legacy(b"\x80\x02" + stored + b"."))


@kind("tensors are larger than the file")
def repeats_a_row_without_end(folder: Path, good: Path) -> Path:
    data = state_dict(tensor(16, (200_000_000, 16), (0, 1)))
    return write(folder, zipped(data, {"0": bytes(64)}))


@kind("tensors are larger than the file")
def has_a_storage_larger_than_the_file(folder: Path, good: Path) -> Path:
    return write(folder, zipped(state_dict(tensor(2**40, (4,), (1,))), {"0": bytes(64)}))


@kind("tensors are larger than the file")
def has_many_views_of_one_storage(folder: Path, good: Path) -> Path:
    views = (tensor(2**18, (2**18,), (1,)) for _ in range(200))
    return write(folder, zipped(state_dict(*views), {"0": bytes(2**20)}))


@kind("larger than its storage")
def has_a_tensor_beyond_its_storage(folder: Path, good: Path) -> Path:
    return write(folder, zipped(state_dict(tensor(16, (4, 4), (4, 1), offset=1)), {"0": bytes(64)}))


@kind("larger than the file")
def has_an_empty_tensor_with_an_endless_axis(folder: Path, good: Path) -> Path:
    return write(folder, zipped(state_dict(tensor(0, (0, 2**40), (1, 1))), {"0": b""}))


@kind("more than 20,000 tensors")
def has_a_tensor_for_every_name(folder: Path, good: Path) -> Path:
    return write(folder, zipped(state_dict(*[tensor(1, (1,), (1,))] * 20_001), {"0": bytes(4)}))


@kind("compressed archive")
def unpacks_to_gigabytes(folder: Path, good: Path) -> Path:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("a/data.pkl", "w") as member:
            for _ in range(64):
                member.write(bytes(1 << 20))
        archive.writestr("a/version", "3\n")
    return write(folder, buffer.getvalue())


@kind("its parts are larger than the file")
def has_parts_that_overlap(folder: Path, good: Path) -> Path:
    data = zipped(state_dict(*(tensor(2**16, (2**16,), (1,), str(key)) for key in range(2))), dict.fromkeys("01", b""))
    changed = bytearray(data)
    for name in (b"a/data/0", b"a/data/1"):  # both are said to be the whole file
        entry = changed.rindex(b"PK\x01\x02", 0, changed.rindex(name))
        struct.pack_into("<II", changed, entry + 20, len(data), len(data))
    return write(folder, bytes(changed))


@kind("two parts of one name")
def has_two_parts_of_one_name(folder: Path, good: Path) -> Path:
    return write(folder, zipped(state_dict(), {"0": b"", "1": b""}).replace(b"a/data/1", b"a/data/0"))


@kind("levels deep")
def is_nested_deeply(folder: Path, good: Path) -> Path:
    return write(folder, zipped(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."))


@kind("values")
def doubles_a_list_again_and_again(folder: Path, good: Path) -> Path:
    doubled = b"".join(b"q%c]h%ch%c\x86a" % (place, place, place) for place in range(60))
    return write(folder, zipped(b"\x80\x02]" + doubled + b"."))


@kind("holds itself")
def holds_itself(folder: Path, good: Path) -> Path:
    return write(folder, zipped(b"\x80\x02]q\x00h\x00a."))


@kind("copies its values again and again")
def copies_a_list_again_and_again(folder: Path, good: Path) -> Path:
    items = value(list(range(1000)))
    return write(folder, zipped(b"\x80\x02" + items + b"q\xc8" + b"c__builtin__\nset\nh\xc8\x85R0" * 2_000 + b"."))


@kind("copies its values again and again")
def encodes_a_text_again_and_again(folder: Path, good: Path) -> Path:
    text = value("x" * 2**20)
    call = b"c_codecs\nencode\nh\xc8" + value("latin1") + b"\x86R"
    return write(folder, zipped(b"\x80\x02" + text + b"q\xc8" + b"(" + call * 1000 + b"l."))


@kind("more than 1,000,000 values")
def has_instructions_without_end(folder: Path, good: Path) -> Path:
    return write(folder, zipped(b"\x80\x02(" + b"N" * 1_000_001 + b"l."))


@kind("more than 512 bits")
def has_an_endless_number(folder: Path, good: Path) -> Path:
    return write(folder, zipped(pickle.dumps({"seed": 1 << 100_000}, 2)))


@kind("a name of 5000 characters")
def has_an_endless_name(folder: Path, good: Path) -> Path:
    return write(folder, zipped(pickle.dumps({"a" * 5000: 1}, 2)))


@kind("")
def has_a_name_of_control_characters(folder: Path, good: Path) -> Path:
    torch.save({f"{key}\x1b]0;title\x07\n": value for key, value in sasrec_state().items()}, folder / "a.pt")
    return folder / "a.pt"


@kind("looks like .* of RecBole, but its keys differ")
def has_a_layer_of_an_endless_number(folder: Path, good: Path) -> Path:
    key = "trm_encoder.layer.0.feed_forward.dense_1.weight"
    renamed = {(k.replace(".0.", ".1000000000.") if k == key else k): v for k, v in sasrec_state().items()}
    torch.save(renamed, folder / "a.pt")
    return folder / "a.pt"


@kind("a matrix is needed")
def has_a_number_for_a_table(folder: Path, good: Path) -> Path:
    torch.save(sasrec_state() | {"item_embedding.weight": torch.tensor(1.0)}, folder / "a.pt")
    return folder / "a.pt"


@kind("is damaged")
def has_one_bit_turned(folder: Path, good: Path) -> Path:
    damaged = bytearray(good.read_bytes())
    damaged[damaged.rfind(b"PK\1\2") + 2] ^= 4
    return write(folder, bytes(damaged))


@kind("its name says so")
def has_the_name_of_another_format(folder: Path, good: Path) -> Path:
    return write(folder, good.read_bytes(), "a.safetensors")


@kind("is not a regular file")
def is_a_pipe(folder: Path, good: Path) -> Path:
    os.mkfifo(folder / "a.pt")
    return folder / "a.pt"


def own(says: str, *place: str, value: Any) -> None:
    """Add a checkpoint of this toolkit with one value replaced."""

    def make(folder: Path, good: Path) -> Path:
        content = copy.deepcopy(torch.load(good, weights_only=True))
        *outer, last = place
        inner = content
        for key in outer:
            inner = inner[key]
        inner[last] = value(inner.get(last)) if callable(value) else value
        torch.save(content, folder / "a.pt")
        return folder / "a.pt"

    KINDS[f"own: {'.'.join(place)}, {says[:40]}"] = says, make


own("format version 0", "format_version", value=0)
own("format version True", "format_version", value=True)
own("a int instead of a tensor", "state_dict", "norm.weight", value=5)
own("instead of torch.float32", "state_dict", "norm.weight", value=lambda weight: weight.double())
own("has shape", "state_dict", "norm.weight", value=lambda weight: weight[:3])
own("weights are not finite", "state_dict", "items.weight", value=lambda weight: weight * torch.nan)
own("weights are not finite", "state_dict", "norm.bias", value=lambda weight: weight + torch.inf)
own("larger model than its", "config", "num_layers", value=10**7)
own("larger model than its", "config", "num_items", value=10**8)
own("does not describe a model|larger model", "config", "max_len", value=2**40)
own("does not describe a model", "config", "hidden_size", value=-1)
own("does not describe a model", "config", "unknown", value=1)
own("a list instead of a number or text", "config", "dropout", value=[0.5])
own("is no file of sequences", "dataset", "source", value="/dev/zero")
own("is no file of sequences", "dataset", "source", value="//dev/../dev/./stdin")
own("is not opened without being named", "dataset", "source", value="/etc/passwd")
own("is not opened without being named", "dataset", "source", value="../../secret")
own("is not opened without being named|unknown", "dataset", "source", value="https://example.org/data")
own("large generated data", "dataset", "source", value="synthetic:users=1000000,items=10")
own("is no text of one line", "dataset", "name", value="\x1b]0;title\x07\x1b[31mred\x1b[2J")
own("is no text of one line", "dataset", "name", value=None)
own("is no count", "dataset", "num_users", value=-5)
own("its best_epoch is none of its history", "metrics", "best_epoch", value=10**6)
own("they are not all numbers", "metrics", "test", value={"HR@5": "high"})
own("seed is a str", "seed", value="42")
own("unknown model", "model", value="../../model")
own("item ids outside", "probe", "input_ids", value=lambda ids: ids + 1000)
own("its probe has other types", "probe", "users", value=lambda users: users.float())
own("its probe has", "probe", "uniform", value=lambda uniform: uniform[:1])


def beside(says: str, name: str, text: str) -> None:
    """Add a good file of weights with a configuration beside it."""

    def make(folder: Path, good: Path) -> Path:
        torch.save(sasrec_state(), folder / "a.pt")
        (folder / name).write_text(text)
        return folder / "a.pt"

    KINDS[f"{name}: {len(text)} characters, {text[:12]!r}"] = says, make


_ALIASES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{p: *a{i - 1}, q: *a{i - 1}}}\n" for i in range(1, 45))
_MERGES = "a0: &a0 {x: 1, y: 2}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 45))
beside("config.json cannot be read .*; give --model", "config.json", "[" * 100_000)
beside("a.json: is beside the checkpoint but cannot be read", "a.json", '{"a":' * 100_000)
beside("give --model", "config.yaml", _ALIASES)
beside("config.yaml cannot be read .*takes over more than", "config.yaml", _MERGES)
beside("config.yaml cannot be read", "config.yaml", "heads: !!bool perhaps")
beside("config.yaml cannot be read .*more than 131,072 bytes", "config.yaml", "- a\n" * 200_000)
beside("config.json cannot be read .*more than 1,048,576 bytes", "config.json", " " * 2**21 + "{}")
beside("give --model", "args.txt", "Namespace(" + "a." * 50_000 + "b)")
beside("give --model", "args.txt", "Namespace(" * 100_000)
beside("give --model", "args.txt", "Namespace(a='" + "\\'" * 500_000)
beside(
    "and others, and one of them has to be chosen",
    "args.txt",
    "".join(f"Namespace(n_heads={i})\n" for i in range(50_000)),
)
beside("must be a whole number|give --model", "args.json", json.dumps({"n_heads": 10**400}))
beside("give --model", "config.json", json.dumps({"model": "\x1b[2J", "n_heads\x1b[2J\n": 2}))
