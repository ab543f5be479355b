"""Where the settings of a third-party checkpoint come from."""

import json
import sys
import types
from argparse import Namespace
from collections.abc import Callable

import pytest
import torch
import yaml
from third_party_reference import real_file
from third_party_states.small import GIVEN, bsarec_state, scores

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


def test_a_real_file_with_its_configuration_beside_it_needs_no_option(call: Call, tmp_path, caplog):
    (tmp_path / "theirs.pt").write_bytes(real_file("s3rec_lastfm.pt").read_bytes())
    (tmp_path / "theirs.log").write_text("Namespace(data_name='LastFM', num_attention_heads=2)")
    code, out, err = call("spectral.filter_response", tmp_path / "theirs.pt", "--json", "--format", "csv")
    assert code == 0, err
    assert json.loads(out)["dataset"] == "lastfm" and len(json.loads(out)["responses"]) == 6
    assert "using the users of lastfm, the data that a configuration names" in caplog.text
