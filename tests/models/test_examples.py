"""The checkpoints that come with the package."""

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from repository import ROOT

import models
from models.errors import CheckpointError
from models.examples import locate, names

Call = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("name", names())
def test_an_example_is_the_run_whose_result_is_in_the_gallery(name: str):
    model = models.load(f"example:{name}")
    committed = json.loads((ROOT / f"figures/ml-100k/runs/quick/{name}-seed42.json").read_text())
    assert (model.name, model.checkpoint["seed"]) == (name, 42)
    assert model.checkpoint["metrics"]["test"] == pytest.approx(committed["test"], abs=1e-3)
    assert model.checkpoint["dataset"]["fingerprint"] == committed["dataset"]["fingerprint"]


@pytest.mark.parametrize("name", names())
def test_an_example_is_small_and_holds_nobody(name: str):
    content = torch.load(locate(f"example:{name}"), weights_only=True)
    assert len(content["probe"]["input_ids"]) == len(content["probe"]["users"]) == 0
    assert locate(f"example:{name}").stat().st_size < 1_000_000
    assert (files("models") / "examples" / f"{name}.pt").is_file()  # of the installed package


def test_a_measure_takes_an_example_from_any_folder(call: Call, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    users = tmp_path / "users.txt"
    users.write_text(
        "".join(f"{user} {' '.join(str(1 + (user + step) % 90) for step in range(60))}\n" for user in range(1, 9))
    )
    code, out, err = call("spectral.filter_response", "example:bsarec", "--data", users, "--json")
    assert code == 0, err
    assert len(json.loads(out)["responses"]) > 0
    assert sorted(path.suffix for path in tmp_path.glob("filter_response.*")) == [".csv", ".pdf", ".png"]


def test_an_unknown_example_is_named_with_those_that_there_are(call: Call, tmp_path: Path):
    with pytest.raises(CheckpointError, match="no 'example:sasrek' among the examples, which are example:bsarec"):
        models.load("example:sasrek")
    code, _, err = call("spectral.filter_response", "example:sasrek", "--out", tmp_path)
    assert code == 2 and "example:sasrec" in err


def test_a_checkpoint_is_converted_without_its_users(call: Call, checkpoint: Path, tmp_path: Path):
    code, _, err = call("models.convert", "--no-users", checkpoint, tmp_path / "bare.pt")
    assert code == 0 and "0 sequences; the measures take those of" in err
    bare, whole = models.load(tmp_path / "bare.pt"), models.load(checkpoint)
    assert len(bare.probe.input_ids) == 0 < len(whole.probe.input_ids)
    assert all(torch.equal(value, whole.state_dict()[key]) for key, value in bare.state_dict().items())
    assert bare.checkpoint["dataset"] == whole.checkpoint["dataset"]
