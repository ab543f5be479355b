"""Results of runs: saved and read as they were, made of finished runs, and named where they are damaged."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from simulated_results import RUNS, USERS

from models.checkpoint import load, sequences_of
from models.errors import CheckpointError
from models.results import runs
from models.results.runs import Origin, collect, read, result_of

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_results_are_read_as_they_were_saved(tmp_path: Path):
    for run in RUNS:
        run.save(tmp_path / "deep" / f"{run.model}-{run.seed}.json")
    (tmp_path / "other.json").write_text("{}")  # is passed over in a folder
    found = collect([tmp_path])
    assert [replace(run, source="") for run in found] == [*RUNS[3:], *RUNS[:3]]
    assert all(run.source.endswith(".json") for run in found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, "not the result of a run"),
        ({"format_version": 99}, "version 99"),
        ({"extra": 1}, "extra"),
        ({"model": "gpt"}, "'gpt'"),
        ({"model": ["sasrec"], "epochs": "9", "seconds_per_epoch": "2"}, "model, epochs, seconds_per_epoch"),
        ({"config": {"num_items": 50, "alpha": [1]}}, "its configuration does not describe a model"),
        ({"training": {"loss": "ce"}}, "training needs a seed"),
        ({"dataset": {"name": "x", "num_users": USERS}}, "fingerprint, num_items"),
        ({"test_ranks": [1, 2]}, "one rank in 1..51 for each of 60 users"),
        ({"test_ranks": [0] * USERS}, "one rank in 1..51"),
        ({"test_ranks": [1.5] * USERS}, "one rank in 1..51"),
        ({"test_ranks": [52] * USERS}, "one rank in 1..51"),
        ({"test_ranks": [1] * USERS}, "not those of its test_ranks"),
        ({"test": {}}, "not those of its test_ranks"),
        ({"origin": {"commit": "abc"}}, "origin needs commit, threads, processor, wall_seconds"),
    ],
)
def test_a_damaged_result_is_named(tmp_path: Path, change: dict[str, object], message: str):
    path = tmp_path / "run.json"
    RUNS[0].save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        read(path)


def test_missing_and_unreadable_results_are_named(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"models.evaluate .*run.pt --result .*run.json"):
        collect([tmp_path / "run.pt"])
    with pytest.raises(CheckpointError, match="no result of a run"):
        collect([tmp_path])
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not JSON"):
        read(tmp_path / "a.json")


def test_checkpoints_without_a_result_are_left_out_with_a_note(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    RUNS[0].save(tmp_path / "a.json")
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).touch()
    assert len(collect([tmp_path, tmp_path / "a.pt", tmp_path / "." / "a.json"])) == 1
    assert "b.pt" in caplog.text and "a.pt" not in caplog.text


def test_results_of_format_1_are_read(tmp_path: Path):
    path = tmp_path / "run.json"
    RUNS[0].save(path)
    content = json.loads(path.read_text()) | {"format_version": 1}
    path.write_text(json.dumps({key: value for key, value in content.items() if key not in ("sampled", "origin")}))
    assert read(path) == replace(RUNS[0], sampled=None, origin=None, source=str(path))


def test_results_are_made_of_finished_runs_with_whole_logs(checkpoint: Path, tmp_path: Path):
    ranks = torch.ones(120, dtype=torch.int64)
    model = load(checkpoint)
    sequences = sequences_of(model)
    copy = tmp_path / "model.pt"
    assert result_of(model, sequences, ranks, copy).seconds_per_epoch is None
    copy.with_suffix(".log.csv").write_text("epoch,seconds\n0,1.5\n1,4\n2,2\n")
    found = result_of(model, sequences, ranks, copy, trained_on=["a card", "a processor"])
    assert found.seconds_per_epoch == 2
    assert found.origin is not None and found.origin.wall_seconds == 7.5
    assert found.origin.threads == torch.get_num_threads() and found.origin.processor == "a card; a processor"
    copy.with_suffix(".log.csv").write_text("epoch,sec")
    with pytest.raises(CheckpointError, match=r"model\.log\.csv"):
        result_of(model, sequences, ranks, copy)
    assert model.checkpoint is not None
    del model.checkpoint["metrics"]["test"]
    with pytest.raises(CheckpointError, match="unfinished run"):
        result_of(model, sequences, ranks, copy)


def test_the_commit_is_that_of_the_code_with_a_mark_where_it_was_changed(tmp_path: Path, monkeypatch):
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e"]
        done = subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], capture_output=True, text=True)
        return done.stdout.strip()

    monkeypatch.setattr(runs, "__file__", str(tmp_path / "models" / "results" / "runs.py"))
    code = tmp_path / "models" / "code.py"
    (tmp_path / "models" / "results").mkdir(parents=True)
    (tmp_path / "models" / "results" / "runs.py").touch()
    code.write_text("a = 1\n")
    here = ["a processor"]
    assert Origin.here(here, None).commit is None  # no checkout
    git("init", "-q")
    git("commit", "-qm", "another project", "--allow-empty")
    assert Origin.here(here, None).commit is None
    git("add", ".")
    git("commit", "-qm", "code")
    commit = git("rev-parse", "HEAD")
    assert len(commit) == 40 and Origin.here(here, None).commit == commit
    code.write_text("a = 2\n")
    assert Origin.here(here, None).commit == f"{commit}+"
    git("checkout", "-q", ".")
    (tmp_path / "figures.csv").write_text("no code")
    assert Origin.here(here, None).commit == commit


def test_a_result_has_the_metrics_among_99_items_and_where_it_was_trained(tmp_path: Path, command: Command):
    train = ["--model", "sasrec", "--dataset", "synthetic:users=40,items=200", "--epochs", 1, "--hidden-size", 8]
    done = command("models.train", *train, "--out", "a.pt")
    assert done.returncode == 0, done.stderr
    trained = read(tmp_path / "a.json")
    assert trained.origin is not None and trained.origin.wall_seconds is not None
    again = command("models.evaluate", "a.pt", "--result", "b.json")
    assert again.returncode == 0, again.stderr
    assert replace(read(tmp_path / "b.json"), source="") == replace(trained, source="")
    printed = json.loads(command("models.evaluate", "a.pt", "--negatives", 99, "--json").stdout)
    assert trained.sampled == printed and printed["HR@20"] > trained.test["HR@20"]
    (tmp_path / "a.json").unlink()
    command("models.evaluate", "a.pt", "--result", "c.json")
    assert read(tmp_path / "c.json").origin is None  # nobody knows any more
    few = [*train[:3], "synthetic:users=40,items=60", *train[4:]]
    assert command("models.train", *few, "--out", "few.pt").returncode == 0
    assert read(tmp_path / "few.json").sampled is None
