"""Watching a run: the numbers are those of the measures, the file survives a kill, and the run does not notice."""

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from repository import ROOT

from models.datasets import load
from models.errors import ConfigError
from models.files import OutputError
from models.registry import build, configure
from models.train import train
from models.training import Trainer, TrainingConfig
from spectral import FrequencyResponse, capture, cosine_similarity, full_windows, singular_values
from spectral.dynamics import read_watch
from spectral.watch import ENDING, HEADER, MEASURES, Watch

DATA = "synthetic:users=120,items=30"  # most of them have full windows of 6
SIZES = {"max_len": 6, "hidden_size": 8}


def trainer(path: Path, callbacks: list, epochs: int = 3, model: str = "bsarec") -> Trainer:
    sequences = load(DATA)
    config = configure(model, sequences.num_items, **SIZES)
    return Trainer(config, TrainingConfig("ce", epochs=epochs), sequences, path, callbacks=callbacks)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("watched") / "whole.pt"
    trainer(path, [Watch()]).fit(show_progress=False)
    return path


def test_the_checkpoint_is_the_same_with_and_without_a_watch(run, tmp_path):
    trainer(tmp_path / "alone.pt", []).fit(show_progress=False)
    assert (tmp_path / "alone.pt").read_bytes() == run.read_bytes()


@pytest.mark.parametrize("killed", ["before the epoch was saved", "after it was saved"])
def test_the_file_of_a_run_that_was_killed_is_the_same(run, tmp_path, monkeypatch, killed):
    path = tmp_path / "whole.pt"
    first = trainer(path, [Watch()])

    def die(*_):
        raise KeyboardInterrupt

    saves = first._save_state
    if killed == "before the epoch was saved":
        monkeypatch.setattr(first, "_save_state", lambda: saves() if first.progress.epoch < 2 else die())
    else:
        monkeypatch.setattr(first, "_write_log", lambda: None if first.progress.epoch < 2 else die())
    with pytest.raises(KeyboardInterrupt):
        first.fit(show_progress=False)
    again = trainer(path, [Watch()])
    again.resume()
    assert again.progress.epoch == (1 if killed == "before the epoch was saved" else 2)
    again.fit(show_progress=False)
    for ending in (".watch.csv", ".pt"):
        assert path.with_suffix(ending).read_bytes() == run.with_suffix(ending).read_bytes()


def test_the_file_of_a_run_that_was_killed_by_the_system_is_the_same(tmp_path):
    options = [
        "--model",
        "sasrec",
        "--dataset",
        DATA,
        "--epochs",
        "4",
        "--hidden-size",
        "8",
        "--max-len",
        "6",
        "--watch",
    ]
    slow = (  # a writer so slow that the kill falls between the files of an epoch
        "import os, runpy, sys, time; fsync = os.fsync; os.fsync = lambda fd: (time.sleep(0.2), fsync(fd)); "
        "sys.argv = ['train', *sys.argv[1:]]; runpy.run_module('models.train', run_name='__main__')"
    )
    whole, killed = tmp_path / "whole.pt", tmp_path / "killed.pt"
    process = subprocess.Popen([sys.executable, "-c", slow, *options, "--out", killed], stderr=subprocess.DEVNULL)
    watched, deadline = killed.with_suffix(ENDING), time.monotonic() + 60
    while not (watched.exists() and "\n1," in watched.read_text()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    for path in (whole, killed):
        command = [sys.executable, "-m", "models.train", *options, "--out", path, "--resume"]
        subprocess.run(command, check=True, capture_output=True)
    assert watched.read_bytes() == whole.with_suffix(ENDING).read_bytes()
    assert killed.read_bytes() == whole.read_bytes()


def test_the_five_lines_of_the_documentation_watch_a_loop_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/watching.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    lines = [line for line in example.splitlines() if line and not line.startswith(("from ", "import "))]
    assert len(lines) <= 5
    network = torch.nn.Sequential(torch.nn.Embedding(31, 8, padding_idx=0), torch.nn.Linear(8, 8))

    class Mine(torch.nn.Module):
        """A model that this project knows nothing of: it returns what it computes, as Hugging Face models do."""

        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, input_ids):
            embedded = self.network[0](input_ids)
            return {"hidden_states": (embedded, embedded + self.network[1](embedded)), "attentions": None}

    def train_one_epoch(model):
        loss = model(torch.randint(1, 31, (8, 6)))["hidden_states"][-1].square().mean()
        loss.backward()

    windows = torch.randint(1, 31, (20, 6))
    names = {"model": Mine(), "windows": windows, "train_one_epoch": train_one_epoch, "validate": lambda model: 0.1}
    exec(example, names)
    table = read_watch("run.watch.csv")
    assert sorted(table.epoch.unique()) == list(range(20))
    assert set(table[table.layer == 1].measure) >= {"hfc_share", "effective_rank", "between_users", "within_sequence"}
    assert {"NDCG@20", "gradient_norm", "weight_norm"} <= set(table[table.layer.isna()].measure)


