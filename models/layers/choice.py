"""Settings that choose one of several layers, with options of its own: `gfsa`, or `gfsa:order=5`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import ConfigError, did_you_mean

Kinds = Mapping[str, Mapping[str, type]]  # by name, the types of its options


@dataclass(frozen=True)
class Choice:
    """A chosen name, and the options that were given for it."""

    name: str
    options: dict[str, Any]


def parse_choice(setting: str, text: Any, kinds: Kinds) -> Choice:
    """Return the choice in a text like `name` or `name:option=value,option=value`.

    setting: name of the setting, for messages; kinds: the names to choose from, with the types of their options.

    Raises ConfigError for an unknown name or option, a value of another type, or an option that is given twice.

    >>> kinds = {"none": {}, "gfsa": {"order": int}}
    >>> parse_choice("remedy", "gfsa:order=5", kinds)
    Choice(name='gfsa', options={'order': 5})
    >>> parse_choice("remedy", "GFSA", kinds)
    Traceback (most recent call last):
    models.errors.ConfigError: remedy must be one of none, gfsa, got 'GFSA'; did you mean 'gfsa'?
    >>> parse_choice("remedy", "gfsa:order=high", kinds)
    Traceback (most recent call last):
    models.errors.ConfigError: remedy gfsa: order must be a whole number, got 'high'
    """
    name, colon, rest = str(text).partition(":")
    if name not in kinds:
        raise ConfigError(f"{setting} must be one of {', '.join(kinds)}, got {text!r}{did_you_mean(name, kinds)}")
    known = kinds[name]
    options: dict[str, Any] = {}
    for part in rest.split(",") if colon else []:
        option, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or option not in known or option in options:
            has = f"has the options {', '.join(known)}, as in {name}:{next(iter(known))}=..." if known else "has none"
            raise ConfigError(f"{setting} {name} {has}; got {part!r}")
        try:
            options[option] = known[option](value)
        except ValueError:
            kind = "a whole number" if known[option] is int else "a number"
            raise ConfigError(f"{setting} {name}: {option} must be {kind}, got {value!r}") from None
    return Choice(name, options)
