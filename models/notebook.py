"""What notebooks need from the session that they run in."""

import ast
import os
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from models.errors import ConfigError

INJECTED = "# Parameters"  # the first line of the cell that papermill inserts, with the given parameters


def prepare(cells: Sequence[str] | None = None) -> None:
    """Start a notebook: refuse unknown parameters, and change to the repository's folder.

    Papermill only warns of an unknown parameter, so a misspelt one would silently keep its default. Relative paths in
    notebooks are relative to the repository, even if the notebook runs in its own folder.

    cells: the code that was executed so far; by default the code of the running IPython session.

    Raises ConfigError for parameters that the cell before papermill's cell does not set.
    """
    unknown, known = unknown_parameters(_executed() if cells is None else cells)
    if unknown:
        raise ConfigError(f"unknown parameter {', '.join(unknown)}; this notebook has {', '.join(known)}")
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
            return [name for name in _assigned(injected) if name not in known], known
    return [], []


def _assigned(source: str) -> list[str]:
    statements = [statement for statement in ast.parse(source).body if isinstance(statement, ast.Assign)]
    return [target.id for statement in statements for target in statement.targets if isinstance(target, ast.Name)]


def _executed() -> Sequence[str]:
    from IPython import get_ipython  # not needed where no notebook runs

    session = get_ipython()
    return () if session is None else [cell for cell in session.history_manager.input_hist_raw if cell]
