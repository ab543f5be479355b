"""Configurations that third-party programs save: inside a file of weights, beside it, or in its name.

A configuration may have sections, and names such as `alpha` also belong to losses, optimizers and samplers. So a value
counts as the model's if it stands outside of all sections or in one whose name says model; those of losses and
optimizers never count. Values that contradict each other, also in several runs of one log, are not chosen from: the
setting has to be given.
"""

import ast
import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch import Tensor

from models.errors import ConfigError
from models.safe_load import StandIn
from models.third_party.settings import DATASET_NAMES, NAMES, Source, plain, same

logger = logging.getLogger("models")

INSIDE = (
    *("config", "args", "hparams", "hyper_parameters", "params", "opt", "kwargs"),
    *("model_args", "model_config", "model_kwargs", "cfg", "configuration", "settings"),
)
MODEL_NAMES = (
    "sasrec",
    "bsarec",
    "fmlprec",
    "duorec",
    "cl4srec",
    "fearec",
    "bert4rec",
    "gru4rec",
    "caser",
    "s3rec",
    "gsasrec",
    "tvrec",
    "wearec",
    "slime4rec",
    "lowarec",
)
MOST_READ = 1 << 20  # bytes of a file beside the checkpoint

# What the shapes of a file show as well, so that a configuration of another file is noticed.
SIZES = {
    "hidden_size": ("hidden_size", "hidden_units", "emb_size", "hidden"),
    "num_layers": ("num_layers", "num_hidden_layers", "n_layers", "num_blocks", "layer"),
}
_OWN = {alias: name for name, aliases in NAMES.items() for alias in (name, *aliases)}
_OWN |= {alias: name for name, aliases in SIZES.items() for alias in aliases}
_DATASET = dict.fromkeys(DATASET_NAMES, "dataset")
_TRANSPARENT = {*INSIDE, "init_args", "final_config_dict", "value"}  # sections that only wrap what is in them
_MODELS_OWN = re.compile(r"model|net$|network|^arch|encoder|backbone|recommender|" + "|".join(MODEL_NAMES))
_OF_OTHERS = re.compile(r"loss|optim|sched|criterion|augment|regulari|sampler|callback|logger")
# By these a section that is not the model's may mean another thing.
_COMMON_WORDS = ("alpha", "c", "padding", "norm", "attention")
# LoWARec's configurations have both of these, and its model uses only the second.
_UNUSED_BESIDE = {"num_attention_heads": "proj_n_heads"}
DEEPEST = 12  # sections within sections, and containers within the content of a file

Found = tuple[tuple[str, ...], str, Any]  # sections, setting, value


def inside(content: Any) -> list[Source]:
    """Return the configurations inside the content of a file, also in lists, and values beside the weights.

    >>> (source,) = inside([{"args": {"num_attention_heads": 2, "verbose": True}}, {}])
    >>> source.where, source.get("num_heads")
    ("the file's own args", 2)
    """
    sources, bare = [], []
    for container in containers(content):
        for key in INSIDE:
            sources.append(_source(f"the file's own {key}", _found(_values(container.get(key)))))
        scalars = {key: value for key, value in container.items() if not isinstance(value, Mapping | StandIn)}
        bare.append(_source("the file itself", _found(scalars)))
    return [source for source in sources + bare if source.values or source.conflicts]


def containers(content: Any, depth: int = 0) -> Iterator[dict[Any, Any]]:
    """Yield the dictionaries in the content of a file, outer ones first; not those of weights and optimizers.

    >>> [list(container) for container in containers([{"epoch": 1, "nested": {"step": 2}}])]
    [['epoch', 'nested'], ['step']]
    """
    if depth > DEEPEST:
        return
    if isinstance(content, dict):
        if is_state_dict(content) or {"state", "param_groups"} <= content.keys():
            return
        yield content
        parts = [value for key, value in content.items() if key not in INSIDE]
    else:
        parts = list(content) if isinstance(content, list | tuple) else []
    for part in parts:
        if isinstance(part, dict | list | tuple):
            yield from containers(part, depth + 1)


