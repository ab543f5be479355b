"""The command lines `python -m spectral.<measure> ckpt.pt`, as a person or a script calls them."""

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from json_output import json_of
from repository import ROOT

import spectral
from models import datasets
from models.files import RECORD
from spectral import FrequencyResponse
from spectral.capture import of_length

MEASURES = [
    "filter_response",
    "block_response",
    "singular_values",
    "cosine_similarity",
    "smoothing",
    "rank_one",
    "mixing_ratio",
    "theorem1",
]


@pytest.mark.parametrize("measure", MEASURES)
def test_one_argument_is_enough_from_any_folder(measure, checkpoint, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    own = shutil.copy(checkpoint, tmp_path / "ckpt.pt")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error:::runpy"}
    result = subprocess.run(
        [sys.executable, "-m", f"spectral.{measure}", own],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "layer" in result.stdout
    for kind in ("png", "pdf", "csv"):
        assert (tmp_path / f"{measure}.{kind}").stat().st_size > 100
        assert f"wrote {tmp_path / measure}.{kind}" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [RECORD, "ckpt.pt", "elsewhere", *(f"{measure}.{kind}" for kind in ("png", "pdf", "csv"))]
    )
    assert "Warning" not in result.stderr and "glyph" not in result.stderr.lower()


@pytest.mark.parametrize(
    ("measure", "curve"),
    [
        ("filter_response", ""),
        ("block_response", ""),
        ("singular_values", ""),
        ("cosine_similarity", "between_users_"),
        ("smoothing", "mad_"),
        ("rank_one", ""),
        ("mixing_ratio", ""),
        ("attention_statistics", "entropy_"),
        ("last_item", "overlap_"),
    ],
)
def test_every_curve_has_its_interval_over_users_of_one_model(measure, curve, call, checkpoint, tmp_path):
    code, _, _ = call(measure, checkpoint, "--max-users", 40, "--format", "csv", "--out", tmp_path)
    assert code == 0
    table = pd.read_csv(tmp_path / f"{measure}.csv")
    assert (table["seeds"] == 1).all() and (table["users"] > 1).all()
    ends = table[[f"{curve}low", f"{curve}high"]].dropna()
    assert len(ends) > len(table) / 2
    assert (ends[f"{curve}low"] <= ends[f"{curve}high"]).all()
    assert (ends[f"{curve}low"] < ends[f"{curve}high"]).any()


def test_users_of_one_length_are_measured_on_their_own_positions(call, checkpoint, model, lengths, tmp_path):
    n = int(lengths[lengths < model.config.max_len].mode().values)
    code, out, err = call("filter_response", checkpoint, "--length", n, "--c", 1, "--json", "--out", tmp_path)
    assert code == 0 and f"exactly {n} items" in err
    result = json_of(out)
    assert result["users"] == int((lengths == n).sum())
    captures = spectral.capture(model, of_length(model.probe.input_ids, n))
    expected = FrequencyResponse.from_captures(captures, c=1, length=n).summary()
    assert result["responses"][0]["gain_nyquist_db"] == pytest.approx(expected[0]["gain_nyquist_db"])
    assert result["responses"][0]["gain_dc_db"] == pytest.approx(0, abs=1e-5)
    for measure in ("singular_values", "cosine_similarity"):
        if int((lengths[model.probe.uniform] == n).sum()) >= 2:
            assert call(measure, checkpoint, "--length", n, "--out", tmp_path)[0] == 0


def test_the_first_users_are_measured_with_max_users(call, checkpoint, tmp_path):
    code, out, err = call("singular_values", checkpoint, "--max-users", 3, "--json", "--out", tmp_path)
    assert code == 0 and "3 users" in err
    assert all(len(layer["singular_values"]) == 3 for layer in json_of(out)["layers"])
    code, out, _ = call("filter_response", checkpoint, "--max-users", 2, "--json", "--out", tmp_path)
    assert json_of(out)["users"] == 2


def test_batch_size_changes_nothing(call, checkpoint, tmp_path):
    results = [
        json_of(call("filter_response", checkpoint, "--json", "--out", tmp_path, "--batch-size", size)[1])
        for size in (7, 1000)
    ]
    for one, other in zip(results[0]["responses"], results[1]["responses"], strict=True):
        assert one.pop("head") == other.pop("head")
        assert one.pop("transfer") == pytest.approx(other.pop("transfer"), rel=1e-4, abs=1e-4)
        assert one == pytest.approx(other, rel=1e-4, abs=1e-4)


def test_the_dataset_of_the_checkpoint_can_be_named(call, checkpoint, model, tmp_path, caplog):
    source = model.checkpoint["dataset"]["source"]
    sequences = datasets.load(source)
    code, _, err = call("singular_values", checkpoint, "--data", source, "--json", "--out", tmp_path)
    assert code == 0 and f"{sequences.num_users:,} users" in err and "note:" not in caplog.text
    code, _, err = call("cosine_similarity", checkpoint, "--split", "valid", "--out", tmp_path)
    assert code == 0 and f"on {sequences.name}" in err


def test_a_file_of_other_sequences_is_measured_and_said_to_be_other(call, checkpoint, tmp_path, caplog):
    file = tmp_path / "mine.txt"
    file.write_text("1 1 2 3 4 5\n2 5 4 3 2 1\n3 2 4 1 3 5\n")
    code, out, err = call("singular_values", checkpoint, "--data", file, "--json", "--out", tmp_path)
    assert code == 0 and "note: mine is not the data that the checkpoint was trained on" in caplog.text
    assert len(json_of(out)["layers"][0]["singular_values"]) == 3
    code, _, err = call("filter_response", checkpoint, "--data", file, "--out", tmp_path)
    assert code == 2 and "the most common lengths are 4 (3 users)" in err
    code, _, err = call("filter_response", checkpoint, "--data", file, "--padding", "--json", "--out", tmp_path)
    assert code == 0  # there is something to show


def test_unknown_items_are_refused(call, checkpoint, model, tmp_path):
    file = tmp_path / "more.txt"
    file.write_text(f"1 1 2 {model.config.num_items + 1}\n2 1 2 3\n")
    code, out, err = call("cosine_similarity", checkpoint, "--data", file, "--out", tmp_path)
    assert code == 2 and out == ""
    assert f"items up to {model.config.num_items + 1}" in err and f"items up to {model.config.num_items} (" in err


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--split", "tset"], "split"),
        (["--format", "png,gif"], "'gif'"),
        (["--format", ","], "choose from png, pdf and csv"),
        (["--device", "tpu"], "device 'tpu' cannot be used"),
        (["--data", "no-such-data"], "no-such-data"),
        (["--max-users", "0"], "--max-users"),
        (["--batch-size", "0"], "--batch-size"),
        (["--length", "0"], "--length"),
        (["--length", "1000"], "length must lie in 1.."),
    ],
)
def test_what_cannot_be_used_is_named_with_exit_code_2(call, checkpoint, tmp_path, measure, arguments, message):
    code, out, err = call(measure, checkpoint, "--out", tmp_path, *arguments)
    assert code == 2 and out == "" and message in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("measure", ["filter_response", "theorem1"])
