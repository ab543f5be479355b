"""Settings that a file of weights does not hold: from options, a configuration in the file, or one beside it."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from models.errors import ConfigError

logger = logging.getLogger("models")

# What a setting is called here, in third-party configurations, and on our command lines.
NAMES: dict[str, tuple[str, ...]] = {
    "model": ("model_type", "model_name"),
    "num_heads": ("heads", "n_heads", "num_attention_heads"),
    "alpha": (),
    "c": (),
    "activation": ("hidden_act",),
    "norm": (),
    "norm_eps": ("layer_norm_eps",),
    "max_len": ("max_seq_length", "maxlen", "history_max", "MAX_ITEM_LIST_LENGTH", "sequence_length"),
    "positions": (),
    "attention": (),
    "bands": (),
    "global_ratio": (),
    "spatial_ratio": (),
}
OPTIONS = {"model": "--model", "num_heads": "--heads", "alpha": "--alpha", "c": "--c"}
DATASET_NAMES = ("data_name", "dataset")


def option(name: str) -> str:
    """Return what to type for a setting."""
    return OPTIONS.get(name, f"--set {name}=")


def canonical(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings under our names, without those that are None; raises ConfigError for unknown ones."""
    own = {alias: name for name, aliases in NAMES.items() for alias in (name, *aliases)}
    chosen = {key: value for key, value in given.items() if value is not None}
    if unknown := [key for key in chosen if key not in own]:
        raise ConfigError(f"there is no setting {', '.join(unknown)}; there are {', '.join(NAMES)}")
    return {own[key]: value for key, value in chosen.items()}


@dataclass(frozen=True)
class Source:
    """A configuration, and where it is from."""

    where: str
    values: Mapping[str, Any]

    def get(self, name: str) -> Any:
        """Return the value of a setting under any of its names, None if it is not there."""
        found = (self.values.get(key) for key in (name, *NAMES[name]))
        return next((value for value in found if isinstance(value, str | int | float)), None)


@dataclass
class Settings:
    """The settings of one file, as its format asks for them; what is missing is said all at once.

    Attributes:
        path: Of the file, for messages.
        title: What the file is, for messages.
        given: Options, under our names.
        sources: Configurations, in the order in which they are asked.
        fallback: Values for what no configuration says.
    """

    path: str
    title: str
    given: Mapping[str, Any]
    sources: list[Source]
    fallback: Mapping[str, Any] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    _missing: dict[str, str] = field(default_factory=dict)
    _said: list[str] = field(default_factory=list)

    def need(self, name: str, kind: Callable[[Any], Any], allowed: str) -> Any:
        """Return a setting that has no default; where it is missing, `check` will say so, with what is allowed."""
        value = self._find(name, kind)
        if value is None:
            self._missing[name] = allowed
        return value

    def default(self, name: str, kind: Callable[[Any], Any], value: Any, why: str) -> Any:
        """Return a setting, or a default that is said together with its reason."""
        found = self._find(name, kind)
        if found is not None:
            return found
        self._said.append(f"{name} {value} by default ({why})")
        return value

    def note(self, text: str) -> None:
        """Say something about the file when it is opened."""
        self._said.append(text)

    def check(self) -> None:
        """Raise ConfigError if settings are missing or have no meaning for the file; else say where they are from."""
        if self._missing:
            wanted = "; ".join(f"{option(name)} ({allowed})" for name, allowed in self._missing.items())
            raise ConfigError(
                f"{self.path}: is {self.title}, but neither the file nor a configuration beside it says all that is "
                f"needed; give {wanted}"
            )
        if strange := [option(name).rstrip("=") for name in self.given if name not in {*self.used, "model"}]:
            raise ConfigError(f"{self.path}: is {self.title}, which has no {', '.join(strange)}")
        logger.warning("note: %s: %s", self.path, "; ".join([self.title, *self._said]))

    def _find(self, name: str, kind: Callable[[Any], Any]) -> Any:
        self.used.add(name)
        if name in self.given:
            return self._read(name, self.given[name], kind, option(name).rstrip("="))
        for source in self.sources:
            if (value := source.get(name)) is not None:
                read = self._read(name, value, kind, f"{name} in {source.where}")
                self._said.append(f"{name} {read} from {source.where}")
                return read
        if self.fallback.get(name) is not None:
            return self._read(name, self.fallback[name], kind, option(name).rstrip("="))
        return None

    def _read(self, name: str, value: Any, kind: Callable[[Any], Any], where: str) -> Any:
        try:
            return kind(value)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.path}: {where}: {error}") from error


def one_of(*allowed: str) -> Callable[[Any], str]:
    """Return a reader of a word; case, hyphens and underscores do not matter."""

    def read(value: Any) -> str:
        by_plain = {plain(word): word for word in allowed}
        if plain(str(value)) not in by_plain:
            raise ValueError(f"must be one of {', '.join(allowed)}, got {value!r}")
        return by_plain[plain(str(value))]

    return read


def whole(value: Any) -> int:
    """Read a whole number."""
    number = real(value)
    if not number.is_integer():
        raise ValueError(f"must be a whole number, got {value!r}")
    return int(number)


def real(value: Any) -> float:
    """Read a number."""
    if isinstance(value, bool):
        raise ValueError(f"must be a number, got {value!r}")
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"must be a number, got {value!r}") from None


def plain(word: str) -> str:
    """Return a name as it is compared: SASRec, sas-rec and sas_rec are one."""
    return word.lower().replace("-", "").replace("_", "")
