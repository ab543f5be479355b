"""Where the settings of a third-party checkpoint come from."""

import json
import sys
import types
from argparse import Namespace
from collections.abc import Callable

import numpy as np
import pytest
import torch
import yaml
from third_party_reference import real_file
from third_party_states.small import GIVEN, N, bsarec_state, scores

import models
from models.errors import ConfigError

Call = Callable[..., tuple[int, str, str]]


def test_a_lightning_checkpoint_works_with_its_hyperparameters(tmp_path, monkeypatch):
    name = "pytorch_lightning.utilities.parsing"
    module = types.ModuleType(name)
    module.AttributeDict = type("AttributeDict", (dict,), {"__module__": name})
    for part in ("pytorch_lightning", "pytorch_lightning.utilities", name):
        monkeypatch.setitem(sys.modules, part, module)
    for hyper in (dict, module.AttributeDict, Namespace):
        content = {
            "pytorch-lightning_version": "2.4.0",
            "state_dict": {f"model.{key}": value for key, value in bsarec_state().items()},
            "hyper_parameters": hyper(num_attention_heads=2, alpha=0.3, c=9),
        }
        torch.save(content, tmp_path / "last.ckpt")
        assert models.load(tmp_path / "last.ckpt").config.num_heads == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("theirs.json", json.dumps({"model": {"num_attention_heads": 2}, "alpha": 0.3, "c": 9})),
        ("config.yaml", yaml.safe_dump({"n_heads": 2, "alpha": 0.3, "c": 9, "lr": 0.001})),
        (
            "theirs.log",
            "10:00 - Namespace(data_name='LastFM', num_attention_heads=2, c=9, alpha=0.3)\n10:01 - epoch 1\n",
        ),
        ("args.txt", "num_heads,2\nalpha,0.3\nc,9\n"),
    ],
)
def test_a_configuration_beside_the_file_is_read_and_said(their_file, caplog, name, text):
    expected = scores(models.load(their_file, **GIVEN))
    their_file.with_name(name).write_text(text)
    model = models.load(their_file)
    assert torch.equal(scores(model), expected)
    assert f"num_heads 2 from {name}" in caplog.text
    assert models.load(their_file, heads=4).config.num_heads == 4


def test_a_broken_configuration_of_the_files_name_is_an_error_and_other_files_are_not(their_file):
    their_file.with_name("config.json").write_text("{broken")
    assert models.load(their_file, **GIVEN)
    their_file.with_suffix(".json").write_text("{broken")
    with pytest.raises(ConfigError, match=r"theirs\.json: is beside the checkpoint but cannot be read"):
        models.load(their_file, **GIVEN)


def test_the_dataset_of_a_configuration_is_a_source_where_item_ids_are_the_same(their_file):
    their_file.with_suffix(".json").write_text(json.dumps({"data_name": "Sports_and_Outdoors"}))
    assert models.load(their_file, **GIVEN).checkpoint["dataset"]["source"] == "sports"


