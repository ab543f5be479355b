"""Models in several files with an index, and folders of one file of weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from third_party_states.small import GIVEN, bsarec_state, scores

import models
from models.errors import CheckpointError

FIRST, SECOND = "model-00001-of-00002", "model-00002-of-00002"


def save_shards(folder: Path, ending: str) -> Path:
    """Save a state dict in two shards; return the path of the index."""
    state = {key: value.contiguous() for key, value in bsarec_state().items()}
    keys = list(state)
    where = {key: (FIRST if place < 20 else SECOND) + ending for place, key in enumerate(keys)}
    for name in dict.fromkeys(where.values()):
        shard = {key: state[key] for key in keys if where[key] == name}
        save_file(shard, folder / name) if ending == ".safetensors" else torch.save(shard, folder / name)
    index = folder / f"model{ending}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return index


@pytest.mark.parametrize("ending", [".safetensors", ".bin"])
def test_shards_are_one_model_through_their_index(tmp_path, their_file, ending):
    (tmp_path / "run").mkdir()
    index = save_shards(tmp_path / "run", ending)
    expected = scores(models.load(their_file, **GIVEN))
    for path in (index, index.with_name(FIRST + ending), index.with_name(SECOND + ending), index.parent):
        assert torch.equal(scores(models.load(path, **GIVEN)), expected)


def test_a_folder_is_its_one_file_of_weights_and_the_configuration_in_it(tmp_path, their_file):
    folder = tmp_path / "run"
    folder.mkdir()
    save_file({key: value.contiguous() for key, value in bsarec_state().items()}, folder / "model.safetensors")
    torch.save({}, folder / "optimizer.pt")
    (folder / "config.json").write_text(json.dumps({"num_attention_heads": 2, "alpha": 0.3, "c": 9}))
    assert torch.equal(scores(models.load(folder)), scores(models.load(their_file, **GIVEN)))


def test_a_folder_of_several_files_is_asked_about(tmp_path):
    for name in ("a.pt", "b.pt"):
        torch.save(bsarec_state(), tmp_path / name)
    with pytest.raises(CheckpointError, match=r"is a folder; name one of a\.pt, b\.pt in it"):
        models.load(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="is a folder without a file of weights"):
        models.load(tmp_path / "empty")


def test_what_an_index_lacks_is_named(tmp_path):
    index = save_shards(tmp_path, ".safetensors")
    content = json.loads(index.read_text())
    (tmp_path / f"{SECOND}.safetensors").rename(tmp_path / "hidden")
    with pytest.raises(CheckpointError, match=f"names the shard {SECOND}.safetensors, which is not beside it"):
        models.load(index, **GIVEN)
    (tmp_path / "hidden").rename(tmp_path / f"{SECOND}.safetensors")
    content["weight_map"]["other.weight"] = f"{FIRST}.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"holds no tensor other.weight, which model.safetensors.index.json says"):
        models.load(index, **GIVEN)
    index.unlink()
    with pytest.raises(CheckpointError, match=r"is part 1 of 2; its index model.safetensors.index.json is not beside"):
        models.load(tmp_path / f"{FIRST}.safetensors", **GIVEN)


@pytest.mark.parametrize(
    "text",
    [
        '{"weight_map": {"a": "../outside.pt"}}',
        '{"weight_map": {"a": "/etc/passwd"}}',
        '{"weight_map": {"a": ""}}',
        '{"weight_map": {}}',
        "{",
        "[]",
    ],
)
def test_an_index_that_leads_elsewhere_or_nowhere_is_refused(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match="is no index of shards"):
        models.load(tmp_path / "model.safetensors.index.json")
