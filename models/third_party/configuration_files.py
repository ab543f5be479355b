"""Configurations that third-party programs save: inside a file of weights, or in a file beside it."""

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from models.errors import ConfigError
from models.safe_load import StandIn
from models.safe_load.limits import check_extent, read_text
from models.third_party.settings import DATASET_NAMES, NAMES, Source

_KEYS = {*NAMES, *(alias for aliases in NAMES.values() for alias in aliases), *DATASET_NAMES, "norm_first"}
# name=value, with a number, a text in quotes or a name as the value; it takes no longer for longer lines of anything.
_ARGUMENT = re.compile(r"(?<!\w)(\w{1,100})=('[^'\\]{0,1000}'|\"[^\"\\]{0,1000}\"|[-+.\w]{1,100})(?=[,)])")
MAX_YAML = 2**16  # bytes of a configuration in YAML, which takes long to read
INSIDE = ("config", "args", "hparams", "hyper_parameters", "params", "opt")


def inside(content: Mapping[str, Any]) -> list[Source]:
    """Return the configurations inside the content of a file.

    >>> (source,) = inside({"state_dict": {}, "args": {"num_attention_heads": 2, "verbose": True}})
    >>> source.where, source.get("num_heads")
    ("the file's own args", 2)
    """
    found = []
    for key in INSIDE:
        values = _values(content.get(key))
        if values:
            found.append(Source(f"the file's own {key}", _flat(values)))
    return found


def beside(path: Path) -> list[Source]:
    """Return the configurations in the folder of a file: those with its name first, then config.json and the like.

    Raises ConfigError if a configuration with the file's own name cannot be read.
    """
    stem = path.with_suffix("")
    own = [stem.with_name(stem.name + suffix) for suffix in (".json", ".yaml", ".yml", ".log", ".txt")]
    shared = [path.parent / name for name in ("config.json", "config.yaml", "config.yml", "args.json", "args.txt")]
    sources = []
    for file in [*own, *shared]:
        if file.is_file() and file != path and (values := _read(file, strict=file in own)):
            sources.append(Source(file.name, values))
    return sources


def _read(file: Path, strict: bool) -> dict[str, Any]:
    try:
        if file.suffix == ".json":
            values = json.loads(read_text(file))
        elif file.suffix in (".yaml", ".yml"):
            values = yaml.safe_load(read_text(file, MAX_YAML))
        else:
            text = read_text(file, cut=True)
            return _flat(_namespace(text) or _lines(text))
        check_extent(values)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        if strict and file.suffix in (".json", ".yaml", ".yml"):
            reason = str(error).splitlines()[0]
            raise ConfigError(f"{file}: is beside the checkpoint but cannot be read ({reason})") from error
        return {}
    return _flat(values) if isinstance(values, dict) else {}


def _namespace(text: str) -> dict[str, Any]:
    """Return the values of the first `Namespace(...)` in a log, as argparse prints it."""
    line = text[text.find("Namespace(") :].partition("\n")[0] if "Namespace(" in text else ""
    values = {}
    for name, value in _ARGUMENT.findall(line[: line.rfind(")") + 1]):
        try:
            values[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):  # no constant
            continue
    return values


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


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of known settings, also from inner dictionaries; outer values have precedence."""
    flat: dict[str, Any] = {}
    for value in values.values():
        if isinstance(value, dict):
            flat = _flat(value) | flat
    flat |= {key: value for key, value in values.items() if key in _KEYS and isinstance(value, str | int | float)}
    first = str(flat.pop("norm_first", "")).lower()
    return ({"norm": {"true": "pre", "false": "post"}[first]} if first in ("true", "false") else {}) | flat
