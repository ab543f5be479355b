"""The notebook that shows everything about one checkpoint: what it shows is what the report measures."""

import os
import re
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
import torch
from nbconvert import HTMLExporter
from repository import ROOT
from third_party_states.small import DATA, GIVEN, bsarec_state

from models.checkpoint import check_made
from models.errors import CheckpointError
from spectral.analysis import Analysis
from spectral.command_line import Subject
from spectral.report.parts import overview, sections

WIDGET = "application/vnd.jupyter.widget-view+json"
NOTEBOOK = ROOT / "notebooks/explore.ipynb"


def shown(folder: Path, cwd: Path = ROOT, **parameters: object) -> list[nbformat.NotebookNode]:
    """What the executed notebook shows, by MIME type."""
    done = papermill.execute_notebook(
        NOTEBOOK, folder / "executed.ipynb", parameters, kernel_name="python3", cwd=cwd, progress_bar=False
    )
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    return [output.data for output in outputs if output.output_type in ("display_data", "execute_result")]


def text_of(data: list[nbformat.NotebookNode]) -> str:
    return "\n".join(kinds.get("text/markdown", "") for kinds in data)


def check(data: list[nbformat.NotebookNode], path: Path, subject: Subject, c: int) -> None:
    """Compare what is shown with the report's own parts."""
    text = text_of(data)
    overviewed, _, *tables = [
        re.findall("<td>(.*?)</td>", kinds["text/html"]) for kinds in data if "text/html" in kinds
    ]
    analysis = Analysis(subject, subject.model.name, path.name, c)
    parts = sections([analysis])
    assert_shows(overviewed, overview([analysis]).drop(columns="quantity"))
    assert sum("image/png" in kinds for kinds in data) == sum(len(part.figures) for part in parts)
    for part in parts:
        assert f"### {part.title}\n\n{part.text}" in text
        assert all(f"*{caption}*" in text for caption in part.figures)
        assert all(f"**Not measured:** {reason}" in text for reason in part.missing)
        if part.table is not None:
            assert_shows(tables.pop(0), part.table)
    assert not tables


def assert_shows(cells: list[str], table: pd.DataFrame) -> None:
    for cell, value in zip(cells, table.to_numpy().ravel(), strict=True):
        if value is None or isinstance(value, str | bool):
            assert cell == str(value)
        else:
            assert float(cell) == pytest.approx(value, abs=1e-4, nan_ok=True)


def assert_controls_come_last(executed: Path, data: list[nbformat.NotebookNode]) -> None:
    """Check the controls, and that the notebook exported as HTML has all pictures and tables beside them."""
    assert [WIDGET in kinds for kinds in data] == [False] * (len(data) - 1) + [True]
    assert "JupyterLab" in data[-1]["text/plain"]
    notebook = nbformat.read(executed, as_version=4)
    states = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"].state
    assert not any("error" in str(state.state.get("value")) for state in states.values())
    page, _ = HTMLExporter().from_notebook_node(notebook)
    for kinds in data:
        assert kinds.get("image/png", "").replace("\n", "") in page.replace("\n", "")
    assert page.count("<table") == sum("text/html" in kinds for kinds in data)


def test_a_checkpoint_is_shown_with_all_parts_and_the_reasons_of_what_is_missing(sasrec_checkpoint, tmp_path):
    path = os.path.relpath(sasrec_checkpoint, ROOT)
    data = shown(tmp_path, ROOT / "notebooks", checkpoint=path)
    check(data, sasrec_checkpoint, Subject.load(sasrec_checkpoint, data=None, split="test"), 3)
    assert "**Not measured:** sasrec: SASRec has no learned filters" in text_of(data)
    assert_controls_come_last(tmp_path / "executed.ipynb", data)


def test_a_third_party_checkpoint_is_shown_with_the_settings_that_it_lacks(tmp_path):
    torch.save(bsarec_state(), tmp_path / "theirs.pt")
    given = {"checkpoint": str(tmp_path / "theirs.pt"), "settings": GIVEN, "dataset": DATA, "c": 5, "max_users": 90}
    data = shown(tmp_path, **given)
    subject = Subject.load(tmp_path / "theirs.pt", data=DATA, split="test", settings=GIVEN, max_users=90)
    check(data, tmp_path / "theirs.pt", subject, 5)
    assert "Measured on 90 users of synthetic" in text_of(data)


def test_what_a_file_lacks_is_asked_for_before_anything_is_computed(tmp_path):
    torch.save(bsarec_state(), tmp_path / "theirs.pt")
    with pytest.raises(papermill.PapermillExecutionError, match="heads"):
        shown(tmp_path, checkpoint=str(tmp_path / "theirs.pt"), dataset=DATA)
    cells = nbformat.read(tmp_path / "executed.ipynb", as_version=4).cells
    assert not any("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))


def test_the_command_for_a_missing_checkpoint_is_that_of_its_place(sasrec_checkpoint, tmp_path):
    assert check_made(str(sasrec_checkpoint)) == sasrec_checkpoint
    with pytest.raises(CheckpointError, match=r"seed7\.pt is missing; .*make figures PROFILE=paper DATASET=lastfm$"):
        check_made(tmp_path / "paper/lastfm/sasrec-16-seed7.pt")
    with pytest.raises(CheckpointError, match=r"mine\.pt is missing; .*python -m models\.train --out FILE$"):
        check_made("mine.pt")
