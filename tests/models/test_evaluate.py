"""`python -m models.evaluate`: metrics, users and results of a checkpoint."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from third_party_states.small import DATA

import models

Command = Callable[..., subprocess.CompletedProcess[str]]
Call = Callable[..., tuple[int, str, str]]


def test_evaluate_prints_one_json_object_and_the_metrics_of_training(command, checkpoint):
    import json

    result = command("models.evaluate", checkpoint, "--json")
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed == pytest.approx(models.load(checkpoint).checkpoint["metrics"]["test"])
    assert list(printed) == ["HR@5", "NDCG@5", "HR@10", "NDCG@10", "HR@20", "NDCG@20", "MRR"]


def test_evaluating_data_beyond_the_item_table_is_refused(command, checkpoint):
    result = command("models.evaluate", checkpoint, "--data", "synthetic:items=99")
    assert result.returncode == 2
    assert "error: " in result.stderr and "knows items up to 60" in result.stderr


def test_command_writes_users_and_results(command: Command, checkpoint: Path, tmp_path: Path):
    done = command("models.evaluate", checkpoint, "--per-user", "u.parquet", "--result", "r.json", "--json")
    assert done.returncode == 0, done.stderr
    assert pd.read_parquet(tmp_path / "u.parquet")["rank"].min() >= 1
    assert (tmp_path / "r.json").exists()
    csv = command("models.evaluate", checkpoint, "--negatives", 20, "--mask-seen", "inf", "--per-user", "u.csv")
    assert "ranked among 20 unseen items" in csv.stderr and "MRR" in csv.stdout
    assert pd.read_csv(tmp_path / "u.csv")["rank"].max() <= 21


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--per-user", "u.xls"], ".parquet or .csv"),
        (["--result", "r.json", "--negatives", "9"], "--result keeps the published protocol"),
        (["--result", "r.json", "--data", "synthetic:items=50"], "--result needs the training data"),
        (["--mask-seen", "1"], "mask_seen must be 0 or inf"),
    ],
)
def test_command_names_what_it_cannot_do(command: Command, checkpoint: Path, options: list[str], message: str):
    done = command("models.evaluate", checkpoint, *options)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_evaluation_takes_a_third_party_checkpoint(call: Call, their_file, tmp_path):
    options = ("--heads", 2, "--alpha", 0.3, "--c", 9, "--data", DATA)
    code, out, _ = call("models.evaluate", their_file, *options, "--json")
    printed = json.loads(out)
    assert code == 0 and 0 < printed["MRR"] < 1 and "by default" in printed["settings"]
    code, _, err = call("models.evaluate", their_file, *options[:-2], "--result", tmp_path / "result.json")
    assert code == 2 and "--result needs a model that this toolkit trained" in err
