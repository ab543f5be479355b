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

import yaml
from torch import Tensor

from models.errors import CheckpointError, ConfigError, printable
from models.safe_load import StandIn
from models.safe_load.limits import DAMAGE, MAX_TEXT, read_text
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
MAX_YAML = 1 << 17  # bytes of a configuration in YAML, which takes long to read
MAX_MERGED = 500  # values that a section in YAML may take over from others
MAX_VALUE = 1000  # characters of a setting
MAX_SOURCES = 1000  # configurations in one file
_NAMED = 4  # a message names at most this many values
# What a printed call is made of: texts in quotes, brackets, commas, and whatever is between them.
_TOKEN = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|[()\[\]{},\n'"]|[^()\[\]{},\n'"]+""")

# What names of files have: model.pt, but not h1_alpha0.3; alpha=0.3; alpha0.3, but not alpha0_3, of which nobody knows
# whether it is 0 or 0.3.
_SUFFIX = re.compile(r"(\.[A-Za-z]+)+$")
_PAIR = re.compile(r"([A-Za-z0-9_-]+)=(\d+(?:\.\d+)?|\.\d+|[A-Za-z]+)")
_COUNT = re.compile(r"(?<![^_\-. ])(h|heads?|c)[_-]?(\d+)(?![^_\-. ])", re.IGNORECASE)
_ALPHA = re.compile(r"(?<![^_\-. ])(alpha)[_-]?(\d+\.\d+|\d+(?![_-]\d))(?![^_\-. ])", re.IGNORECASE)
_SHORT = {"h": "num_heads", "heads": "num_heads", "head": "num_heads", "alpha": "alpha", "c": "c"}
_MOST_HEADS = 16  # h128 is a hidden size

