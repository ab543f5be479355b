"""The figure of all models side by side: trained and loaded ones, with their null models, against plain numpy."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest
import torch
from repository import ROOT
from third_party_states.small import DATA, GIVEN, ITEMS, bsarec_state

import models
from models.datasets import load
from models.train import train
from spectral.gallery import collect

NOTEBOOK = ROOT / "notebooks/successors.ipynb"
N, D = 12, 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds a trained TV-Rec, a file of a third party that is a BSARec, and the figures of both."""
    folder = tmp_path_factory.mktemp("successors")
    trained, theirs = folder / "runs/smoke/mine/tvrec-seed7.pt", folder / "theirs.pt"
    options = {"max_len": N, "hidden_size": D, "order": 5, "seed": 7, "show_progress": False}
    train("tvrec", DATA, out=trained, epochs=1, **options)
    torch.save(bsarec_state(), theirs)
    path = os.path.relpath(theirs, ROOT)
    of_files = {"checkpoints": [path], "settings": {path: GIVEN}, "draws": 2, "max_users": 6}
    of_runs = {"dataset": "mine", "profile": "smoke", "seed": 7, "runs": f"{folder}/runs", "out": f"{folder}/figures"}
    parameters = {"models": ["tvrec"], "nulls": ["uniform", "untrained"]} | of_runs | of_files
    papermill.execute_notebook(
        NOTEBOOK, folder / "executed.ipynb", parameters, kernel_name="python3", cwd=ROOT, progress_bar=False
    )
    return folder


def test_all_models_are_in_all_three_figures_each_with_the_nulls_that_it_has(folder: Path):
    notes = {note.name: note for note in collect(folder / "figures")}
    assert set(notes) == {"successors_filter", "successors_spectra", "successors_similarity"}
    for name, value, ends in (
        ("filter", "relative_db", ""),
        ("spectra", "normalised", ""),
        ("similarity", "between_users", "between_users_"),
    ):
        table = pd.read_csv(folder / f"figures/mine/successors_{name}.csv").set_index("model")
        assert list(table.index.unique()) == ["tvrec", "bsarec"]
        assert (table[f"{ends}low"] <= table[value] + 1e-6).all() and (
            table[value] <= table[f"{ends}high"] + 1e-6
        ).all()
        assert set(table.seeds) == {1} and table.users.notna().all()
        assert table.loc["bsarec", f"{value}_uniform"].notna().any()
        assert table.loc["tvrec", f"{value}_uniform"].isna().all()  # it has no attention
        low, high = (table[f"{value}_untrained_{end}"] for end in ("low", "high"))
        assert (low <= high).all() and (low < high).any()
        note = notes[f"successors_{name}"]
        assert note.runs == {"tvrec": [7], "bsarec": []}  # of a file
        assert "2 models (1 trained, 1 loaded from files)" in note.caption and "TV-Rec" in note.see
        assert (
            "one model, users only" in note.caption and "uniform attention under the same mask (BSARec)" in note.caption
        )
        assert (folder / f"figures/mine/successors_{name}.png").stat().st_size > 0


def test_what_integrity_found_is_a_table_and_stands_in_the_note(folder: Path):
    table = pd.read_csv(folder / "figures/mine/successors_integrity.csv").set_index(["model", "name"])
    assert list(table.index.unique("model")) == ["tvrec", "bsarec"]
    # TV-Rec pads N to 2 N - 1, so position 0 sees the last one; BSARec promises no causality.
    assert str(table.loc[("tvrec", "causal"), "passes"]) == "False" and table.loc[("tvrec", "causal"), "claimed"]
    assert table.loc[("tvrec", "causal"), "where"] == f"[0, {N - 1}]"
    assert not table.loc[("bsarec", "causal"), "claimed"]
    see = next(note.see for note in collect(folder / "figures") if note.name == "successors_filter")
    assert f"TV-Rec breaks: causal at [0, {N - 1}]" in see


def test_the_numbers_are_those_of_the_models(folder: Path):
    spectra = pd.read_csv(folder / "figures/mine/successors_spectra.csv").set_index(["model", "layer"])
    similarities = pd.read_csv(folder / "figures/mine/successors_similarity.csv").set_index(["model", "layer"])
    networks = {
        "tvrec": models.load(folder / "runs/smoke/mine/tvrec-seed7.pt"),
        "bsarec": models.load(folder / "theirs.pt", **GIVEN),
    }
    windows = torch.from_numpy(load(DATA).windows("test", N).inputs)
    assert int(windows.max()) <= ITEMS
    for name, network in networks.items():
        with torch.no_grad():
            hidden = network.trace(windows).hidden
        for layer, states in enumerate(hidden):
            last = states[:, -1].double().numpy()
            values = np.linalg.svd(last, compute_uv=False)
            assert spectra.loc[(name, layer), "singular_value"].to_numpy() == pytest.approx(values, abs=1e-4)
            unit = last / np.linalg.norm(last, axis=1, keepdims=True)
            cosines = (unit @ unit.T)[~np.eye(len(unit), dtype=bool)]
            assert similarities.loc[(name, layer), "between_users"] == pytest.approx(cosines.mean(), abs=1e-5)
