"""The notebook of Figure 1 where the file of attributes cannot be had."""

from pathlib import Path

import numpy as np
import papermill
import pytest
import torch
from repository import ROOT

from models.checkpoint import load, sequences_of
from models.train import train
from spectral import extreme_signals, plot


@pytest.mark.parametrize("padding", ["zero", "cyclic"])
def test_figure_1_without_the_file_of_attributes_leaves_their_panel_out_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, padding: str
):
    history = np.random.default_rng(0).integers(1, 41, (30, 20))
    lines = [
        " ".join(map(str, [user, *items[: 20 - user % 15]])) for user, items in enumerate(history.tolist(), start=1)
    ]
    (tmp_path / "lastfm.txt").write_text("\n".join(lines) + "\n")  # a dataset of a name that has attributes
    run = tmp_path / "runs/smoke/lastfm/sasrec-seed42.pt"
    train(
        "sasrec",
        str(tmp_path / "lastfm.txt"),
        out=run,
        epochs=1,
        max_len=12,
        hidden_size=8,
        padding=padding,
        show_progress=False,
    )
    monkeypatch.setenv("SPECTRAL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("SPECTRAL_DATA_DIR", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # where nothing is to be had
    given = {"dataset": "lastfm", "models": ["sasrec"], "profile": "smoke"}
    given |= {"data": str(tmp_path / "lastfm.txt"), "data_dir": str(tmp_path)}
    folders = {"runs": str(tmp_path / "runs"), "out": str(tmp_path / "figures")}
    done = papermill.execute_notebook(
        ROOT / "notebooks/fig1_signals.ipynb",
        tmp_path / "executed.ipynb",
        given | folders,
        kernel_name="python3",
        cwd=ROOT,
        progress_bar=False,
    )
    said = [output.text for cell in done.cells for output in cell.get("outputs", []) if output.output_type == "stream"]
    assert "LastFM_item2attributes.json" in "".join(said)
    model = load(run)
    sequences = sequences_of(model, str(tmp_path / "lastfm.txt"))
    windows = sequences.windows("test", 12, padding).inputs
    chosen = extreme_signals(model, torch.from_numpy(windows), sequences.users)
    expected = plot.user_signal_panels(chosen, None, "attributes of the items are left out: their file was not found")
    (picture,) = plot.save(expected, tmp_path / "expected", formats=["png"])
    assert (tmp_path / "figures/lastfm/fig1.png").read_bytes() == picture.read_bytes()
