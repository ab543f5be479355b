"""The notebooks as they are stored, and what they say when a checkpoint is missing."""

import inspect
from dataclasses import fields
from pathlib import Path

import nbformat
import papermill
import pytest

from models.registry import MODELS
from models.train import train

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_is_stored_without_outputs(path: Path):
    for cell in code_cells(path):
        assert not cell.outputs
        assert cell.execution_count is None


def test_begins_with_its_claim_and_its_parameters(path: Path):
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert code_cells(path)[0].metadata.get("tags") == ["parameters"]


def test_leaves_the_computing_to_the_library(path: Path):
    sources = [cell.source for cell in code_cells(path)]
    assert sum(len(source.splitlines()) for source in sources) <= 120
    assert not any("def " in source or "class " in source for source in sources)


def test_parameters_have_the_names_of_the_library(path: Path):
    parameters = set(papermill.inspect_notebook(path))
    if path.stem == "train":
        arguments = set(inspect.signature(train).parameters) - {"show_progress"}
        settings = {field.name for model in MODELS.values() for field in fields(model.config_type)}
        assert arguments <= parameters <= arguments | settings
    elif path.stem == "table_datasets":  # looks at no run
        assert {"dataset", "datasets", "figures"} <= parameters
    elif path.stem.startswith(("fig8", "fig9")):
        assert {"datasets", "models", "seeds", "profile", "figures"} <= parameters
    elif path.stem.startswith(("table_", "fig5", "fig6")):  # made of results
        assert {"dataset", "models", "seeds", "profile", "figures"} <= parameters
    else:
        assert {"dataset", "models", "seed", "profile", "runs", "figures"} <= parameters


def test_names_the_command_that_makes_a_missing_checkpoint(path: Path, tmp_path: Path):
    if path.stem in ("train", "table_datasets"):
        pytest.skip("needs no checkpoint")
    parameters = {"runs": str(tmp_path / "none"), "figures": str(tmp_path)}
    parameters = {name: value for name, value in parameters.items() if name in papermill.inspect_notebook(path)}
    with pytest.raises(papermill.PapermillExecutionError, match=r"make (figures|tables|sensitivity) PROFILE="):
        papermill.execute_notebook(
            path, tmp_path / "executed.ipynb", parameters, kernel_name="python3", cwd=ROOT, progress_bar=False
        )