def is_state_dict(value: Any) -> bool:
    """Return whether a value is a dictionary of tensors by name, and not empty."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in value.items())
    )


def beside(path: Path) -> list[Source]:
    """Return the configurations in the folder of a file: those with its name first, then config.json and the like.

    Raises ConfigError if a configuration with the file's own name cannot be read.
    """
    stem = path.with_suffix("")
    own = [stem.with_name(stem.name + suffix) for suffix in (".json", ".yaml", ".yml", ".log", ".txt")]
    shared = [path.parent / name for name in ("config.json", "config.yaml", "config.yml", "args.json", "args.txt")]
    files = [file for file in [*own, *shared] if file.is_file() and file != path]
    sources = [_source(file.name, _read(file, stem.name, strict=file in own)) for file in files]
    return [source for source in sources if source.values or source.conflicts]


def in_name(path: Path) -> list[Source]:
    """Return what the name of a file says: a model, `head=2`, or at least two settings in the manner of h1_alpha0.3_c7.

    >>> [source.values for source in in_name(Path("bsarec_h1_alpha0.3_c7.pt"))]
    [{'num_heads': '1', 'alpha': '0.3', 'c': '7', 'model': 'bsarec'}]
    >>> in_name(Path("weights_c2.pt"))
    []
    """
    pairs = re.findall(r"([A-Za-z_]+)=(\d+(?:\.\d+)?|[A-Za-z]+)", path.name)
    found: list[Found] = [((), _OWN[name], value) for name, value in pairs if name in _OWN]
    short = {"h": "num_heads", "heads": "num_heads", "head": "num_heads", "alpha": "alpha", "c": "c"}
    stem = path.name.removesuffix(path.suffix)
    tokens = re.findall(r"(?<![^_\-. ])(h|heads?|alpha|c)[_-]?(\d+(?:\.\d+)?)(?![^_\-. ])", stem)
    if len({name for name, _ in tokens}) > 1:
        found += [((), short[name], value) for name, value in tokens]
    models = [word for word in re.split(r"[^A-Za-z0-9]+", stem) if plain(word) in MODEL_NAMES]
    found += [((), "model", word) for word in models] if len(models) == 1 else []
    source = _source("the file's name", found)
    return [source] if source.values or source.conflicts else []


def _read(file: Path, stem: str, strict: bool) -> list[Found]:
    with file.open("rb") as opened:
        data = opened.read(MOST_READ + 1)
    text = data[:MOST_READ].decode("utf-8", "replace")
    try:
        if file.suffix not in (".json", ".yaml", ".yml"):
            if len(data) > MOST_READ:
                logger.warning("note: only the first MiB of %s is read", file)
            runs = _runs(text, stem)
            return [found for number, run in enumerate(runs, 1) for found in _found(run, (f"run {number}",))] or _found(
                _lines(text)
            )
        if len(data) > MOST_READ:
            raise ValueError("is larger than 1 MiB")
        values = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        if strict and file.suffix in (".json", ".yaml", ".yml"):
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConfigError(f"{file}: is beside the checkpoint but cannot be read ({reason})") from error
        return []
    return _found(values) if isinstance(values, dict) else []


def _runs(text: str, stem: str) -> list[dict[str, Any]]:
    """Return the values of each `Namespace(...)` in a log, as argparse prints it; only this file's if they name it."""
    runs = []
    for match in re.finditer(r"Namespace\(.*\)", text):
        try:
            call = ast.parse(match[0], mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        keywords = call.keywords if isinstance(call, ast.Call) else ()
        runs.append({k.arg: k.value.value for k in keywords if k.arg and isinstance(k.value, ast.Constant)})
    return [run for run in runs if run.get("train_name") == stem] or runs


def _lines(text: str) -> dict[str, Any]:
    """Return the values of lines `name,value`, as SASRec.pytorch writes them."""
    pairs = (line.partition(",") for line in text.splitlines())
    return {name.strip(): value.strip() for name, comma, value in pairs if comma and name.strip().isidentifier()}


def _values(config: Any) -> dict[str, Any]:
    """Return the values of a configuration, which is a dictionary, or an object that was read as a stand-in."""
    if isinstance(config, StandIn):
        config = vars(config)
        return config | _values(config.get("final_config_dict"))  # where RecBole keeps them
    return {str(key): value for key, value in config.items()} if isinstance(config, dict) else {}


def _found(values: Mapping[Any, Any], sections: tuple[str, ...] = (), seen: set[int] | None = None) -> list[Found]:
    """Return the known settings in a configuration and its sections; `model.alpha` is alpha in the section model.

    seen: the sections that were read, by identity, because aliases in YAML can repeat one without end.
    """
    seen = set() if seen is None else seen
    found: list[Found] = []
    for key, value in values.items():
        *outer, name = re.split(r"[./]", str(key))
        inner = (*sections, *outer)
        if _UNUSED_BESIDE.get(name) in values:
            continue
        if isinstance(value, Mapping) and "value" in value and name in _OWN:
            value = value["value"]  # as Weights & Biases keeps them
        value = _number(value)
        if isinstance(value, Mapping | StandIn):
            if id(value) not in seen and len(inner) < DEEPEST:
                seen.add(id(value))
                found += _found(_values(value), (*inner, name), seen)
        elif not isinstance(value, str | int | float):
            continue
        elif name == "norm_first" and str(value).lower() in ("true", "false"):
            found.append((inner, "norm", "pre" if str(value).lower() == "true" else "post"))
        elif name in ("name", "_target_", "class_path") and _of_model(inner):
            last = str(value).rpartition(".")[2]
            found += [(inner, "model", last)] if plain(last) in MODEL_NAMES else []
        elif setting := _OWN.get(name) or (_DATASET.get(name) if isinstance(value, str) else None):
            found.append((inner, setting, value))
    return found


def _number(value: Any) -> Any:
    """Return a number of numpy as one of Python; a scalar that was read as a stand-in is decoded from its bytes."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, StandIn) and type(value).__name__ == "scalar" and len(value.values) == 2:
        kind, data = value.values
        code = getattr(kind, "values", ("",))[0]
        if isinstance(data, bytes) and re.fullmatch(r"[iuf][1248]", str(code)):
            numbers = np.frombuffer(data, np.dtype(f"<{code}"))
            return numbers[0].item() if len(numbers) == 1 else None
    return value


def _source(where: str, found: list[Found]) -> Source:
    """Choose the value of every setting; `conflicts` are the settings whose values contradict each other."""
    values, conflicts = {}, {}
    for setting in dict.fromkeys(name for _, name, _ in found):
        ranked = [(_rank(sections, name), sections, value) for sections, name, value in found if name == setting]
        best = min(rank for rank, _, _ in ranked)
        chosen = [(sections, value) for rank, sections, value in ranked if rank == best]
        doubtful = best == _ELSEWHERE and setting in _COMMON_WORDS
        if best == _NEVER:
            continue
        if setting not in ("model", "dataset") and (doubtful or not all(same(v, chosen[0][1]) for _, v in chosen)):
            conflicts[setting] = " and ".join(f"{value} in {'.'.join(sections) or 'it'}" for sections, value in chosen)
        else:
            values[setting] = chosen[0][1]
    return Source(where, values, conflicts)


_MODELS, _OUTSIDE, _ELSEWHERE, _NEVER = range(4)


def _rank(sections: tuple[str, ...], setting: str) -> int:
    if any(_OF_OTHERS.search(section.lower()) for section in sections):
        return _OUTSIDE if setting == "dataset" else _NEVER
    if _of_model(sections):
        return _MODELS
    return _OUTSIDE if all(name in _TRANSPARENT or name.startswith("run ") for name in sections) else _ELSEWHERE


def _of_model(sections: tuple[str, ...]) -> bool:
    return any(_MODELS_OWN.search(plain(section)) for section in sections)