def test_a_run_that_starts_again_does_not_keep_rows_of_another(run, tmp_path):
    path = tmp_path / "whole.pt"
    path.with_suffix(".watch.csv").write_text(f"{HEADER}\n0,,loss,9\n")
    trainer(path, [Watch()]).fit(show_progress=False)
    assert path.with_suffix(".watch.csv").read_bytes() == run.with_suffix(".watch.csv").read_bytes()


def test_there_is_one_row_per_epoch_layer_and_measure(run):
    table = pd.read_csv(run.with_suffix(".watch.csv"))
    assert sorted(table.epoch.unique()) == [0, 1, 2]
    assert not table.duplicated(["epoch", "layer", "measure"]).any()
    layers = table.groupby("measure").layer.agg(lambda layer: sorted(layer.dropna().unique()))
    assert layers["gain_nyquist"] == layers["beta_50"] == [1, 2]
    for measure in ("hfc_share", "effective_rank", "k95", "between_users", "within_sequence"):
        assert layers[measure] == [0, 1, 2]
    assert layers["loss"] == layers["NDCG@20"] == []
    assert table.groupby("epoch").size().nunique() == 1


def test_the_numbers_are_those_of_the_measures():
    model = build(configure("sasrec", 30, num_heads=2, **SIZES))
    model.initialise(seed=1)
    windows = torch.randint(1, 31, (120, 6), generator=torch.Generator().manual_seed(0))
    windows[:10, :3] = 0
    watch = Watch(windows=windows)
    found = {(row.layer, row.measure): row.value for row in watch(model, 0)}
    full = full_windows(windows)
    response = FrequencyResponse.from_captures(capture(model, full), c=1)
    mean_power = (response.gain[1] ** 2).mean(0)
    assert found[2, "gain_nyquist"] == pytest.approx(10 * np.log10(mean_power[-1]))
    assert found[2, "gain_dc"] == pytest.approx(0, abs=1e-5)
    trace = model.eval().trace(windows)
    last = trace.hidden[2][:, -1].detach()
    assert found[2, "effective_rank"] == pytest.approx(singular_values(last).effective_rank)
    assert found[2, "k95"] == singular_values(last).k95
    assert found[2, "between_users"] == pytest.approx(cosine_similarity(last))
    within = []
    for states, real in zip(trace.hidden[1].detach().double(), windows > 0, strict=True):
        unit = torch.nn.functional.normalize(states[real], dim=-1)
        n = len(unit)
        within.append(((unit @ unit.T).sum() - n) / (n * (n - 1)))
    assert found[1, "within_sequence"] == pytest.approx(float(torch.stack(within).mean()))
    spectrum = torch.fft.fft(model.trace(full).hidden[1].detach().double(), dim=1).abs().square().sum((0, 2))
    high = spectrum.sum() - spectrum[[0, 1, 5]].sum()  # above the three lowest modes
    assert found[1, "hfc_share"] == pytest.approx(float(high / spectrum.sum()), rel=1e-6)
    weights = torch.cat([weight.detach().flatten() for weight in model.blocks[0].parameters()])
    assert found[1, "weight_norm"] == pytest.approx(float(weights.norm()), rel=1e-6)
    everything = torch.cat([weight.detach().flatten() for weight in model.parameters()])
    assert found[None, "weight_norm"] == pytest.approx(float(everything.norm()), rel=1e-6)
    assert (None, "gradient_norm") not in found  # no step was taken


def test_gradients_are_of_the_last_step_and_stay(tmp_path):
    kept = trainer(tmp_path / "a.pt", [])
    kept._train_epoch(0)
    gradient = torch.cat([weight.grad.flatten() for weight in kept.model.parameters()])
    watch = Watch(["norms"], windows=torch.randint(1, 31, (4, 6)))
    rows = {(row.layer, row.measure): row.value for row in watch(kept.model, 0)}
    assert rows[None, "gradient_norm"] == pytest.approx(float(gradient.norm()), rel=1e-6)
    assert torch.equal(gradient, torch.cat([weight.grad.flatten() for weight in kept.model.parameters()]))
    assert kept.model.training


