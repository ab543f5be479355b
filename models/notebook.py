"""What notebooks need from the session that they run in."""

import ast
import os
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from models.errors import ConfigError

INJECTED = "# Parameters"  # the first line of the cell that papermill inserts, with the given parameters
KINDS = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "text"}
KINDS |= {"list": "a list", "tuple": "a list", "dict": "a dictionary"}


def prepare(cells: Sequence[str] | None = None) -> None:
    """Start a notebook: refuse unknown parameters and text for other values, and change to the repository's folder.

    Papermill only warns of an unknown parameter, so a misspelt one would silently keep its default. Relative paths in
    notebooks are relative to the repository, even if the notebook runs in its own folder.

    cells: the code that was executed so far; by default the code of the running IPython session.

    Raises ConfigError for parameters that the cell before papermill's cell does not set, and for values of another kind
    than that cell has, because papermill's `-p` hands dictionaries and lists over as text.
    """
    executed = _executed() if cells is None else cells
    unknown, known = unknown_parameters(executed)
    if unknown:
        raise ConfigError(f"unknown parameter {', '.join(unknown)}; this notebook has {', '.join(known)}")
    for name, (given, expected) in other_kinds(executed).items():
        raise ConfigError(f"{name} should be {expected}, not {_kind_of(given)}; {_way_to_give(name, given, expected)}")
    if Path.cwd().name == "notebooks":
        os.chdir("..")


def packages(*names: str, extra: str) -> list[Path]:
    """Return the folders of packages of an optional extra of this project, without importing them.

    Raises ConfigError if a package is not installed; the message says how to install it.
    """
    found = [find_spec(name) for name in names]
    if missing := [name for name, spec in zip(names, found, strict=True) if spec is None]:
        raise ConfigError(f'this notebook needs {", ".join(missing)}; install it with: pip install -e ".[{extra}]"')
    return [Path(spec.submodule_search_locations[0]) for spec in found if spec and spec.submodule_search_locations]


def unknown_parameters(cells: Sequence[str]) -> tuple[list[str], list[str]]:
    r"""Return the names that only papermill's cell sets, and the names that the cell before it sets.

    >>> unknown_parameters(["dataset = 'ml-100k'; seed = 42", "# Parameters\nsede = 1"])
    (['sede'], ['dataset', 'seed'])
    """
    defaults, given = _parameters(cells)
    return [name for name in given if name not in defaults], list(defaults)


def other_kinds(cells: Sequence[str]) -> dict[str, tuple[Any, str]]:
    r"""Return what papermill's cell gives to parameters of another kind, and the right kind, by name.

    The kind is that of the default, or of its annotation, which is quoted words, because papermill reads no others. A
    default of None without one may be of any kind.

    >>> defaults = "settings = {}; name = 'x'; seeds: 'list or None' = None"
    >>> other_kinds([defaults, "# Parameters\nsettings = '{heads: 1}'; name = 'y'; seeds = 42"])
    {'settings': ('{heads: 1}', 'a dictionary'), 'seeds': (42, 'a list')}
    """
    defaults, given = _parameters(cells)
    values = {name: _literal(statement.value) for name, statement in given.items() if name in defaults}
    expected = {name: _kinds(defaults[name]) for name in values}
    return {
        name: (value, " or ".join(expected[name]))
        for name, value in values.items()
        if value is not None and expected[name] and not _is_of(value, expected[name])
    }


def _way_to_give(name: str, given: Any, expected: str) -> str:
    if expected.startswith("a list") and not str(given).startswith(("[", "{")):
        return f"give it with -y '{{{name}: [{given}]}}'"
    if expected.startswith(("a list", "a dictionary")):
        return f"give it with -y '{{{name}: {given}}}'"
    return f"give it with -y '{{{name}: \"{given}\"}}'" if expected == KINDS["str"] else f"got {given!r}"


def _is_of(value: Any, kinds: Sequence[str]) -> bool:
    """Return whether a value is of one of some kinds; a whole number is a number too."""
    return _kind_of(value) in kinds or (type(value) is int and KINDS["float"] in kinds)


def _kind_of(value: Any) -> str:
    return KINDS.get(type(value).__name__, type(value).__name__)


def _kinds(parameter: ast.Assign | ast.AnnAssign) -> list[str]:
    """Return the kinds of a parameter's values, in words."""
    if isinstance(parameter, ast.AnnAssign):
        annotation: ast.AST = parameter.annotation
        if isinstance(annotation, ast.Constant):
            annotation = ast.parse(str(annotation.value), mode="eval")
        names = [node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)]
    else:
        names = [type(_literal(parameter.value)).__name__]
    return list(dict.fromkeys(KINDS[name] for name in names if name in KINDS))


def _literal(node: ast.expr | None) -> Any:
    """Return the value of a literal, and None for any other expression."""
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def _parameters(
    cells: Sequence[str],
) -> tuple[dict[str, ast.Assign | ast.AnnAssign], dict[str, ast.Assign | ast.AnnAssign]]:
    """Return the assignments in the cell of the defaults and in papermill's cell after it, by name."""
    for defaults, injected in pairwise(cells):
        if injected.startswith(INJECTED):
            return _assigned(defaults), _assigned(injected)
    return {}, {}


def _assigned(source: str) -> dict[str, ast.Assign | ast.AnnAssign]:
    assigned: dict[str, ast.Assign | ast.AnnAssign] = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            assigned |= {target.id: statement for target in targets if isinstance(target, ast.Name)}
    return assigned


def _executed() -> Sequence[str]:
    from IPython import get_ipython  # not needed where no notebook runs

    session = get_ipython()
    return () if session is None else [cell for cell in session.history_manager.input_hist_raw if cell]
