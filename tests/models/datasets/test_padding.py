"""Padding of short histories, against numpy.pad, and all the way through training, evaluation and checkpoints."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import models
from models import checkpoint
from models.choices import PADDINGS
from models.datasets import load
from models.datasets.padding import fill_padding
from models.errors import CheckpointError, ConfigError
from models.registry import build, configure
from models.train import train

NUMPY_MODES = {"cyclic": "wrap", "reflect": "reflect", "symmetric": "symmetric"}


@given(history=st.lists(st.integers(1, 99), min_size=1, max_size=12), length=st.integers(1, 40))
@pytest.mark.parametrize("mode", NUMPY_MODES)
def test_filled_windows_are_numpys(mode: str, history: list[int], length: int):
    kept = np.array(history[-length:], dtype=np.int32)
    window = np.concatenate([np.zeros(length - len(kept), np.int32), kept])
    expected = np.pad(kept, (length - len(kept), 0), mode=NUMPY_MODES[mode])
    filled = fill_padding(np.stack([window, window]), mode)
    assert filled.dtype == np.int32
    np.testing.assert_array_equal(filled, [expected, expected])


@pytest.mark.parametrize("mode", PADDINGS)
def test_a_window_without_items_stays_padding(mode: str):
    assert not fill_padding(np.zeros((2, 5), np.int64), mode).any()


def test_zero_is_the_window_itself():
    window = np.array([[0, 0, 3, 4]])
    assert fill_padding(window, "zero") is window


@pytest.mark.parametrize("mode", PADDINGS)
def test_training_evaluation_probe_and_model_agree_on_the_padding(mode: str, tmp_path: Path):
    sequences = load("synthetic:users=60,items=40,length=6")
    options = {"hidden_size": 8, "max_len": 10, "epochs": 1, "show_progress": False}
    run = train("bsarec", sequences, out=tmp_path / "run.pt", padding=mode, **options)
    model = models.load(run.path)
    windows = torch.from_numpy(sequences.windows("test", 10, mode).inputs)
    assert model.config.padding == mode
    rows = torch.from_numpy(np.searchsorted(sequences.users, model.probe.users.numpy()))
    assert torch.equal(model.probe.input_ids, windows[rows])
    short = [sequences.items[a : b - 1] for a, b in zip(sequences.offsets, sequences.offsets[1:], strict=False)]
    for history, window in zip(short[:5], windows, strict=False):
        assert torch.equal(model.window(torch.from_numpy(history)[None])[0], window)
    prefixes = sequences.prefixes(10, mode).inputs
    assert ((prefixes == 0).any(1) == ((prefixes == 0).all(1) if mode != "zero" else (prefixes[:, 0] == 0))).all()


def test_an_unknown_padding_is_named():
    with pytest.raises(ConfigError, match=r"padding must be one of zero, cyclic, reflect, symmetric, got 'ones'"):
        configure("bsarec", 10, padding="ones")


def test_checkpoints_from_before_there_was_a_choice_are_padded_with_zeros():
    config = {"max_len": 10, "hidden_size": 8, "dropout": 0.5, "num_layers": 2, "num_heads": 1}
    assert build(configure("sasrec", 40, **config)).config.padding == "zero"


def test_a_run_from_before_there_was_a_choice_loads_and_is_the_run_of_the_default(tmp_path: Path):
    options = {"hidden_size": 8, "max_len": 10, "epochs": 1, "show_progress": False, "out": tmp_path / "old.pt"}
    run = train("sasrec", "synthetic:users=60,items=40,length=6", **options)
    content = checkpoint.read(run.path)
    del content["config"]["padding"]
    checkpoint.save(content, run.path)
    assert models.load(run.path).config.padding == "zero"
    assert train("sasrec", "synthetic:users=60,items=40,length=6", resume=True, **options) == run
    with pytest.raises(CheckpointError, match="finished run with other settings"):
        train("sasrec", "synthetic:users=60,items=40,length=6", resume=True, padding="cyclic", **options)


def test_the_commands_say_that_filled_windows_count_as_full(tmp_path: Path, command: Callable[..., Any]):
    options = {"hidden_size": 8, "max_len": 10, "epochs": 1, "show_progress": False}
    run = train("sasrec", "synthetic:users=60,items=40,length=6", out=tmp_path / "c.pt", padding="cyclic", **options)
    done = command("spectral.filter_response", run.path, "--json", "--format", "csv")
    assert done.returncode == 0, done.stderr
    assert "note: cyclic padding fills shorter histories up" in done.stderr
    assert json.loads(done.stdout)["users"] == 60
