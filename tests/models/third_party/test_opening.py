"""Third-party checkpoints: what they are told apart by, where their settings come from, and what is no such file."""

import ast
import gzip
import io
import json
import runpy
import sys
import types
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from test_third_party_bsarec_repository import sasrec_state
from test_third_party_gsasrec import state_of as gsasrec_state
from test_third_party_pmixer import state_of as pmixer_state
from test_third_party_recbole import bert4rec_state
from test_third_party_recbole import sasrec_state as recbole_sasrec_state
from test_third_party_rechorus import bsarec_state as rechorus_bsarec_state
from test_third_party_rechorus import sasrec_state as rechorus_sasrec_state
from third_party_reference import State, dense, draw, layers, norms, real_file
from torch import nn

import models
from models import checkpoint
from models.convert import convert
from models.errors import CheckpointError, ConfigError, DataError
from models.recommender import Recommender

ROOT = Path(__file__).resolve().parent.parent
ITEMS, N, D = 60, 12, 16
GIVEN = {"heads": 2, "alpha": 0.3, "c": 9}
DATA = "synthetic:users=120,items=60"
WINDOWS = torch.tensor([[0] * 9 + [5, 9, 60], list(range(1, N + 1)), [0] * (N - 1) + [7]])

Call = Callable[..., tuple[int, str, str]]


def bsarec_state() -> State:
    block, layer = "item_encoder.blocks.{}", "item_encoder.blocks.{}.layer"
    shapes: dict = {f"{layer}.filter_layer.sqrt_beta": (1, 1, D)} | norms(f"{layer}.filter_layer.LayerNorm", D)
    for part in ("query", "key", "value", "dense"):
        shapes |= dense(f"{layer}.attention_layer.{part}", D, D)
    shapes |= norms(f"{layer}.attention_layer.LayerNorm", D) | norms(f"{block}.feed_forward.LayerNorm", D)
    shapes |= dense(f"{block}.feed_forward.dense_1", 4 * D, D) | dense(f"{block}.feed_forward.dense_2", D, 4 * D)
    tables = {"item_embeddings.weight": (ITEMS + 1, D), "position_embeddings.weight": (N, D)} | norms("LayerNorm", D)
    return draw(tables | layers(shapes))


def gru_state() -> State:
    return draw(
        {
            "item_embedding.weight": (ITEMS + 1, D),
            "gru_layers.weight_ih_l0": (36, D),
            "gru_layers.weight_hh_l0": (36, 12),
        }
        | dense("dense", D, 12)
    )


