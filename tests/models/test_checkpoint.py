"""Checkpoints come back as they were, and what is not one is refused, each time with its own reason."""

import os

import pytest
import torch
from third_party_states.small import DATA, GIVEN

import models
from models import checkpoint
from models import checkpoint as checkpoints
from models.datasets import load
from models.errors import CheckpointError, ConfigError, DataError
from models.recommender import Recommender
from models.train import train


@pytest.fixture
def content(checkpoint):
    return checkpoints.read(checkpoint)


def checkpoint_sequences(model: Recommender, data: str | None) -> int:
    return checkpoint.sequences_of(model, data).num_users


def test_a_checkpoint_explains_itself(checkpoint):
    model = models.load(checkpoint)
    assert model.name == "bsarec"
    assert (model.config.alpha, model.config.c, model.config.num_heads) == (0.7, 5, 2)
    sequences = load("synthetic:users=120,items=60")
    assert model.checkpoint["dataset"]["fingerprint"] == sequences.fingerprint
    assert model.checkpoint["dataset"]["num_interactions"] == sequences.num_interactions
    assert model.checkpoint["training"]["loss"] == "ce"
    assert model.checkpoint["seed"] == 1
    assert set(model.checkpoint["metrics"]["test"]) == {
        "MRR",
        *(f"{m}@{k}" for m in ("HR", "NDCG") for k in (5, 10, 20)),
    }
    assert model.checkpoint["versions"]["torch"] == torch.__version__
    assert not model.training


def test_the_probe_is_the_test_windows_of_users_drawn_uniformly_and_of_full_windows(checkpoint):
    probe = models.load(checkpoint).probe
    sequences = load("synthetic:users=120,items=60")
    windows = sequences.windows("test", 20)
    rows = {int(user): row for row, user in enumerate(sequences.users)}
    for ids, user in zip(probe.input_ids, probe.users, strict=True):
        assert ids.tolist() == windows.inputs[rows[int(user)]].tolist()
    assert probe.uniform.all()  # 120 users are fewer than 512
    many = load("synthetic:users=900,items=60")
    probe = checkpoints.draw_probe(many, 20)
    assert probe.uniform.sum() == checkpoints.UNIFORM_PROBES
    assert (probe.input_ids[~probe.uniform, 0] > 0).all()
    assert len(set(probe.users.tolist())) == len(probe.users)


def test_saving_and_loading_changes_nothing(checkpoint, content, tmp_path):
    checkpoints.save(content, tmp_path / "copy.pt")
    assert (tmp_path / "copy.pt").read_bytes() == checkpoint.read_bytes()