@pytest.mark.parametrize(
    "sections",
    [
        {"loss": {"alpha": 0.25}, "model": {"name": "BSARec", "num_attention_heads": 2, "alpha": 0.7, "c": 5}},
        {"optimizer": {"alpha": 0.99}, "net": {"num_heads": 2}, "bsarec": {"alpha": 0.7, "c": 5}},
        {"alpha": 0.25, "trainer": {"model_args": {"heads": 2, "alpha": 0.7, "c": 5}}},
        {"optim.alpha": 0.99, "model.alpha": 0.7, "model/c": 5, "model.n_heads": 2},
        {"hparams": {"heads": {"value": 2}, "alpha": {"desc": None, "value": 0.7}, "c": {"value": 5}}},
    ],
    ids=["Hydra", "named after the model", "outside", "dotted", "Weights & Biases"],
)
@pytest.mark.parametrize("inside", [False, True])
def test_alpha_is_the_models_own(tmp_path, sections, inside):
    torch.save(
        {"hyper_parameters": sections, "state_dict": bsarec_state()} if inside else bsarec_state(), tmp_path / "a.pt"
    )
    if not inside:
        (tmp_path / "a.yaml").write_text(yaml.safe_dump(sections))
    config = models.load(tmp_path / "a.pt").config
    assert (config.num_heads, config.alpha, config.c) == (2, 0.7, 5)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"first": {"alpha": 0.2}, "second": {"alpha": 0.7}}, "0.2 in first and 0.7 in second"),
        ({"negatives": {"alpha": 0.75}, "model": {"hidden": 16}}, "0.75 in negatives"),
    ],
)
def test_an_alpha_of_which_nobody_knows_whose_it_is_is_asked_about(their_file, sections, said):
    their_file.with_suffix(".yaml").write_text(yaml.safe_dump(sections | {"heads": 2, "c": 9}))
    with pytest.raises(ConfigError, match=rf"give --alpha \(theirs.yaml says {said}, and one of them has to be chosen"):
        models.load(their_file)
    assert models.load(their_file, alpha=0.7).config.alpha == 0.7


def test_runs_in_one_log_that_differ_are_not_chosen_from(their_file):
    run = "10:00 - Namespace(train_name='{}', model_type='BSARec', num_attention_heads=2, c=9, alpha={})\n"
    log = their_file.with_suffix(".log")
    log.write_text(run.format("x", 0.3) + run.format("x", 0.7))
    with pytest.raises(ConfigError, match=r"theirs.log says 0.3 in run 1 and 0.7 in run 2"):
        models.load(their_file)
    log.write_text(run.format("other", 0.3) + run.format("theirs", 0.7))
    assert models.load(their_file).config.alpha == 0.7
    log.write_text(run.format("x", 0.3) + run.format("x", 0.3))
    assert models.load(their_file).config.alpha == 0.3


def test_the_way_of_padding_is_read_and_kept(their_file):
    their_file.with_suffix(".log").write_text("Namespace(num_attention_heads=2, c=9, alpha=0.3, padding='mirror')")
    assert models.load(their_file).config.padding == "symmetric"
    assert models.load(their_file, padding="cyclic").config.padding == "cyclic"
    their_file.with_suffix(".log").unlink()
    assert models.load(their_file, **GIVEN).config.padding == "zero"
    with pytest.raises(
        ConfigError, match="padding: must be one of zero, cyclic, reflect, symmetric, mirror, got 'edge'"
    ):
        models.load(their_file, padding="edge", **GIVEN)


def test_contradictions_between_file_neighbour_and_name_are_named_with_both_values(tmp_path, caplog):
    path = tmp_path / "run_h4_alpha0.5.pt"
    torch.save({"state_dict": bsarec_state(), "args": {"alpha": 0.3}}, path)
    (tmp_path / "config.json").write_text(json.dumps({"alpha": 0.7, "num_heads": 2, "c": 9, "hidden_size": 64}))
    config = models.load(path).config
    assert (config.num_heads, config.alpha, config.c) == (2, 0.3, 9)
    said = "alpha 0.3 from the file's own args, although config.json says 0.7, although the file's name says 0.5"
    assert said in caplog.text
    assert "num_heads 2 from config.json, although the file's name says 4" in caplog.text
    assert "config.json says hidden_size 64, but the shapes of the file say 16" in caplog.text


def test_the_name_of_a_file_is_a_configuration_of_last_resort(tmp_path):
    torch.save(bsarec_state(), tmp_path / "bsarec_h2_alpha0.3_c9.pt")
    config = models.load(tmp_path / "bsarec_h2_alpha0.3_c9.pt").config
    assert (config.num_heads, config.alpha, config.c) == (2, 0.3, 9)