# What the shapes of a file show as well, so that a configuration of another file is noticed.
SIZES = {
    "hidden_size": ("hidden_size", "hidden_units", "emb_size", "hidden"),
    "num_layers": ("num_layers", "num_hidden_layers", "n_layers", "num_blocks", "layer"),
    "max_len": ("max_len", "maxlen", "max_seq_length", "max_length", "MAX_ITEM_LIST_LENGTH"),
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
    for sections, container in containers(content):
        for key in INSIDE:
            if key in container:
                sources.append(_source(f"the file's own {key}", _found(_values(container[key]), sections)))
        scalars = {key: value for key, value in container.items() if not isinstance(value, Mapping | StandIn)}
        bare.append(_source("the file itself", _found(scalars, sections)))
        if len(sources) + len(bare := [source for source in bare if source.values or source.conflicts]) > MAX_SOURCES:
            raise CheckpointError(f"the file has more than {MAX_SOURCES} configurations; save only its weights")
    return [source for source in sources + bare if source.values or source.conflicts]


def containers(
    content: Any, sections: tuple[str, ...] = (), depth: int = 0
) -> Iterator[tuple[tuple[str, ...], dict[Any, Any]]]:
    """Yield the dictionaries in the content of a file, outer ones first; not those of weights and optimizers.

    With each are the keys that lead to it, from the dictionary that has the weights, because `alpha` in `loss` is not
    the alpha of the model.

    >>> [(sections, list(container)) for sections, container in containers([{"epoch": 1, "loss": {"alpha": 2}}])]
    [((), ['epoch', 'loss']), (('loss',), ['alpha'])]
    """
    if depth > DEEPEST:
        return
    if isinstance(content, dict):
        if is_state_dict(content) or {"state", "param_groups"} <= content.keys():
            return
        sections = () if any(map(is_state_dict, content.values())) else sections
        yield sections, content
        parts = [((*sections, str(key)), value) for key, value in content.items() if key not in INSIDE]
    else:
        of_list = list(content) if isinstance(content, list | tuple) else []
        # The arguments of a program may be an object beside the weights.
        parts = [(sections, part.attributes if isinstance(part, StandIn) else part) for part in of_list]
    for inner, part in parts:
        if isinstance(part, dict | list | tuple):
            yield from containers(part, inner, depth + 1)


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
    sources = [_read(file, stem.name, strict=file in own) for file in files]
    return [source for source in sources if source.values or source.conflicts or source.fault]


def in_name(path: Path) -> list[Source]:
    """Return what the name of a file says: a model, `head=2`, or settings in the manner of h1_alpha0.3_c7.

    A single h or c may mean anything, and alpha something of a loss. So they count only beside another setting, written
    out ones also beside the name of a model.

    >>> [source.values for source in in_name(Path("BSARec_Beauty_H1_alpha0.3_C7.pt"))]
    [{'num_heads': '1', 'c': '7', 'alpha': '0.3', 'model': 'BSARec'}]
    >>> [source.values for source in in_name(Path("TV-Rec_Beauty_2025-05-01.pt"))]
    [{'model': 'TV-Rec'}]
    >>> in_name(Path("weights_c2.pt"))
    []
    """
    stem = _SUFFIX.sub("", path.name)
    found: list[Found] = [((), own, value) for name, value in _PAIR.findall(stem) if (own := _named(name))]
    models = _models_in(stem)
    short = [(name.lower(), value) for name, value in [*_COUNT.findall(stem), *_ALPHA.findall(stem)]]
    short = [(name, value) for name, value in short if name != "h" or int(value) <= _MOST_HEADS]
    written_out = any(len(name) > 1 for name, _ in short)
    if len({_SHORT[name] for name, _ in short}) > 1 or (written_out and models):
        found += [((), _SHORT[name], value) for name, value in short]
    found += [((), "model", word) for word in models] if len(models) == 1 else []
    source = _source("the file's name", found)
    return [source] if source.values or source.conflicts else []


def _named(name: str) -> str | None:
    """Return our name of a setting in the name of a file, where the name of a model may come before it."""
    words = re.split("[_-]", name.lower())
    known = {alias.lower(): own for alias, own in _OWN.items()}
    splits = (("".join(words[:first]), "_".join(words[first:])) for first in range(len(words)))
    return next((known[last] for before, last in splits if last in known and before in ("", *MODEL_NAMES)), None)


def _models_in(stem: str) -> list[str]:
    """Return the names of models in the name of a file, also with a hyphen, each once."""
    words = re.split(r"[^A-Za-z0-9]+", stem)
    pairs = re.findall(r"(?<![A-Za-z0-9])(?=([A-Za-z0-9]+-[A-Za-z]+)(?![A-Za-z0-9]))", stem)
    return list({plain(word): word for word in [*words, *pairs] if plain(word) in MODEL_NAMES}.values())


def _read(file: Path, stem: str, strict: bool) -> Source:
    """Return the settings in a file, or with `strict` raise ConfigError if it cannot be read."""
    structured = file.suffix in (".json", ".yaml", ".yml")
    most = MAX_YAML if file.suffix in (".yaml", ".yml") else MAX_TEXT
    text, has_more = read_text(file, most)
    if not structured:
        if has_more:
            logger.warning("note: only the first MiB of %s is read", file)
        runs = _runs(text, stem)
        found = [found for number, run in enumerate(runs, 1) for found in _found(run, (f"run {number}",))]
        return _source(file.name, found or _found(_lines(text)))
    try:
        if has_more:
            raise ValueError(f"it has more than {most:,} bytes")
        values = json.loads(text) if file.suffix == ".json" else yaml.load(text, _Yaml)
    except (*DAMAGE, yaml.YAMLError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if strict:
            raise ConfigError(f"{file}: is beside the checkpoint but cannot be read ({reason})") from error
        return Source(file.name, {}, fault=reason)
    return _source(file.name, _found(values) if isinstance(values, dict) else [])


class _Yaml(yaml.SafeLoader):
    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Take over the values of other sections, which can double again and again."""
        own = len(node.value)
        super().flatten_mapping(node)
        if len(node.value) > max(own, MAX_MERGED):
            raise yaml.YAMLError(f"a section takes over more than {MAX_MERGED} values")


def _runs(text: str, stem: str) -> list[dict[str, Any]]:
    """Return the values of each `Namespace(...)` in a log, as argparse prints it; only this file's if they name it."""
    runs, place = [], 0
    while (start := text.find("Namespace(", place)) >= 0:
        run, place = _call(text, start + len("Namespace("))
        if run is not None:
            runs.append(run)
    return [run for run in runs if run.get("train_name") == stem] or runs


def _call(text: str, start: int) -> tuple[dict[str, Any] | None, int]:
    """Return the constants among the arguments of a printed call, None if it is cut off, and the place behind it."""
    values: dict[str, Any] = {}
    argument, depth, place = "", 0, start
    for token in _TOKEN.finditer(text, start):
        word, place = token[0], token.end()
        if word in "\n'\"":  # a text without its end, too
            return None, place
        depth += (word in "([{") - (word in ")]}")
        if depth < 0 or (word == "," and not depth):
            name, _, value = argument.partition("=")
            values |= {name.strip(): constant for constant in _constant(value.strip())}
            argument = ""
            if depth < 0:
                return values, place
        elif len(argument) <= MAX_VALUE:
            argument += word
    return None, place


def _constant(text: str) -> list[Any]:
    """Return the constant that a text is, in a list; an empty list if it is none."""
    if len(text) > MAX_VALUE or (text[:1] not in ("'", '"') and re.search(r"[(\[{]", text)):
        return []
    try:
        return [ast.literal_eval(text)]
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return []


def _lines(text: str) -> dict[str, Any]:
    """Return the values of lines `name,value`, as SASRec.pytorch writes them."""
    pairs = (line.partition(",") for line in text.splitlines())
    return {name.strip(): value.strip() for name, comma, value in pairs if comma and name.strip().isidentifier()}


def _values(config: Any) -> dict[str, Any]:
    """Return the values of a configuration, which is a dictionary, or an object that was read as a stand-in."""
    if isinstance(config, StandIn):
        config = config.attributes
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
        if len(inner) > DEEPEST or _UNUSED_BESIDE.get(name) in values:
            continue
        if isinstance(value, Mapping) and "value" in value and name in _OWN:
            value = value["value"]  # as Weights & Biases keeps them
        if isinstance(value, Tensor) and value.ndim == 0:
            value = value.item()
        if isinstance(value, Mapping | StandIn):
            if id(value) not in seen:
                seen.add(id(value))
                found += _found(_values(value), (*inner, name), seen)
        elif not _is_value(value):
            continue
        elif name == "norm_first" and str(value).lower() in ("true", "false"):
            found.append((inner, "norm", "pre" if str(value).lower() == "true" else "post"))
        elif name in ("name", "_target_", "class_path") and _of_model(inner):
            last = str(value).rpartition(".")[2]
            found += [(inner, "model", last)] if plain(last) in MODEL_NAMES else []
        elif setting := _OWN.get(name) or (_DATASET.get(name) if isinstance(value, str) else None):
            found.append((inner, setting, value))
    return found


def _is_value(value: Any) -> bool:
    """Return whether a value can be that of a setting: a number of 64 bits, or a short text of one line."""
    if isinstance(value, str):
        return len(value) <= MAX_VALUE and value.isprintable()
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)


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
            named = [f"{value} in {printable('.'.join(sections)) or 'it'}" for sections, value in chosen[:_NAMED]]
            conflicts[setting] = " and ".join([*named, *["others"] * (len(chosen) > _NAMED)])
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