@pytest.mark.parametrize("other", [{"weight": torch.zeros(3)}, [1, 2], torch.zeros(2)])
def test_what_torch_saved_for_something_else_is_described(other, tmp_path):
    torch.save(other, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of this toolkit"):
        models.load(tmp_path / "other.pt")


def test_a_newer_format_asks_for_an_update(content, tmp_path):
    checkpoints.save(content | {"format_version": 99}, tmp_path / "new.pt")
    with pytest.raises(CheckpointError, match=r"version 99.*reads up to 1; update"):
        models.load(tmp_path / "new.pt")


def test_missing_and_misshaped_tensors_are_named(content, tmp_path):
    state = dict(content["state_dict"])
    del state["positions.weight"]
    state["norm.bias"] = torch.zeros(3)
    state["extra"] = torch.zeros(1)
    checkpoints.save(content | {"state_dict": state}, tmp_path / "broken.pt")
    with pytest.raises(CheckpointError) as error:
        models.load(tmp_path / "broken.pt")
    for part in ("positions.weight is missing", "norm.bias has shape (3,) instead of (16,)", "extra is unexpected"):
        assert part in str(error.value)


@pytest.mark.parametrize("field", ["config", "probe", "state_dict", "metrics"])
def test_a_missing_field_is_named(content, field, tmp_path):
    checkpoints.save({key: value for key, value in content.items() if key != field}, tmp_path / "part.pt")
    with pytest.raises(CheckpointError, match=f"lacks '{field}'"):
        models.load(tmp_path / "part.pt")


def test_a_configuration_that_makes_no_model_is_refused(content, tmp_path):
    checkpoints.save(content | {"config": content["config"] | {"c": 4}}, tmp_path / "wrong.pt")
    with pytest.raises(CheckpointError, match="c must be odd"):
        models.load(tmp_path / "wrong.pt")
    checkpoints.save(content | {"model": "mamba"}, tmp_path / "wrong.pt")
    with pytest.raises(CheckpointError, match="'mamba'; known are sasrec, bsarec"):
        models.load(tmp_path / "wrong.pt")


def test_a_probe_beyond_the_item_table_is_refused(content, tmp_path):
    probe = content["probe"] | {"input_ids": content["probe"]["input_ids"] + 1000}
    checkpoints.save(content | {"probe": probe}, tmp_path / "wrong.pt")
    with pytest.raises(CheckpointError, match=r"item ids outside 0\.\.60"):
        models.load(tmp_path / "wrong.pt")


def test_a_missing_file_is_an_operating_system_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        models.load(tmp_path / "nothing.pt")


def test_a_full_disk_leaves_the_old_checkpoint(checkpoint, content, tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    path.write_bytes(checkpoint.read_bytes())

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        checkpoints.save(content | {"seed": 2}, path)
    assert error.value.filename == str(path)
    assert path.read_bytes() == checkpoint.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]


def test_the_runs_of_the_workflow_are_loaded_by_name_and_a_missing_one_says_how_to_make_it(checkpoint, tmp_path):
    folder = tmp_path / "runs" / "quick" / "mine"
    folder.mkdir(parents=True)
    (folder / "bsarec-seed1.pt").write_bytes(checkpoint.read_bytes())
    loaded = checkpoints.load_runs(tmp_path / "runs", "quick", "mine", ["bsarec"], seed=1)
    assert loaded["bsarec"].name == "bsarec"
    with pytest.raises(CheckpointError, match="make it with: make figures PROFILE=quick DATASET=mine"):
        checkpoints.load_runs(tmp_path / "runs", "quick", "mine", ["bsarec", "sasrec"], seed=1)
    with pytest.raises(CheckpointError, match="make it with: make successors PROFILE=quick DATASET=mine"):
        checkpoints.load_runs(tmp_path / "runs", "quick", "mine", ["tvrec"], seed=1, target="successors")


def test_windows_of_several_models_are_those_of_all_users_each_as_its_model_fills_them_up(tmp_path):
    lengths = {"zero": 12, "cyclic": 8}
    networks = {}
    for padding, length in lengths.items():
        path = tmp_path / f"{padding}.pt"
        settings = {"padding": padding, "max_len": length, "hidden_size": 8, "epochs": 1, "show_progress": False}
        networks[padding] = models.load(train("sasrec", "synthetic:users=40,items=30", out=path, **settings).path)
    windows = checkpoints.windows_of(networks)
    sequences = load("synthetic:users=40,items=30")
    for padding, length in lengths.items():
        expected = sequences.windows("test", length, padding).inputs
        assert windows[padding].tolist() == expected.tolist() and expected.shape == (40, length)


def test_files_are_loaded_by_the_name_of_the_model_or_of_the_file(their_file, checkpoint, tmp_path):
    settings = {str(their_file): GIVEN}
    found = checkpoints.load_files([their_file, checkpoint], settings, names=["sasrec"])
    assert list(found) == ["bsarec", checkpoint.stem] and found["bsarec"].config.alpha == GIVEN["alpha"]
    assert list(checkpoints.load_files([their_file], settings, names=["bsarec"])) == [their_file.stem]
    with pytest.raises(ConfigError, match="another file or run has the name"):
        checkpoints.load_files([their_file] * 3, settings)
    with pytest.raises(ConfigError, match=r"settings are for x\.pt, which is not among the files \(none\)"):
        checkpoints.load_files([], {"x.pt": {}})


def test_several_models_are_given_users_whose_items_all_of_them_know(their_file, checkpoint, caplog):
    theirs, ours = models.load(their_file, **GIVEN), models.load(checkpoint)
    windows = checkpoints.windows_of({"theirs": theirs, "ours": ours}, data="synthetic:items=50")
    expected = load("synthetic:items=50").windows("test", ours.config.max_len, "zero").inputs
    assert windows["ours"].tolist() == expected.tolist()
    assert "is not the data that the checkpoint was trained on" in caplog.text
    assert "must have the item ids of the training data" in caplog.text
    small = models.load(train("sasrec", "synthetic:users=40,items=30", out=their_file.parent / "s.pt", epochs=1).path)
    with pytest.raises(DataError, match="items up to 60, but the checkpoint knows items up to 30"):
        checkpoints.windows_of({"ours": ours, "small": small})


def test_the_dataset_of_a_model_is_found_and_another_one_must_fit(checkpoint, caplog):
    model = models.load(checkpoint)
    assert checkpoints.sequences_of(model).fingerprint == model.checkpoint["dataset"]["fingerprint"]
    assert not caplog.text
    assert checkpoints.sequences_of(model, "synthetic:items=50").num_items <= 60
    assert "not the data that the checkpoint was trained on" in caplog.text
    with pytest.raises(DataError, match="items up to 99, but the checkpoint knows items up to 60"):
        checkpoints.sequences_of(model, "synthetic:items=99")


def test_a_file_of_data_is_only_opened_if_it_is_named_again(tmp_path):
    data = tmp_path / "own.txt"
    data.write_text("".join(f"{user} 1 2 3 {4 + user}\n" for user in range(1, 9)))
    path = train("sasrec", data, out=tmp_path / "m.pt", epochs=1, max_len=5, hidden_size=8).path
    model = models.load(path)
    assert model.checkpoint["dataset"]["source"] == str(data)
    with pytest.raises(DataError, match=r"own\.txt', which is not opened without being named; give --data FILE"):
        checkpoints.sequences_of(model)
    assert checkpoints.sequences_of(model, str(data)).fingerprint == model.checkpoint["dataset"]["fingerprint"]
    windows = checkpoints.windows_of({"sasrec": model}, data=str(data))
    assert windows["sasrec"].shape == (8, 5)


def test_settings_of_our_own_checkpoints_cannot_be_changed(checkpoint):
    assert models.load(checkpoint, heads=2, alpha=0.7, c=5, fallback={"c": 9}).config.c == 5
    with pytest.raises(ConfigError, match="has num_heads 2, which cannot be changed; --heads is for third-party"):
        models.load(checkpoint, heads=4)
    with pytest.raises(ConfigError, match="has model bsarec"):
        models.load(checkpoint, model="sasrec")


def test_items_beyond_the_table_and_missing_data_are_data_errors(their_file):
    model = models.load(their_file, **GIVEN)
    assert checkpoint_sequences(model, DATA) == 120
    with pytest.raises(DataError, match="items up to 99, but the checkpoint knows items up to 60"):
        checkpoint_sequences(model, "synthetic:items=99")
    with pytest.raises(DataError, match=r"holds no sequences of users .*give --data NAME_OR_FILE"):
        checkpoint_sequences(model, None)
    with pytest.raises(ValueError, match=r"item ids must lie in 0\.\.60"):
        model(torch.tensor([[61]]))


def test_users_without_items_are_a_data_error(their_file, tmp_path):
    (tmp_path / "empty.txt").write_text("1\n2\n")
    with pytest.raises(DataError, match="has no user with at least 3 items"):
        checkpoint_sequences(models.load(their_file, **GIVEN), str(tmp_path / "empty.txt"))