@pytest.fixture
def their_file(tmp_path: Path) -> Path:
    torch.save(bsarec_state(), tmp_path / "theirs.pt")
    return tmp_path / "theirs.pt"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Run a command in this process, in an empty folder: (exit code, standard output, standard error)."""

    def run(module: str, *arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [module, *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_module(module, run_name="__main__", alter_sys=False)
        assert isinstance(stop.value.code, int)
        return stop.value.code, *capsys.readouterr()

    return run


def scores(model: Recommender) -> torch.Tensor:
    with torch.inference_mode():
        return model(WINDOWS)


# What a file is told apart by.


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.module.", "net.encoder."])
def test_what_wrappers_put_before_keys_is_taken_off(their_file, tmp_path, prefix):
    torch.save({prefix + key: value for key, value in bsarec_state().items()}, tmp_path / "wrapped.pt")
    assert torch.equal(scores(models.load(tmp_path / "wrapped.pt", **GIVEN)), scores(models.load(their_file, **GIVEN)))


def test_tensors_of_a_loss_beside_the_model_are_left_out_and_said(their_file, tmp_path, caplog):
    wrapped = {"model." + key: value for key, value in bsarec_state().items()} | {"loss.weight": torch.zeros(3)}
    torch.save({"state_dict": wrapped}, tmp_path / "wrapped.pt")
    assert torch.equal(scores(models.load(tmp_path / "wrapped.pt", **GIVEN)), scores(models.load(their_file, **GIVEN)))
    assert "1 tensors beside the model are left out" in caplog.text


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net"])
def test_the_weights_are_found_within_what_training_programs_save(their_file, tmp_path, key):
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(2))]).state_dict()
    torch.save({"epoch": 3, key: bsarec_state(), "optimizer": optimizer}, tmp_path / "training.pt")
    assert torch.equal(scores(models.load(tmp_path / "training.pt", **GIVEN)), scores(models.load(their_file, **GIVEN)))


def test_half_precision_is_read_as_float32(tmp_path):
    torch.save({key: value.half() for key, value in bsarec_state().items()}, tmp_path / "half.pt")
    assert scores(models.load(tmp_path / "half.pt", **GIVEN)).dtype == torch.float32


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


def test_safetensors_are_read_with_their_metadata(their_file, tmp_path):
    from safetensors.torch import save_file

    save_file(bsarec_state(), tmp_path / "model.any", metadata={"num_heads": "2", "alpha": "0.3", "c": "9"})
    assert torch.equal(scores(models.load(tmp_path / "model.any")), scores(models.load(their_file, **GIVEN)))
    data = (tmp_path / "model.any").read_bytes()
    (tmp_path / "cut.any").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="is a damaged safetensors file"):
        models.load(tmp_path / "cut.any")


def test_without_the_package_for_safetensors_its_name_is_said(tmp_path, monkeypatch):
    from safetensors.torch import save_file

    save_file(bsarec_state(), tmp_path / "model.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(CheckpointError, match="is a safetensors file; to read it: pip install safetensors"):
        models.load(tmp_path / "model.safetensors")


# What is no such file.


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a PNG image"),
        (b"\xff\xd8\xff\xe0" + bytes(50), "a JPEG image"),
        (b"<!DOCTYPE html><html>not found</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12", "a Git LFS pointer, not the file itself"),
        (gzip.compress(b"weights"), "compressed with gzip; unpack it first"),
        (b"\x93NUMPY\x01\x00" + bytes(50), "a NumPy array"),
        (zipped("a.npy", "b.npy"), r"NumPy arrays \(.npz\)"),
        (zipped("notes.txt"), "a zip archive of other files"),
        (b'{"num_heads": 2}', "JSON text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "data",  # zip and gzip hold the time
)
def test_a_file_of_another_kind_is_named_for_what_it_is(tmp_path, data, kind):
    (tmp_path / "model.pt").write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"model\.pt: is not a checkpoint but {kind}"):
        models.load(tmp_path / "model.pt")


def test_an_optimizers_state_is_named_as_one(tmp_path):
    torch.save(torch.optim.Adam([nn.Parameter(torch.zeros(2))]).state_dict(), tmp_path / "optimizer.pt")
    with pytest.raises(CheckpointError, match="is the state of an optimizer"):
        models.load(tmp_path / "optimizer.pt")


@pytest.mark.parametrize("zip_format", [True, False])
def test_a_whole_pickled_model_is_named_as_one_and_what_to_do_is_said(tmp_path, zip_format):
    torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "whole.pt", _use_new_zipfile_serialization=zip_format)
    with pytest.raises(CheckpointError, match=r"a whole pickled model .*not executed; .*torch\.save\(model\.state"):
        models.load(tmp_path / "whole.pt")


def test_torchscript_is_named(tmp_path):
    (tmp_path / "scripted.pt").write_bytes(zipped("scripted/data.pkl", "scripted/constants.pkl", "scripted/code/a.py"))
    with pytest.raises(CheckpointError, match="is a TorchScript model"):
        models.load(tmp_path / "scripted.pt")


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


# Where settings come from.


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
    assert "taking the users of lastfm, which a configuration names" in caplog.text


def test_the_model_may_be_named_where_keys_tell_it_but_not_wrongly(their_file):
    assert models.load(their_file, **GIVEN, model="BSARec").name == "bsarec"
    with pytest.raises(ConfigError, match="is BSARec of BSARec's repository, not sasrec; drop --model"):
        models.load(their_file, **GIVEN, model="sasrec")


def test_settings_of_our_own_checkpoints_cannot_be_changed(checkpoint):
    assert models.load(checkpoint, heads=2, alpha=0.7, c=5, fallback={"c": 9}).config.c == 5
    with pytest.raises(ConfigError, match="has num_heads 2 and says so itself; --heads is for files of other"):
        models.load(checkpoint, heads=4)
    with pytest.raises(ConfigError, match="has model bsarec"):
        models.load(checkpoint, model="sasrec")


# Data for a file that has none.


def test_items_beyond_the_table_and_missing_data_are_data_errors(their_file):
    model = models.load(their_file, **GIVEN)
    assert checkpoint_sequences(model, DATA) == 120
    with pytest.raises(DataError, match="items up to 99, but the checkpoint knows items up to 60"):
        checkpoint_sequences(model, "synthetic:items=99")
    with pytest.raises(DataError, match=r"holds no sequences of users .*give --data NAME_OR_FILE"):
        checkpoint_sequences(model, None)
    with pytest.raises(ValueError, match=r"item ids must lie in 0\.\.60"):
        model(torch.tensor([[61]]))


def checkpoint_sequences(model: Recommender, data: str | None) -> int:
    return checkpoint.sequences_of(model, data).num_users


def test_users_without_items_are_a_data_error(their_file, tmp_path):
    (tmp_path / "empty.txt").write_text("1\n2\n")
    with pytest.raises(DataError, match="has no user with at least 3 items"):
        checkpoint_sequences(models.load(their_file, **GIVEN), str(tmp_path / "empty.txt"))


# Commands.


def test_every_command_that_takes_a_checkpoint_takes_the_settings_of_third_party_ones():
    taking = 0
    for path in (ROOT / "spectral").glob("*/__main__.py"):
        functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        names = {argument.arg for function in functions if function.name == "main" for argument in function.args.args}
        assert "checkpoint" not in names or "settings" in names, path
        taking += "checkpoint" in names
    assert taking >= 4


@pytest.mark.parametrize("measure", ["filter_response", "singular_values", "cosine_similarity", "theorem1"])
def test_the_measures_take_a_third_party_checkpoint(call: Call, their_file, caplog, measure):
    options = ("--heads", 2, "--alpha", 0.3, "--c", 9, "--data", DATA, "--format", "csv", "--json")
    code, out, err = call(f"spectral.{measure}", their_file, *options)
    assert code == 0 and json.loads(out), err
    assert "note: " in caplog.text and "must have the item ids that the checkpoint was trained with" in caplog.text
    assert their_file.with_name(f"{measure}.csv").exists()


def test_c_is_the_measures_and_where_the_file_does_not_say_its_own_also_the_models(call: Call, their_file, monkeypatch):
    seen = []
    original = models.load

    def load(*arguments, **options):
        seen.append(original(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(models, "load", load)
    options = ("--heads", 2, "--alpha", 0.3, "--data", DATA, "--format", "csv", "--json")
    measured = [json.loads(call("spectral.filter_response", their_file, "--c", c, *options)[1]) for c in (3, 9)]
    assert [model.config.c for model in seen] == [3, 9]
    their_file.with_suffix(".json").write_text('{"c": 9}')
    again = json.loads(call("spectral.filter_response", their_file, "--c", 3, *options)[1])
    assert seen[-1].config.c == 9  # the file's own; the option is the measure's alone
    assert again["responses"][-1]["hfc_lfc"] > measured[1]["responses"][-1]["hfc_lfc"]
    code, _, err = call("spectral.filter_response", their_file.rename(their_file.with_name("no.pt")), *options)
    assert code == 2 and "give --c (from 1 to 11" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give --heads (one of 1, 2, 4, 8, 16); --alpha (from 0 to 1); --c (from 1 to 11"),
        (("--heads", 2, "--alpha", 0.3, "--c", 9), "give --data NAME_OR_FILE"),
        (("--heads", 3, "--alpha", 0.3, "--c", 9, "--data", DATA), "num_heads must divide hidden_size"),
        (("--heads", 2, "--alpha", 0.3, "--c", 9, "--set", "bands=first"), "which has no --set bands"),
        (("--set", "tempo=3"), "--set takes NAME=VALUE with one of"),
        (("--heads", 2, "--alpha", 0.3, "--c", 9, "--data", "synthetic:items=99"), "knows items up to 60"),
    ],
)
def test_mistakes_are_a_sentence_and_exit_code_2(call: Call, their_file, options, said):
    code, out, err = call("spectral.filter_response", their_file, *options)
    assert code == 2 and out == "" and "Traceback" not in err
    assert said in err.splitlines()[-1] and err.splitlines()[-1].startswith("error: ")


def test_a_model_without_attention_says_so(call: Call, tmp_path):
    torch.save(gru_state(), tmp_path / "gru.pth")
    code, _, err = call("spectral.filter_response", tmp_path / "gru.pth", "--set", "max_len=12", "--data", DATA)
    assert code == 2 and "GRU4Rec (RecBole) has no attention to measure" in err


def test_attention_that_looks_at_padding_is_said_where_shorter_histories_are_measured(call: Call, tmp_path):
    torch.save(pmixer_state(), tmp_path / "file.pth")
    options = ("--heads", 2, "--data", "synthetic:users=120,items=40", "--format", "csv")
    code, _, err = call("spectral.filter_response", tmp_path / "file.pth", *options, "--length", 12)
    assert code == 0 and "attention of SASRec.pytorch also looks at padding" in err


def test_evaluation_takes_a_third_party_checkpoint(call: Call, their_file, tmp_path):
    options = ("--heads", 2, "--alpha", 0.3, "--c", 9, "--data", DATA)
    code, out, _ = call("models.evaluate", their_file, *options, "--json")
    assert code == 0 and 0 < json.loads(out)["MRR"] < 1
    code, _, err = call("models.evaluate", their_file, *options[:-2], "--result", tmp_path / "result.json")
    assert code == 2 and "--result is for models that are trained here" in err


# Conversion.

CONVERTED = {
    "one-band-fearec": (sasrec_state, {"model": "fearec", "heads": 2, "bands": "first"}),
    "rechorus-sasrec": (rechorus_sasrec_state, {"heads": 2}),
    "rechorus-bsarec": (rechorus_bsarec_state, {"heads": 2, "alpha": 0.3, "c": 9}),
    "recbole-sasrec": (recbole_sasrec_state, {"heads": 2}),
    "recbole-bert4rec": (bert4rec_state, {"heads": 2}),
    "recbole-gru4rec": (gru_state, {}),
    "pmixer": (pmixer_state, {"heads": 2, "norm": "pre"}),
    "gsasrec": (lambda: gsasrec_state(own_output=True), {"heads": 2}),
}


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


@pytest.mark.parametrize("name", [name for name in CONVERTED if name != "recbole-gru4rec"])
def test_without_the_causal_mask_attention_is_still_a_distribution_and_looks_ahead(tmp_path, name):
    make, settings = CONVERTED[name]
    torch.save(make(), tmp_path / "theirs.pt")
    model = models.load(tmp_path / "theirs.pt", **settings)
    full = torch.arange(model.config.max_len)[None] % 40 + 1
    with torch.inference_mode():
        causal, both = model.trace(full), model.trace(full, causal=False)
    for with_mask, without in zip(causal.attention, both.attention, strict=True):
        torch.testing.assert_close(without.sum(-1), torch.ones(without.shape[:-1]))
        assert bool((without.triu(1).sum((-1, -2)) > 1).all())
        if name not in ("rechorus-bsarec", "recbole-bert4rec"):  # those look ahead in any case
            assert not with_mask.triu(1).any()


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
