"""Settings that a file of weights does not hold: from options, a configuration in the file, or one beside it."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from models.errors import ConfigError, printable

logger = logging.getLogger("models")

# Our name of each setting, followed by its names in third-party configurations.
NAMES: dict[str, tuple[str, ...]] = {
    "model": ("model_type", "model_name"),
    "num_heads": ("heads", "n_heads", "num_attention_heads", "head", "nhead", "proj_n_heads"),
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
    "projections": ("dim_proj",),
    "dynamic_ratio": (),
    "slide_mode": (),
    "padding": (),
    "weights": (),  # which of several state dicts in a file
}
OPTIONS = {"model": "--model", "num_heads": "--heads", "alpha": "--alpha", "c": "--c"}
DATASET_NAMES = ("data_name", "dataset")
_OTHERS = 4  # a note names at most this many contradicting configurations


def option(name: str) -> str:
    """Return the command-line option of a setting.

    >>> option("num_heads"), option("norm")
    ('--heads', '--set norm=')
    """
    return OPTIONS.get(name, f"--set {name}=")


def canonical(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings under our names, without those that are None; raises ConfigError for unknown names.

    >>> canonical({"n_heads": 2, "max_seq_length": 50, "alpha": None})
    {'num_heads': 2, 'max_len': 50}
    """
    own = {alias: name for name, aliases in NAMES.items() for alias in (name, *aliases)}
    chosen = {key: value for key, value in given.items() if value is not None}
    if unknown := [key for key in chosen if key not in own]:
        raise ConfigError(f"there is no setting {', '.join(unknown)}; there are {', '.join(NAMES)}")
    return {own[key]: value for key, value in chosen.items()}


@dataclass(frozen=True)
class Source:
    """A configuration, and where it was found (in words, for messages).

    Attributes:
        where: "config.json", "the file's own args" and the like.
        values: By our names.
        conflicts: In words, the values of settings that the configuration has more than one of, by our names.
        fault: Why the configuration cannot be read, "" if it can.
    """

    where: str
    values: Mapping[str, Any]
    conflicts: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""

    def get(self, name: str) -> Any:
        """Return the value of a setting, or None."""
        return self.values.get(name)


