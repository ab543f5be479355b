"""Third-party checkpoints: what they are told apart by, and what is no such file."""

import pytest
import torch
from third_party_states.small import GIVEN, bsarec_state, scores
from torch import nn

import models
from models.errors import CheckpointError, ConfigError


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.module.", "net.encoder."])
def test_what_wrappers_put_before_keys_is_taken_off(their_file, tmp_path, prefix):
    torch.save({prefix + key: value for key, value in bsarec_state().items()}, tmp_path / "wrapped.pt")
    assert torch.equal(scores(models.load(tmp_path / "wrapped.pt", **GIVEN)), scores(models.load(their_file, **GIVEN)))


def test_tensors_of_a_loss_beside_the_model_are_left_out_and_said(their_file, tmp_path, caplog):
    wrapped = {"model." + key: value for key, value in bsarec_state().items()} | {"loss.weight": torch.zeros(3)}
    torch.save({"state_dict": wrapped}, tmp_path / "wrapped.pt")
    assert torch.equal(scores(models.load(tmp_path / "wrapped.pt", **GIVEN)), scores(models.load(their_file, **GIVEN)))
    assert "1 tensors that are not of the model are left out" in caplog.text


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net"])
def test_the_weights_are_found_within_what_training_programs_save(their_file, tmp_path, key):
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(2))]).state_dict()
    torch.save({"epoch": 3, key: bsarec_state(), "optimizer": optimizer}, tmp_path / "training.pt")
    assert torch.equal(scores(models.load(tmp_path / "training.pt", **GIVEN)), scores(models.load(their_file, **GIVEN)))


def test_half_precision_is_read_as_float32(tmp_path):
    torch.save({key: value.half() for key, value in bsarec_state().items()}, tmp_path / "half.pt")
    assert scores(models.load(tmp_path / "half.pt", **GIVEN)).dtype == torch.float32


def test_an_optimizers_state_is_named_as_one(tmp_path):
    torch.save(torch.optim.Adam([nn.Parameter(torch.zeros(2))]).state_dict(), tmp_path / "optimizer.pt")
    with pytest.raises(CheckpointError, match="is the state of an optimizer"):
        models.load(tmp_path / "optimizer.pt")


def test_a_partial_match_names_at_most_ten_keys_of_each_kind(tmp_path):
    state = bsarec_state()
    kept = {key: value for key, value in state.items() if not key.startswith("item_encoder.blocks.1.layer")}
    extra = {f"extra.{number:02}": torch.zeros(1) for number in range(12)}
    torch.save(kept | extra, tmp_path / "part.pt")
    with pytest.raises(CheckpointError) as error:
        models.load(tmp_path / "part.pt")
    message = str(error.value)
    assert "looks like BSARec of BSARec's repository, but its keys differ; missing: item_encoder.blocks.1" in message
    assert "unexpected: extra.00, " in message and "extra.09 and 2 more" in message and "extra.10" not in message
    missing = message.partition("missing: ")[2].partition("; unexpected")[0]
    assert missing.count("item_encoder.blocks.1.layer") == 10 and missing.endswith(
        f"and {len(state) - len(kept) - 10} more"
    )


def test_a_state_dict_of_something_else_is_told_what_is_known(tmp_path):
    torch.save(nn.Linear(3, 3).state_dict(), tmp_path / "linear.pt")
    with pytest.raises(CheckpointError, match=r"its keys \(weight, bias\) are of no known format; known are BSARec of"):
        models.load(tmp_path / "linear.pt")


def test_the_model_may_be_named_where_keys_tell_it_but_not_wrongly(their_file):
    assert models.load(their_file, **GIVEN, model="BSARec").name == "bsarec"
    with pytest.raises(ConfigError, match="is BSARec of BSARec's repository, not sasrec; drop --model"):
        models.load(their_file, **GIVEN, model="sasrec")
