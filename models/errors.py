"""The errors that tell users of the toolkit what is wrong with their input, and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches

MAX_MESSAGE = 4000  # characters


class UserError(ValueError):
    """Input that cannot be used; the message names the file or field, what was expected, and what to do.

    Command lines print the message without a traceback and exit with code 2. It is one line that a terminal can show,
    whatever it quotes from a file.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class DataError(UserError):
    """A dataset that is unknown, cannot be fetched, or does not hold sequences of items."""


class CheckpointError(UserError):
    """A file that is not a checkpoint this version can read."""


class ConfigError(UserError):
    """A setting outside its allowed range, or settings that do not fit together."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the known name that is most like it, or nothing.

    >>> did_you_mean("bserec", ["sasrec", "bsarec"]), did_you_mean("?", ["sasrec"])
    ("; did you mean 'bsarec'?", '')
    """
    names = {name.lower(): name for name in known}
    nearest = get_close_matches(given.lower(), names, n=1)
    return f"; did you mean {names[nearest[0]]!r}?" if nearest else ""


def check_choice(what: str, given: str, known: Iterable[str]) -> None:
    """Raise ConfigError unless a name is one of the known ones.

    >>> check_choice("split", "tset", ["test", "valid"])
    Traceback (most recent call last):
    models.errors.ConfigError: split must be one of test, valid, got 'tset'; did you mean 'test'?
    """
    if given not in (names := list(known)):
        raise ConfigError(f"{what} must be one of {', '.join(names)}, got {given!r}{did_you_mean(given, names)}")


def printable(text: str) -> str:
    r"""Return a text as one line without control characters, cut if it is very long.

    >>> print(printable("a\x1b[2J\nb é"))
    a\x1b[2J\nb é
    """
    cut = text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]} ..."
    return cut if cut.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)