@dataclass
class Settings:
    """The settings of one file; its format asks for them one by one, and `check` reports all missing ones together.

    Attributes:
        path: The file, for messages.
        title: The kind of the file, for messages.
        given: Options, under our names; they have precedence.
        sources: Configurations, in order of precedence.
        fallback: Values for settings that no option and no configuration has.
        used: Settings that were asked for.
        origins: Where the settings that are no option come from, and which are defaults, in words; `check` sets it.

    >>> settings = Settings("their.pt", "BSARec", given={"alpha": "0.7"}, sources=[Source("config.json", {"c": 5})])
    >>> settings.need("alpha", real, "from 0 to 1"), settings.need("c", whole, "odd")
    (0.7, 5)
    >>> settings.need("num_heads", whole, "1 or 2")  # found nowhere, so None for now
    >>> settings.check()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    models.errors.ConfigError: their.pt: is BSARec, ...; give --heads (1 or 2)
    """

    path: str
    title: str
    given: Mapping[str, Any]
    sources: list[Source]
    fallback: Mapping[str, Any] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    origins: str = ""
    _missing: dict[str, str] = field(default_factory=dict)
    _said: list[str] = field(default_factory=list)

    def need(self, name: str, kind: Callable[[Any], Any], allowed: str) -> Any:
        """Return a setting without a default; if it is missing, return None, and `check` reports what is allowed."""
        value = self._find(name, kind)
        if value is None:
            self._missing.setdefault(name, allowed)
        return value

    def default(self, name: str, kind: Callable[[Any], Any], value: Any, why: str) -> Any:
        """Return a setting, or its default, which is reported together with the reason `why`."""
        found = self._find(name, kind)
        if found is not None or name in self._missing:
            return value if found is None else found
        self._said.append(f"{name} {value} by default ({why})")
        return value

    def shown(self, name: str, kind: Callable[[Any], Any], value: Any) -> Any:
        """Return a value that the shapes show; a configuration that says another one is noted.

        Raises ConfigError if an option says another one.
        """
        self.used.add(name)
        if name in self.given and (given := self._read(name, self.given[name], kind, option(name))) != value:
            raise ConfigError(f"{self.path}: {option(name).rstrip('=')} is {given}, but the file's shapes say {value}")
        for source in self.sources:
            if source.get(name) is not None and not same(source.get(name), value):
                self.note(f"{name} {value} by the shapes, although {source.where} says {source.get(name)}")
        return value

    def note(self, text: str) -> None:
        """Add a remark to what is logged when the file is opened."""
        self._said.append(text)

    def check(self) -> None:
        """Raise ConfigError if settings are missing or do not apply to the file; else log where they come from."""
        unread = [f"{source.where} cannot be read ({source.fault})" for source in self.sources if source.fault]
        if self._missing:
            wanted = "; ".join(f"{option(name)} ({allowed})" for name, allowed in self._missing.items())
            raise ConfigError(
                f"{self.path}: is {self.title}, but neither the file nor a configuration beside it has all settings "
                f"that are needed; {'; '.join([*unread, f'give {wanted}'])}"
            )
        if strange := [option(name).rstrip("=") for name in self.given if name not in {*self.used, "model", "weights"}]:
            raise ConfigError(f"{self.path}: is {self.title}, which has no {', '.join(strange)}")
        self.origins = printable("; ".join([*self._said, *unread]))
        logger.warning("note: %s: %s", self.path, "; ".join([self.title, *filter(None, [self.origins])]))

    def _find(self, name: str, kind: Callable[[Any], Any]) -> Any:
        self.used.add(name)
        if name in self.given:
            return self._read(name, self.given[name], kind, option(name).rstrip("="))
        told = [source for source in self.sources if source.get(name) is not None or name in source.conflicts]
        if told and name in told[0].conflicts:
            self._missing[name] = f"{told[0].where} says {told[0].conflicts[name]}, and one of them has to be chosen"
            return None
        if told:
            read = self._read(name, told[0].get(name), kind, f"{name} in {told[0].where}")
            others = [source for source in told[1:] if not same(source.get(name), told[0].get(name))]
            but = "".join(f", although {s.where} says {s.conflicts.get(name, s.get(name))}" for s in others[:_OTHERS])
            self._said.append(f"{name} {read} from {told[0].where}{but}")
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
    """Return a function that reads one of these words, ignoring case, hyphens and underscores.

    The function raises ValueError for another word.

    >>> one_of("sasrec", "bert4rec")("SAS-Rec")
    'sasrec'
    """

    def read(value: Any) -> str:
        by_plain = {plain(word): word for word in allowed}
        if plain(str(value)) not in by_plain:
            raise ValueError(f"must be one of {', '.join(allowed)}, got {value!r}")
        return by_plain[plain(str(value))]

    return read


def whole(value: Any) -> int:
    """Return a whole number, also from text; raises ValueError for anything else."""
    number = real(value)
    if not number.is_integer():
        raise ValueError(f"must be a whole number, got {value!r}")
    return int(number)


def real(value: Any) -> float:
    """Return a number, also from text; raises ValueError for anything else."""
    if isinstance(value, bool):
        raise ValueError(f"must be a number, got {value!r}")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"must be a number, got {str(value)[:40]!r}") from None


def same(one: Any, other: Any) -> bool:
    """Return whether two values of a setting mean the same, as numbers or as words.

    >>> same("0.50", 0.5), same("GELU", "gelu"), same(1, 2), same(None, 1)
    (True, True, False, False)
    """
    try:
        return real(one) == real(other)
    except (TypeError, ValueError):
        return plain(str(one)) == plain(str(other))


def plain(word: str) -> str:
    """Return a name in the form in which names are compared.

    >>> plain("SASRec") == plain("sas-rec") == plain("sas_rec")
    True
    """
    return word.lower().replace("-", "").replace("_", "")
