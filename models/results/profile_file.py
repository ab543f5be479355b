"""How a file of config/, and what --config says, become a profile.

Light to import like `models.results.profile`: it needs neither torch nor pandas.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from models.errors import ConfigError
from models.results.profile import VARIED_SETTINGS, Block, Profile, Remedies, Sensitivity, merged

_OWN = {"file", "known_profiles", "root"}  # fields that are not settings
_REQUIRED = {item.name for item in fields(Profile)} - {
    "remedies",
    "dataset_settings",
    "checkpoints",
    "data_dir",
    "block",
    "missing",
    *_OWN,
}


def read_profile(given: Mapping[str, Any], root: str | Path = ".") -> Profile:
    """Return a profile of <root>/config, by default `quick`; given keys override those of the file.

    given: settings as Snakemake's --config has them. Mappings are merged key by key, and numbers may be text.

    Raises ConfigError for unknown keys and wrong values; the message names file and key.
    """
    files = {path.stem: path for path in sorted(Path(root, "config").glob("*.yaml"))}
    name = given.get("profile", "quick")
    if name not in files:
        raise ConfigError(
            f"unknown profile {name!r}; expected one of {', '.join(files) or 'those in config/ of the repository'}"
        )
    file = f"config/{name}.yaml"
    content = yaml.safe_load(files[name].read_text(encoding="utf-8"))
    settable = {item.name for item in fields(Profile)} - _OWN
    _refuse_unknown([*content, *given], settable, f"{file} or --config")
    settings = merged(content, given)
    for key in (
        "training",
        "model_settings",
        "dataset_settings",
        "checkpoints",
        "variants",
        "sensitivity",
        "seeds",
        "seed",
        "block",
    ):
        if key in settings:
            settings[key] = _with_numbers(settings[key])
    settings["dataset"] = str(settings["dataset"])
    settings["sensitivity"] = _sensitivity(settings.get("sensitivity"), file)
    settings["remedies"] = _remedies(settings.get("remedies", {}), file)
    settings["run_list"] = [_block(block, number, file) for number, block in enumerate(settings["run_list"], start=1)]
    lacking = [item.name for item in fields(Profile) if item.name not in settings and item.name in _REQUIRED]
    if lacking:
        raise ConfigError(f"{file}: lacks {', '.join(lacking)}")
    return Profile(**settings, file=f"{file} or --config", known_profiles=tuple(files), root=str(root))


def _refuse_unknown(given: Iterable[str], known: Iterable[str], where: str) -> None:
    known = sorted(known)
    if unknown := [key for key in given if key not in known]:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; expected one of {', '.join(known)}")


def _sensitivity(given: Any, file: str) -> Sensitivity:
    keys = [item.name for item in fields(Sensitivity)]
    if not isinstance(given, dict) or sorted(given) != sorted(keys):
        _refuse_unknown(given if isinstance(given, dict) else [], keys, f"{file}, sensitivity")
        raise ConfigError(f"{file}, sensitivity: needs {', '.join(keys)}")
    for setting in VARIED_SETTINGS:
        values = given[setting]
        if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
            raise ConfigError(
                f"{file}, sensitivity, {setting}: needs a list of numbers, as in --config "
                f"'sensitivity={{{setting}: [1, 3]}}', got {values!r}"
            )
    return Sensitivity(**given)


def _remedies(given: Any, file: str) -> Remedies:
    keys = [item.name for item in fields(Remedies)]
    if not isinstance(given, dict):
        raise ConfigError(f"{file}, remedies: needs {', '.join(keys)}")
    _refuse_unknown(given, keys, f"{file}, remedies")
    for key, value in given.items():
        if not (_is_list(value) or (key == "datasets" and value is None)):
            raise ConfigError(f"{file}, remedies, {key}: must be a list, got {value!r}")
    return Remedies(**given)


def _block(given: Any, number: int, file: str) -> Block:
    keys = [item.name for item in fields(Block)]
    if not isinstance(given, dict) or sorted(given) != sorted(keys) or not all(map(_is_list, given.values())):
        raise ConfigError(f"{file}, run_list, block {number}: needs {', '.join(keys)}, each a list")
    return Block(**given)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _with_numbers(value: Any) -> Any:
    """Return a setting with text that is a number converted.

    Numbers can be text because --config does not convert those inside a mapping, and YAML does not convert 1e-3.
    """
    if isinstance(value, dict):
        return {key: _with_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_numbers(inner) for inner in value]
    for convert in (int, float, yaml.safe_load) if isinstance(value, str) else ():
        try:
            return convert(value)
        except ValueError:
            continue
    return value
