"""What the notebooks need of the session that they run in."""

import ast
import os
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from models.errors import ConfigError

INJECTED = "# Parameters"  # how papermill begins the cell in which it puts the parameters that it was given


def prepare(cells: Sequence[str] | None = None) -> None:
    """Begin a notebook: refuse parameters that it does not have, and go to the repository's folder.

    Papermill warns of an unknown parameter, and ignores it: a misspelt one would leave its default in force. Relative
    paths of notebooks are relative to the repository, also where the notebook runs in its own folder.

    cells: the code that was executed so far; by default that of the running IPython session.

    Raises ConfigError for parameters that the cell before papermill's does not set.
    """
    unknown, known = unknown_parameters(_executed() if cells is None else cells)
    if unknown:
        raise ConfigError(f"unknown parameter {', '.join(unknown)}; this notebook has {', '.join(known)}")
    if Path.cwd().name == "notebooks":
        os.chdir("..")


def packages(*names: str, extra: str) -> list[Path]:
    """Return the folders of packages that an optional extra of this project installs; none is imported.

    Raises ConfigError for packages that are not installed; it says how to install them.
    """
    found = [find_spec(name) for name in names]
    if missing := [name for name, spec in zip(names, found, strict=True) if spec is None]:
        raise ConfigError(f'this notebook needs {", ".join(missing)}; install it with: pip install -e ".[{extra}]"')
    return [Path(spec.submodule_search_locations[0]) for spec in found if spec and spec.submodule_search_locations]


def unknown_parameters(cells: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names that papermill's cell sets and the cell before it does not, and those that this one does."""
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
