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


def prepare(cells: Sequence[str] | None = None) -> None:
    """Start a notebook: refuse unknown parameters and text for other values, and change to the repository's folder.

    Papermill only warns of an unknown parameter, so a misspelt one would silently keep its default. Relative paths in
    notebooks are relative to the repository, even if the notebook runs in its own folder.

    cells: the code that was executed so far; by default the code of the running IPython session.

    Raises ConfigError for parameters that the cell before papermill's cell does not set, and for text where that cell
    has a dictionary, a list or a number, because papermill's `-p` hands everything but numbers over as text.
    """
    executed = _executed() if cells is None else cells
    unknown, known = unknown_parameters(executed)
    if unknown:
        raise ConfigError(f"unknown parameter {', '.join(unknown)}; this notebook has {', '.join(known)}")
    for name, text in texts_for_values(executed).items():
        raise ConfigError(f"{name} is text; give its value with -y '{{{name}: {text}}}' instead of -p")
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
    for defaults, injected in pairwise(cells):
        if injected.startswith(INJECTED):
            known = _assigned(defaults)
            return [name for name in _assigned(injected) if name not in known], list(known)
    return [], []


def texts_for_values(cells: Sequence[str]) -> dict[str, str]:
    r"""Return the texts that papermill's cell gives to parameters whose default is no text, by name.

    >>> texts_for_values(["settings = {}; name = 'x'", "# Parameters\nsettings = '{heads: 1}'\nname = 'y'"])
    {'settings': '{heads: 1}'}
    """
    for defaults, injected in pairwise(cells):
        if injected.startswith(INJECTED):
            values = _assigned(defaults)
            return {
                name: text
                for name, given in _assigned(injected).items()
                if isinstance(text := _literal(given), str) and not isinstance(_literal(values.get(name)), str | None)
            }
    return {}


def _literal(node: ast.expr | None) -> Any:
    """Return the value of a literal, and None for any other expression."""
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def _assigned(source: str) -> dict[str, ast.expr]:
    statements = [statement for statement in ast.parse(source).body if isinstance(statement, ast.Assign)]
    return {
        target.id: statement.value
        for statement in statements
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def _executed() -> Sequence[str]:
    from IPython import get_ipython  # not needed where no notebook runs

    session = get_ipython()
    return () if session is None else [cell for cell in session.history_manager.input_hist_raw if cell]
