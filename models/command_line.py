"""What all command lines of the toolkit share: start, errors, JSON output and the choice of a device."""

import inspect
import json
import logging
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Annotated, Any, NoReturn

import typer

from models.errors import ConfigError, UserError, did_you_mean
from models.installation import NOTE, other_is_installed

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


_PANEL = "Third-party checkpoints"  # heading in the help
_MODEL_OPTIONS: dict[str, Any] = {
    "model": Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_PANEL,
            help="Model, if the keys do not tell: sasrec, duorec, fearec or bert4rec.",
            show_default="what the keys tell",
        ),
    ],
    "heads": Annotated[
        int | None, typer.Option(rich_help_panel=_PANEL, help="Attention heads.", show_default="what the file tells")
    ],
    "alpha": Annotated[
        float | None,
        typer.Option(
            rich_help_panel=_PANEL,
            help="Weight of the filter (BSARec, WEARec, LoWARec).",
            show_default="what the file tells",
        ),
    ],
    "c": Annotated[
        int | None,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="c",
            help="Low modes of BSARec or LoWARec.",
            show_default="what the file tells",
        ),
    ],
    "further": Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            rich_help_panel=_PANEL,
            metavar="NAME=VALUE",
            help="Any other setting of such a file: activation, norm, positions, attention, bands, max_len, ...; the "
            "note about the file names the settings that have a default. Repeatable.",
            show_default="none",
        ),
    ],
}


AdapterOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.py[:FUNCTION]",
        help="Run your file, and load the checkpoint with its function; without one, with the models it registers.",
        show_default="none",
    ),
]


def run(main: Callable[..., None]) -> NoReturn:
    """Run a typer function as the program, with messages instead of tracebacks, and meaningful exit codes.

    A parameter that is annotated with a dataclass stands for all fields of the dataclass, which are options. If the
    function has a parameter `settings`, the command gets the options for third-party checkpoints, except those
    that the function has itself; `settings` is then a dictionary of the options that were given.

    A `UserError` or `OSError` becomes `error: ...` on standard error and exit code 2; Ctrl-C becomes exit code 130.
    Any other exception is a bug of the toolkit and keeps its traceback.
    """
    run_app(app_of(main))


def app_of(main: Callable[..., None]) -> typer.Typer:
    """Return the application of one command, with the options that `run` gives it."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(with_verbosity(_with_model_options(_ungrouped(main))))
    return app


class _Terminal(logging.Handler):
    """Prints records on what standard error is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


_TERMINAL = _Terminal()
_Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print details too, each with its time and logger.")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results, warnings and errors only.")]


