"""Third-party checkpoints: what they are told apart by, and what is no such file."""

from argparse import Namespace

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


@pytest.mark.parametrize("wrapper", ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module"])
@pytest.mark.parametrize("part", ["item_encoder.", "item_encoder.blocks.1."])
def test_the_names_of_wrappers_are_taken_out_wherever_they_are(their_file, tmp_path, wrapper, part):
    state = {key.replace(part, f"{part}{wrapper}."): value for key, value in bsarec_state().items()}
    torch.save(state, tmp_path / "wrapped.pt")
    assert torch.equal(scores(models.load(tmp_path / "wrapped.pt", **GIVEN)), scores(models.load(their_file, **GIVEN)))


OPTIMIZER = torch.optim.Adam([nn.Parameter(torch.zeros(2))]).state_dict()


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: [{"user_num": 9, "args": Namespace(num_heads=2, alpha=0.3, c=9)}, state],
        lambda state: {"checkpoint": {"model": state}, "args": {"num_heads": 2, "alpha": 0.3, "c": 9}},
        lambda state: {"module": state, "ds_version": "0.14", "optimizer": None, "heads": 2, "alpha": 0.3, "c": 9},
        lambda state: ({"ema_state_dict": state}, OPTIMIZER, {"kwargs": {"head": 2, "alpha": 0.3, "c": 9}}),
        lambda state: {"best": {"metrics": {"loss": torch.ones(1)}, "weights": state}, "opt": {**GIVEN, "lr": 1e-3}},
    ],
    ids=["list", "nested", "deepspeed", "tuple", "beside metrics"],
)
def test_the_only_state_dict_is_found_at_any_depth_with_the_settings_beside_it(their_file, tmp_path, wrapped):
    torch.save(wrapped(bsarec_state()), tmp_path / "file.pt")
    assert torch.equal(scores(models.load(tmp_path / "file.pt")), scores(models.load(their_file, **GIVEN)))


@pytest.mark.parametrize("flat", [False, True])
def test_of_several_models_in_a_file_none_is_guessed(tmp_path, flat):
    one, other = bsarec_state(), {key: 2 * value for key, value in bsarec_state().items()}
    both = {f"net.{key}": v for key, v in one.items()} | {f"teacher.{key}": v for key, v in other.items()}
    content = {"state_dict": both} if flat else {"net": one, "teacher": other}
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(ConfigError, match=r"holds several models, .*net, .*teacher; choose one with --set weights="):
        models.load(tmp_path / "file.pt", **GIVEN)
    chosen = models.load(tmp_path / "file.pt", weights="state_dict.teacher" if flat else "teacher", **GIVEN)
    assert torch.equal(chosen.items.weight, other["item_embeddings.weight"])
    with pytest.raises(ConfigError, match="has no model 'tutor'; it has"):
        models.load(tmp_path / "file.pt", weights="tutor", **GIVEN)


def test_the_same_weights_twice_are_one_model(their_file, tmp_path):
    torch.save({"last": bsarec_state(), "best": bsarec_state()}, tmp_path / "file.pt")
    assert torch.equal(scores(models.load(tmp_path / "file.pt", **GIVEN)), scores(models.load(their_file, **GIVEN)))


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


@pytest.mark.parametrize("place", ["inside", "beside", "name"])
def test_a_contradiction_between_keys_and_what_is_said_of_the_model_is_named(tmp_path, caplog, place):
    name = "SASRec-best.pt" if place == "name" else "file.pt"
    content = {"args": {"model_type": "SASRec", **GIVEN}, "state_dict": bsarec_state()}
    torch.save(content if place == "inside" else bsarec_state(), tmp_path / name)
    if place == "inside":
        with pytest.raises(
            ConfigError, match=r"keys are those of BSARec .*, but the file's own args says model SASRec"
        ):
            models.load(tmp_path / name)
        assert models.load(tmp_path / name, model="bsarec").name == "bsarec"
        return
    if place == "beside":
        (tmp_path / "config.json").write_text('{"model_type": "SASRec"}')
    models.load(tmp_path / name, **GIVEN)
    said = {"beside": "config.json", "name": "the file's name"}[place]
    assert f"the keys are those of BSARec of BSARec's repository, but {said} says model SASRec" in caplog.text


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_said_and_not_measured(call, tmp_path, caplog, bad):
    state = bsarec_state()
    state["item_embeddings.weight"][3, 0] = bad
    torch.save(state, tmp_path / "bad.pt")
    assert models.load(tmp_path / "bad.pt", **GIVEN).checkpoint["not_finite"].endswith("in item_embeddings.weight")
    assert "bad.pt: weights are not finite" in caplog.text
    options = ["--heads", 2, "--alpha", 0.3, "--c", 9, "--data", "synthetic:users=20,items=30"]
    code, _, err = call("spectral.singular_values", tmp_path / "bad.pt", *options)
    assert code == 2
    assert err.splitlines()[-1].startswith(f"error: {tmp_path / 'bad.pt'}: weights are not finite (")
