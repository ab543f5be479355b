"""Models that are saved in several files or in a folder, as accelerate and `save_pretrained` do.

An index (`model.safetensors.index.json`) says which file has which tensor. Only files in the folder of the index are
opened, whatever it names.
"""

import json
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from models.errors import CheckpointError
from models.safe_load import read_tensors

INDEX = ".index.json"
LARGEST_INDEX = 1 << 20  # bytes
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in a folder, these come before files of other names
_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.\w+)")


def read_model_file(path: str | Path) -> tuple[Any, Path]:
    """Return the content of a checkpoint, and the file whose name and neighbours belong to it.

    path: a file of `models.safe_load.read_tensors`; one of several shards whose index is beside it; an index; or a
    folder with an index or one file of weights.

    Raises CheckpointError for a folder with no or several such files, a shard without its index, an index that does
    not fit its shards, and as `read_tensors` does; OSError if a file cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        path = _in_folder(path)
    if path.name.endswith(INDEX):
        return {"state_dict": _read_shards(path)}, path
    if shard := _SHARD.fullmatch(path.name):
        index = path.with_name(f"{shard[1]}{shard[4]}{INDEX}")
        if not index.is_file():
            raise CheckpointError(
                f"{path}: is part {int(shard[2])} of {int(shard[3])}; its index {index.name} is not beside it"
            )
        return {"state_dict": _read_shards(index)}, index
    return read_tensors(path), path


def _in_folder(folder: Path) -> Path:
    files = sorted(file for file in folder.iterdir() if file.is_file())
    indices = [file for file in files if file.name.endswith(INDEX)]
    usual = [file for file in files if file.name in _WEIGHTS]
    found = indices or usual or [file for file in files if file.suffix in _ENDINGS]
    if len(found) == 1:
        return found[0]
    if not found:
        raise CheckpointError(f"{folder}: is a folder without a file of weights; name the file of a checkpoint")
    raise CheckpointError(f"{folder}: is a folder; name one of {', '.join(file.name for file in found)} in it")


def _read_shards(index: Path) -> dict[str, Tensor]:
    """Return the tensors of all shards of an index."""
    where = _weight_map(index)
    state: dict[str, Tensor] = {}
    for name in dict.fromkeys(where.values()):
        shard = index.with_name(name)
        if not shard.is_file():
            raise CheckpointError(f"{index}: names the shard {name}, which is not beside it")
        content = read_tensors(shard)
        tensors = content["state_dict"] if shard.suffix == ".safetensors" else content
        wanted = [key for key, file in where.items() if file == name]
        if not isinstance(tensors, dict) or (missing := [k for k in wanted if not isinstance(tensors.get(k), Tensor)]):
            lacking = "no state_dict" if not isinstance(tensors, dict) else f"no tensor {missing[0]}"
            raise CheckpointError(f"{shard}: holds {lacking}, which {index.name} says it does")
        state |= {key: tensors[key] for key in wanted}
    return state


def _weight_map(index: Path) -> dict[str, str]:
    """Return the name of the shard of each tensor."""
    try:
        with index.open("rb") as file:
            text = file.read(LARGEST_INDEX + 1)
        content = json.loads(text) if len(text) <= LARGEST_INDEX else None
    except (ValueError, RecursionError):
        content = None
    where = content.get("weight_map") if isinstance(content, dict) else None
    if (
        not isinstance(where, dict)
        or not where
        or not all(isinstance(name, str) and name and Path(name).name == name for name in where.values())
    ):
        raise CheckpointError(
            f"{index}: is no index of shards; expected JSON of at most 1 MiB with a 'weight_map' from the names of "
            "tensors to files in the same folder"
        )
    return where
