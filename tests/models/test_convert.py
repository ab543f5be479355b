"""Third-party checkpoints converted to our own."""

import json
from collections.abc import Callable

import pytest
import torch
from third_party_states.small import CONVERTED, DATA, GIVEN, WINDOWS

import models
from models.convert import convert

Call = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("name", CONVERTED)
def test_a_converted_checkpoint_opens_without_settings_and_has_the_same_numbers(tmp_path, name):
    make, settings = CONVERTED[name]
    torch.save(make(), tmp_path / "theirs.pt")
    convert(tmp_path / "theirs.pt", tmp_path / "ours.pt", **settings)
    theirs, ours = models.load(tmp_path / "theirs.pt", **settings), models.load(tmp_path / "ours.pt")
    assert (ours.name, ours.config) == (theirs.name, theirs.config)
    windows = WINDOWS.clamp(max=40)
    with torch.inference_mode():
        assert torch.equal(ours(windows), theirs(windows))
    assert len(ours.probe.input_ids) == 0 and ours.checkpoint["training"]["origin"]


def test_a_converted_checkpoint_needs_nothing_in_a_fresh_process(call: Call, their_file, command):
    ours = their_file.with_name("ours.pt")
    options = ("--heads", 2, "--alpha", 0.3, "--c", 9, "--data", DATA)
    code, _, err = call("models.convert", their_file, ours, *options)
    assert code == 0 and "BSARec, 120 sequences" in err
    result = command("spectral.cosine_similarity", ours, "--json", "--format", "csv")
    assert result.returncode == 0, result.stderr
    direct = call("spectral.cosine_similarity", their_file, *options, "--json", "--format", "csv")
    assert json.loads(result.stdout) == json.loads(direct[1])
    code, _, err = call("models.convert", their_file, their_file, *options)
    assert code == 2 and "choose another name" in err
    assert models.load(their_file, **GIVEN)


def test_a_converted_checkpoint_without_data_still_asks_for_it(call: Call, their_file):
    ours = their_file.with_name("ours.pt")
    assert call("models.convert", their_file, ours, "--heads", 2, "--alpha", 0.3, "--c", 9)[0] == 0
    code, _, err = call("spectral.cosine_similarity", ours)
    assert code == 2 and "give --data NAME_OR_FILE" in err
    assert call("spectral.cosine_similarity", ours, "--data", DATA, "--format", "csv")[0] == 0


def test_a_file_that_is_no_checkpoint_of_ours_is_not_replaced(their_file, tmp_path, call):
    (tmp_path / "notes.txt").write_text("mine")
    code, _, err = call("models.convert", their_file, tmp_path / "notes.txt", "--heads", 2, "--alpha", 0.3, "--c", 9)
    assert code == 2 and "notes.txt: exists and is not a checkpoint of this program" in err
    assert (tmp_path / "notes.txt").read_text() == "mine"