@pytest.mark.parametrize("legacy", [False, True])
def test_numbers_of_numpy_are_numbers(tmp_path, legacy):
    content = {
        "state_dict": bsarec_state(),
        "args": {"num_attention_heads": np.int64(2), "alpha": np.float32(0.5), "c": np.uint8(9)},
        "best_ndcg": np.float64(0.0433),
        "losses": np.array([1.0, 0.9]),
    }
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    config = models.load(tmp_path / "a.pt").config
    assert (config.num_heads, config.alpha, config.c) == (2, 0.5, 9)


def test_a_long_log_is_read_up_to_a_limit_and_a_nest_of_aliases_ends(their_file, caplog):
    line = "10:00 - epoch 1\n"
    log = their_file.with_suffix(".log")
    log.write_text("Namespace(num_attention_heads=2, c=9, alpha=0.3)\n" + line * 100_000)
    assert models.load(their_file).config.alpha == 0.3
    assert "only the first MiB of" in caplog.text
    log.unlink()
    aliases = "a0: &a0 {x: 1}\n" + "".join(
        f"a{n}: &a{n} {{" + ", ".join(f"k{k}: *a{n - 1}" for k in range(9)) + "}\n" for n in range(1, 10)
    )
    their_file.with_suffix(".yaml").write_text(aliases + "num_heads: 2\nalpha: 0.3\nc: 9\n")
    assert models.load(their_file).config.num_heads == 2


def test_a_real_file_with_its_configuration_beside_it_needs_no_option(call: Call, tmp_path, caplog):
    (tmp_path / "theirs.pt").write_bytes(real_file("s3rec_lastfm.pt").read_bytes())
    (tmp_path / "theirs.log").write_text("Namespace(data_name='LastFM', num_attention_heads=2)")
    code, out, err = call("spectral.filter_response", tmp_path / "theirs.pt", "--json", "--format", "csv")
    assert code == 0, err
    assert json.loads(out)["dataset"] == "lastfm" and len(json.loads(out)["responses"]) == 6
    assert "using the users of lastfm, the data that a configuration names" in caplog.text


@pytest.mark.parametrize("section", ["loss", "optimizer_cfg", "focal_loss"])
def test_an_alpha_of_the_loss_beside_the_weights_is_not_the_models(tmp_path, section):
    content = {"state_dict": bsarec_state(), section: {"alpha": 0.99}, "heads": 2, "c": 9}
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ConfigError, match=r"give --alpha \(from 0 to 1\)"):
        models.load(tmp_path / "a.pt")
    torch.save(content | {"net": {"alpha": 0.3}}, tmp_path / "a.pt")
    assert models.load(tmp_path / "a.pt").config.alpha == 0.3
    torch.save(content | {"extra": {"alpha": 0.4}}, tmp_path / "a.pt")
    with pytest.raises(ConfigError, match=r"give --alpha \(the file itself says 0.4 in extra"):
        models.load(tmp_path / "a.pt")
    torch.save({"checkpoint": {"model": bsarec_state(), "alpha": 0.3, "heads": 2, "c": 9}}, tmp_path / "a.pt")
    assert models.load(tmp_path / "a.pt").config.alpha == 0.3, "it stands beside the weights"


def test_arguments_in_a_pair_with_the_weights_are_read(tmp_path):
    torch.save((Namespace(num_attention_heads=2, alpha=0.3, c=9), bsarec_state()), tmp_path / "a.pt")
    assert models.load(tmp_path / "a.pt").config.num_heads == 2


def test_another_number_of_positions_in_the_name_is_said(tmp_path, caplog):
    for maxlen, is_said in ((N, False), (N + 1, False), (200, True)):
        path = tmp_path / f"BSARec.head=2.maxlen={maxlen}.pth"
        torch.save(bsarec_state(), path)
        caplog.clear()
        models.load(path, alpha=0.3, c=9)
        assert (f"the file's name says max_len {maxlen}, but the shapes of the file say {N}" in caplog.text) == is_said