@pytest.mark.parametrize("c", ["2", "0", "-1", "1001"])
def test_impossible_numbers_of_modes_are_refused(call, checkpoint, tmp_path, measure, c):
    code, _, err = call(measure, checkpoint, "--out", tmp_path, f"--c={c}")
    assert code == 2 and "--c must be odd and lie in 1.." in err


def test_other_mistakes_are_named(call, checkpoint, tmp_path):
    code, _, err = call("cosine_similarity", checkpoint, "--convention", "mean", "--out", tmp_path)
    assert code == 2 and "choose one of pairs, published" in err
    code, _, err = call("theorem1", checkpoint, "--length", 1, "--out", tmp_path)
    assert code == 2 and ("must be below" in err or "most common lengths" in err)
    code, _, err = call("cosine_similarity", checkpoint, "--max-users", 1, "--out", tmp_path)
    assert code == 2 and "at least 2 users" in err


@pytest.mark.parametrize("measure", MEASURES)
def test_checkpoints_that_are_none_are_refused_and_nothing_is_made(call, tmp_path, measure):
    code, out, err = call(measure, tmp_path / "nowhere" / "ckpt.pt")
    assert code == 2 and out == "" and "No such file" in err
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "text.pt").write_text("hello")
    code, _, err = call(measure, tmp_path / "text.pt")
    assert code == 2 and "text.pt" in err


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_computed(call, checkpoint, tmp_path):
    (tmp_path / "file").write_text("")
    code, out, err = call("singular_values", checkpoint, "--out", tmp_path / "file")
    assert code == 2 and out == "" and str(tmp_path / "file") in err
    code, out, err = call("singular_values", checkpoint, "--out", tmp_path / "file" / "below")
    assert code == 2 and out == "" and str(tmp_path / "file") in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(call, checkpoint, tmp_path):
    tmp_path.chmod(0o500)
    code, out, err = call("singular_values", checkpoint, "--out", tmp_path)
    tmp_path.chmod(0o700)
    assert code == 2 and out == "" and "cannot be written" in err


@pytest.mark.parametrize("measure", MEASURES)
def test_help_explains(call, measure):
    code, out, _ = call(measure, "--help")
    assert code == 0
    for option in ("--data", "--split", "--max-users", "--format", "--device", "--json", "--out"):
        assert option in out


def test_formats_are_chosen(call, checkpoint, tmp_path):
    code, _, _ = call("theorem1", checkpoint, "--format", "csv, pdf", "--out", tmp_path / "new" / "folder")
    assert code == 0
    written = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert written == [RECORD, "theorem1.csv", "theorem1.pdf"]


def test_other_models_are_measured_alike(call, sasrec_checkpoint, tmp_path):
    for measure in MEASURES:
        assert call(measure, sasrec_checkpoint, "--out", tmp_path)[0] == 0