def test_betas_are_quantiles_over_dimensions():
    model = build(configure("bsarec", 30, **SIZES))
    model.initialise(seed=0)
    rows = {
        (r.layer, r.measure): r.value for r in Watch(["beta"], windows=torch.ones(2, 6, dtype=torch.int64))(model, 0)
    }
    beta = model.blocks[1].mixer.frequency.beta.detach().numpy()
    assert [rows[2, f"beta_{q}"] for q in (10, 50, 90)] == pytest.approx(np.percentile(beta, [10, 50, 90]), rel=1e-6)


def test_every_other_epoch_in_a_loop_of_ones_own(tmp_path):
    model = build(configure("sasrec", 30, **SIZES))
    model.initialise(seed=0)
    path = tmp_path / "own.watch.csv"
    watch = Watch(["similarity"], every=2, windows=torch.randint(1, 31, (5, 6)), path=path)
    counts = [len(watch(model, epoch, {"NDCG@20": 0.1 * epoch})) for epoch in range(4)]
    assert counts == [7, 0, 7, 0]  # two similarities of three layers, and the metric
    table = pd.read_csv(path)
    assert sorted(table.epoch.unique()) == [0, 2]
    assert table[table.measure == "NDCG@20"]["value"].tolist() == pytest.approx([0, 0.2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"measures": ["ranks"]}, "measures must be some of attention, hidden, outputs, similarity, beta, norms"),
        ({"measures": "norms"}, "measures must be some of"),
        ({"every": 0}, "every must be at least 1, got 0"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Watch(**arguments)


def test_without_a_probe_set_or_with_another_file_nothing_is_guessed(tmp_path):
    model = build(configure("sasrec", 30, **SIZES))
    with pytest.raises(ConfigError, match=r"Watch\(windows="):
        Watch()(model, 0)
    path = tmp_path / "other.csv"
    path.write_text("epoch,loss\n0,1\n")
    for epoch in (0, 1):
        with pytest.raises(OutputError, match=r"other\.csv: exists and is not a file of spectral\.watch"):
            Watch(list(MEASURES), windows=torch.ones(2, 6, dtype=torch.int64), path=path)(model, epoch)
    assert path.read_text() == "epoch,loss\n0,1\n"
    path.write_text(f"{HEADER}\n0,,loss,1\nnought,,loss,1\n")
    with pytest.raises(ConfigError, match=r"other\.csv, line 3: expected epoch,layer,measure,value, got 'nought"):
        Watch(windows=torch.ones(2, 6, dtype=torch.int64), path=path)(model, 1)


def test_a_run_that_is_watched_late_says_so(tmp_path, caplog):
    model = build(configure("sasrec", 30, **SIZES))
    model.initialise(seed=0)
    late = tmp_path / "late.watch.csv"
    Watch(["norms"], windows=torch.ones(2, 6, dtype=torch.int64), path=late)(model, 3)
    assert "late.watch.csv: has nothing of the epochs before 3" in caplog.text
    caplog.clear()
    Watch(["norms"], windows=torch.ones(2, 6, dtype=torch.int64), path=late)(model, 4)
    assert not caplog.text


def test_the_option_of_training_watches_and_the_line_of_an_epoch_shows_it(tmp_path, caplog):
    with caplog.at_level("INFO", logger="models"):
        train("sasrec", DATA, out=tmp_path / "a.pt", epochs=1, watch=True, show_progress=False, **SIZES)
    table = pd.read_csv(tmp_path / "a.watch.csv")
    shown = table[(table.measure == "between_users") & (table.layer == 2)]["value"].item()
    assert f"between_users {shown:.4f}" in caplog.text


def test_tensorboard_gets_the_same_numbers_or_says_what_is_missing(tmp_path):
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match=r"--tensorboard needs tensorboard; install it with"):
            Watch(tensorboard=True)
        return
    model = build(configure("sasrec", 30, **SIZES))
    model.initialise(seed=0)
    watch = Watch(["similarity"], windows=torch.randint(1, 31, (5, 6)), path=tmp_path / "a.watch.csv", tensorboard=True)
    watch(model, 0)
    assert list((tmp_path / "a.watch.tensorboard").iterdir())