def with_verbosity(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the options -v and -q, which choose what the loggers `models` and `spectral` print."""
    signature = inspect.signature(command)

    def told(verbose: bool = False, quiet: bool = False, **arguments: Any) -> None:
        if verbose and quiet:
            raise ConfigError("--verbose and --quiet contradict each other; give one of them")
        log_to_terminal(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
        command(**arguments)

    own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in signature.parameters.values()]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=option)
        for name, option in (("verbose", _Verbose), ("quiet", _Quiet))
    ]
    told.__name__, told.__doc__ = command.__name__, command.__doc__
    told.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    told.__annotations__ = {each.name: each.annotation for each in [*own, *added]}
    return told


def log_to_terminal(level: int) -> None:
    """Print the records of the loggers `models` and `spectral` from a level on, on standard error."""
    _TERMINAL.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s" if level < logging.INFO else None))
    for name in ("models", "spectral"):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.addHandler(_TERMINAL)  # once: a logger has a handler no second time


def parse_assignments(given: Iterable[str], known: Iterable[str]) -> dict[str, Any]:
    """Return the settings of "NAME=VALUE" texts; numbers become numbers, other values stay text.

    Raises ConfigError for a text without "=", or an unknown name.

    >>> parse_assignments(["c=5", "alpha=0.3", "beta=scalar"], known=["alpha", "beta", "c"])
    {'c': 5, 'alpha': 0.3, 'beta': 'scalar'}
    """
    known = list(known)
    settings: dict[str, Any] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or name not in known:
            raise ConfigError(
                f"--set takes NAME=VALUE with one of {', '.join(known)}, got {text!r}{did_you_mean(name, known)}"
            )
        settings[name] = next((number for kind in (int, float) if (number := _parsed(kind, value)) is not None), value)
    return settings


def _parsed(kind: type[int] | type[float], text: str) -> int | float | None:
    try:
        return kind(text)
    except ValueError:
        return None


def _ungrouped(main: Callable[..., None]) -> Callable[..., None]:
    groups: dict[str, Any] = {
        name: each.annotation
        for name, each in inspect.signature(main).parameters.items()
        if is_dataclass(each.annotation)
    }

    def command(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{option.name: given.pop(option.name) for option in fields(group)})
        main(**given)

    options = [option for each in inspect.signature(main).parameters.values() for option in _options_of(each)]
    command.__name__, command.__doc__ = main.__name__, main.__doc__
    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    return command


def _options_of(parameter: inspect.Parameter) -> list[inspect.Parameter]:
    """Return the parameters that a parameter stands for: the fields of a group, or itself."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    if not is_dataclass(parameter.annotation):
        return [parameter.replace(kind=keyword)]
    return [
        inspect.Parameter(option.name, keyword, default=option.default, annotation=option.type)
        for option in fields(parameter.annotation)
    ]


def _with_model_options(main: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(main)
    if "settings" not in signature.parameters:
        return main
    added = {name: option for name, option in _MODEL_OPTIONS.items() if name not in signature.parameters}

    def command(**arguments: Any) -> None:
        from models.third_party.settings import NAMES  # only for commands that load models

        settings = {name: arguments.pop(name) for name in added}
        settings |= parse_assignments(settings.pop("further") or [], NAMES)
        main(**arguments, settings={name: value for name, value in settings.items() if value is not None})

    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in signature.parameters.items()
        if name != "settings"
    ]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in added.items()
    ]
    command.__name__, command.__doc__ = main.__name__, main.__doc__
    command.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *options]}
    return command


def run_app(app: typer.Typer) -> NoReturn:
    """Run a typer application, which may have subcommands; errors are handled as in `run`."""
    log_to_terminal(logging.INFO)
    if other_is_installed():
        logging.getLogger("models").warning("note: %s", NOTE)
    try:
        app(standalone_mode=True)
    except UserError as error:
        fail(str(error))
    except OSError as error:
        fail(describe(error))
    except SystemExit as stop:
        if stop.code == EXIT_INTERRUPTED:  # typer turns Ctrl-C into this exit without a message
            print("interrupted", file=sys.stderr)
        raise
    except KeyboardInterrupt:  # before typer handles the arguments
        print("interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(0)


def describe(error: OSError) -> str:
    """Return which file an operating system error is about, and what went wrong."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason


def fail(message: str) -> NoReturn:
    """Print `error: message` on standard error and exit with code 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(EXIT_USER_ERROR)


def inform(message: str) -> None:
    """Log a message for people, which a command prints on standard error; standard output is for results only."""
    logging.getLogger("models").info(message)


def print_json(result: Any) -> None:
    """Print one JSON value on standard output; numbers that JSON does not have (NaN, infinities) become null.

    Numpy and torch scalars and arrays are printed as numbers and lists, paths as text.

    >>> print_json({"HR@5": 0.25, "std": float("nan")})
    {"HR@5": 0.25, "std": null}
    """
    print(json.dumps(_finite(result), allow_nan=False))


def _finite(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy and torch
        value = value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def check_device(name: str) -> str:
    """Return the device name if torch can use it; `auto` means CUDA if there is a GPU, else the CPU.

    All commands, and `models.train.train`, choose their device here, so `exact_products` is asked for here.

    Raises ConfigError for a name that torch does not know, or a device that this machine does not have.

    >>> check_device("cpu")
    'cpu'
    """
    import torch

    from models.precision import exact_products

    exact_products()
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()  # the round trip also refuses "meta", which holds no numbers
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]  # torch's message is a page long
        raise ConfigError(f"device {name!r} cannot be used ({reason}); try cpu, cuda, cuda:0 or auto") from error
    return str(device)
