"""Imports of models/ run downwards, from the commands to the layers, and none goes to spectral."""

import ast

import pytest
from repository import ROOT

MODELS = ROOT / "models"
# From the bottom to the top; those in one row do not know one another. A package stands for the modules in it.
RANKS = (
    ("errors", "choices", "checkpoint_fields"),
    ("files", "precision", "installation"),
    ("safe_load", "layers", "datasets", "examples"),
    ("recommender", "sharded", "step_graph"),
    ("architectures", "integrity"),
    ("third_party",),
    ("registry", "callbacks"),  # of third-party models too; what follows a run
    ("checkpoint", "evaluation"),
    ("results", "adapter"),
    ("training",),  # leaves a result
    ("command_line", "notebook"),
    ("train", "evaluate", "compare", "convert", "remaining", "datasets.__main__", "console"),
    ("protocols",),  # trains as the command does
    ("__init__",),  # `models.load`, for users
)
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}
SOURCES = {".".join(file.relative_to(MODELS).with_suffix("").parts): file for file in sorted(MODELS.rglob("*.py"))}


def unit(module: str) -> str:
    """Return what the rank of a module is of: itself, or the package that it is in."""
    parts = module.split(".")
    return next(name for end in range(len(parts), -1, -1) if (name := ".".join(parts[:end]) or "__init__") in RANK)


def upward_imports(module: str, source: str) -> list[str]:
    """Return the imports of a module, also within its functions, that do not run downwards."""
    imported = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            imported += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
    own = unit(module)
    targets = {name: unit(name.partition(".")[2]) for name in imported if name.partition(".")[0] == "models"}
    upward = [name for name, target in targets.items() if target != own and RANK[target] >= RANK[own]]
    # An architecture takes windows, not datasets.
    data = [name for name, target in targets.items() if (own, target) == ("architectures", "datasets")]
    upward += [name for name in data if name != "models.datasets.sampling.Batch"]
    return upward + [name for name in imported if name.partition(".")[0] == "spectral"]


@pytest.mark.parametrize("module", SOURCES)
def test_imports_run_downwards(module: str):
    assert unit(module) != "__init__" or module == "__init__", f"models.{module} has no rank"
    assert upward_imports(module, SOURCES[module].read_text()) == []


@pytest.mark.parametrize(
    ("module", "line", "found"),
    [
        ("layers.dropout", "from models.recommender import Trace", "models.recommender.Trace"),
        ("layers.dropout", "from models import datasets", "models.datasets"),
        ("training", "def f():\n import models.train", "models.train"),
        ("datasets.text", "from models.datasets.__main__ import app", "models.datasets.__main__.app"),
        ("checkpoint", "import models", "models"),
        ("architectures.caser", "from models.datasets import Sequences", "models.datasets.Sequences"),
        ("compare", "from spectral import plot", "spectral.plot"),
    ],
)
def test_an_import_that_does_not_is_found(module: str, line: str, found: str):
    assert upward_imports(module, line) == [found]
