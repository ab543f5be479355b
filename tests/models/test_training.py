"""Training: reproducible, resumable to the bit, stopped in time, and never leaving half a file."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import models
from models import training
from models.errors import CheckpointError, ConfigError
from models.files import OutputError
from models.results.runs import name_of
from models.train import train
from models.training import STATE_FORMAT, Trainer, TrainingConfig, TrainingError

DATA = "synthetic:users=60,items=40"
SMALL = {"hidden_size": 8, "max_len": 10, "num_layers": 1}
NEW = (
    *("fmlprec", "duorec", "fearec", "bert4rec", "gru4rec", "caser"),
    *("tvrec", "wearec", "slime4rec", "lowarec"),
)


@pytest.mark.parametrize(("model", "loss"), [("bsarec", "ce"), ("bsarec", "bpr"), ("sasrec", "bce"), ("sasrec", "ce")])
def test_training_lowers_every_loss(model, loss, tmp_path):
    run = train(model, DATA, out=tmp_path / "m.pt", loss=loss, epochs=6, learning_rate=0.01, dropout=0.1, **SMALL)
    losses = [row["loss"] for row in run.history]
    assert losses[-1] < 0.95 * losses[0]
    assert models.load(run.path).checkpoint["training"]["loss"] == loss


@pytest.mark.parametrize("model", ["sasrec", "bsarec"])
def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(model, tmp_path):
    runs = [
        train(model, DATA, out=tmp_path / str(index) / "m.pt", seed=seed, epochs=2, **SMALL)
        for index, seed in enumerate((3, 3, 4))
    ]
    first, same, other = (run.path.read_bytes() for run in runs)
    assert first == same
    assert first != other


@pytest.mark.parametrize("model", ["sasrec", "bsarec"])
@pytest.mark.parametrize("moment", ["training", "saving"])
def test_an_interrupted_run_that_is_resumed_ends_in_the_same_bytes(model, moment, tmp_path, monkeypatch):
    whole = train(model, DATA, out=tmp_path / "whole.pt", epochs=4, **SMALL)
    interrupted = tmp_path / "part.pt"
    calls = 0
    name = "step" if moment == "training" else "_save_state"
    original = getattr(Trainer, name)

    def interrupt(self, *arguments):
        nonlocal calls
        calls += 1
        if calls == (12 if moment == "training" else 3):
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(Trainer, name, interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(model, DATA, out=interrupted, epochs=4, **SMALL)
    assert models.load(interrupted).name == model  # the best one so far can be used
    monkeypatch.undo()
    interrupted.unlink()  # as a workflow does with the output of a failed step
    resumed = train(model, DATA, out=interrupted, epochs=4, resume=True, **SMALL)
    assert resumed.path.read_bytes() == whole.path.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        f"{run}.{ending}" for run in ("part", "whole") for ending in ("json", "log.csv", "pt")
    ]


def test_resuming_a_finished_run_returns_it_and_another_setting_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "m.pt"
    finished = train("sasrec", DATA, out=path, epochs=2, **SMALL)
    monkeypatch.setattr(Trainer, "step", None)
    assert train("sasrec", DATA, out=path, epochs=2, resume=True, **SMALL) == finished
    with pytest.raises(CheckpointError, match="finished run with other settings"):
        train("sasrec", DATA, out=path, epochs=2, seed=9, resume=True, **SMALL)


@pytest.mark.parametrize("is_old", [False, True])
def test_a_run_that_goes_on_elsewhere_names_both_processors(tmp_path, monkeypatch, is_old):
    path = tmp_path / "m.pt"
    original = Trainer._run_epoch
    monkeypatch.setattr(Trainer, "_run_epoch", lambda self, e: original(self, e) if e < 1 else interrupt())
    monkeypatch.setattr(training, "name_of", lambda device: "a card")
    with pytest.raises(KeyboardInterrupt):
        train("sasrec", DATA, out=path, epochs=2, **SMALL)
    monkeypatch.undo()
    if is_old:  # files of before they were named
        unfinished = path.with_name("m.pt.state")
        state = torch.load(unfinished, weights_only=True)
        del state["progress"]["processors"]
        torch.save(state, unfinished)
    train("sasrec", DATA, out=path, epochs=2, resume=True, **SMALL)
    first = "unknown" if is_old else "a card"
    here = name_of(torch.device("cpu"))
    assert json.loads(path.with_suffix(".json").read_text())["origin"]["processor"] == f"{first}; {here}"


def test_an_unfinished_run_of_other_settings_is_not_resumed(tmp_path, monkeypatch):
    path = tmp_path / "m.pt"
    original = Trainer._run_epoch
    monkeypatch.setattr(Trainer, "_run_epoch", lambda self, e: original(self, e) if e < 1 else interrupt())
    with pytest.raises(KeyboardInterrupt):
        train("sasrec", DATA, out=path, epochs=3, **SMALL)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="unfinished run with other settings"):
        train("sasrec", DATA, out=path, epochs=3, batch_size=32, resume=True, **SMALL)
    more = train("sasrec", DATA, out=path, epochs=4, resume=True, **SMALL)  # more epochs are fine
    assert len(more.history) == 4
    assert more == train("sasrec", DATA, out=path, epochs=4, resume=True, **SMALL)  # and now it is a run of 4


def interrupt():
    raise KeyboardInterrupt


def test_training_stops_without_progress_and_keeps_the_best_epoch(tmp_path, monkeypatch):
    values = iter([0.1, 0.3, 0.2, 0.3, 0.1, 0.1, 0.1])
    monkeypatch.setattr("models.training.evaluate", lambda *_: {"NDCG@20": next(values), "HR@20": 0.0})
    run = train("sasrec", DATA, out=tmp_path / "m.pt", epochs=50, patience=3, **SMALL)
    assert (run.best_epoch, len(run.history)) == (1, 5)  # an equal value is not a better one


def test_a_loss_that_is_no_number_stops_with_its_step_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "m.pt"
    original = Trainer.step
    steps = 0

    def step(self, batch):
        nonlocal steps
        steps += 1
        return original(self, batch) if steps <= len(self.sampler) + 2 else torch.tensor(torch.nan)

    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(TrainingError, match=r"loss is nan at epoch 1, step 2; stopped, .*m\.pt holds epoch 0"):
        train("sasrec", DATA, out=path, epochs=3, batch_size=64, **SMALL)
    assert models.load(path).checkpoint["metrics"]["best_epoch"] == 0


def test_a_folder_that_cannot_be_written_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "step", None)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        train("sasrec", DATA, out=tmp_path / "file" / "m.pt", epochs=1, **SMALL)


def test_a_huge_learning_rate_really_ends_in_that_error(tmp_path):
    with pytest.raises(TrainingError, match="Try a smaller learning rate than 1e"):
        train("bsarec", DATA, out=tmp_path / "m.pt", epochs=30, learning_rate=1e38, **SMALL)


def test_kill_9_at_any_moment_leaves_whole_files_and_a_run_that_can_be_resumed(tmp_path):
    arguments = ["--model", "sasrec", "--dataset", DATA, "--epochs", "4", "--hidden-size", "8", "--max-len", "10"]
    command = [sys.executable, "-m", "models.train", *arguments, "--resume"]
    whole, killed = tmp_path / "whole.pt", tmp_path / "killed.pt"
    subprocess.run([*command, "--out", whole], check=True, capture_output=True)
    # A writer so slow that the kill falls into the middle of writing a file.
    slow = (
        "import os, runpy, sys, time; fsync = os.fsync; "
        "os.fsync = lambda fd: (time.sleep(0.5), fsync(fd)); "
        "sys.argv = ['train', *sys.argv[1:]]; runpy.run_module('models.train', run_name='__main__')"
    )
    process = subprocess.Popen([sys.executable, "-c", slow, *arguments, "--out", killed], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not killed.with_name("killed.pt.state").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert models.load(killed).name == "sasrec"
    assert list(tmp_path.glob("killed*.partial")), "the kill fell into the middle of writing"
    subprocess.run([*command, "--out", killed], check=True, capture_output=True)
    assert killed.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.partial")) and not list(tmp_path.glob("*.state"))


def test_a_checkpoint_may_have_the_name_of_a_state(tmp_path):
    first = train("sasrec", DATA, out=tmp_path / "m", epochs=1, **SMALL).path
    other = train("sasrec", DATA, out=tmp_path / "m.state", epochs=1, **SMALL).path
    assert models.load(first).name == models.load(other).name == "sasrec"
    with pytest.raises(OutputError, match=r"m\.state: exists and is not an unfinished run of this program"):
        train("sasrec", DATA, out=tmp_path / "m", epochs=1, **SMALL)
    assert models.load(other).name == "sasrec"


@pytest.mark.parametrize("name", ["m.pt", "m.pt.state", "m.log.csv", "m.json"])
def test_a_file_that_no_run_wrote_is_not_replaced(tmp_path, name, monkeypatch):
    monkeypatch.setattr(Trainer, "step", None)  # it is refused before the first step
    (tmp_path / name).write_text('{"notes": "mine"}')
    with pytest.raises(OutputError, match=rf"{name}: exists and is not .* of this program; choose another name"):
        train("sasrec", DATA, out=tmp_path / "m.pt", epochs=1, **SMALL)
    assert (tmp_path / name).read_text() == '{"notes": "mine"}'
    assert len(list(tmp_path.iterdir())) == 1


def test_a_run_is_not_written_to_the_name_of_its_result(tmp_path):
    with pytest.raises(ConfigError, match=r"m\.json: is also the name of the result of the run"):
        train("sasrec", DATA, out=tmp_path / "m.json", epochs=1, **SMALL)


def test_a_run_has_its_own_number_of_threads_and_keeps_it(tmp_path, monkeypatch):
    used = []
    original = Trainer.step

    def step(self, batch):
        used.append(torch.get_num_threads())
        if stopping and len(used) == len(self.sampler) + 2:
            raise KeyboardInterrupt
        return original(self, batch)

    monkeypatch.setattr(Trainer, "step", step)
    before, stopping = torch.get_num_threads(), False
    torch.set_num_threads(2)
    try:
        one = train("sasrec", DATA, out=tmp_path / "one.pt", epochs=1, **SMALL).path
        torch.set_num_threads(1)
        other = train("sasrec", DATA, out=tmp_path / "other.pt", epochs=1, **SMALL).path
        assert one.read_bytes() == other.read_bytes() and set(used) == {1}
        used.clear()
        stopping = True
        with pytest.raises(KeyboardInterrupt):
            train("sasrec", DATA, out=tmp_path / "m.pt", epochs=2, threads=2, **SMALL)
        stopping = False
        with pytest.raises(ConfigError, match=r"unfinished run with 2 threads, which it keeps; drop --threads"):
            train("sasrec", DATA, out=tmp_path / "m.pt", epochs=2, threads=1, resume=True, **SMALL)
        path = train("sasrec", DATA, out=tmp_path / "m.pt", epochs=2, resume=True, **SMALL).path
        assert set(used) == {2} and torch.get_num_threads() == 1
        assert models.load(path).checkpoint["training"]["threads"] == 2
    finally:
        torch.set_num_threads(before)


def test_a_damaged_state_is_named(tmp_path):
    path = train("sasrec", DATA, out=tmp_path / "m.pt", epochs=1, **SMALL).path
    state = tmp_path / "m.pt.state"
    state.write_bytes(path.read_bytes())
    with pytest.raises(CheckpointError, match=r"m\.pt\.state: is not an unfinished run"):
        train("sasrec", DATA, out=path, epochs=1, resume=True, **SMALL)
    torch.save({"format": STATE_FORMAT, "identity": {"config": 3}}, state)
    with pytest.raises(CheckpointError, match=r"m\.pt\.state: is damaged; remove it to start the run again"):
        train("sasrec", DATA, out=path, epochs=1, resume=True, **SMALL)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "mse"}, "unknown loss 'mse'; choose one of ce, bce, bpr"),
        ({"loss": "ce", "epochs": 0}, "epochs must be at least 1"),
        ({"loss": "ce", "batch_size": -1}, "batch_size"),
        ({"loss": "ce", "learning_rate": 0.0}, "learning_rate"),
        ({"loss": "ce", "seed": -1}, "seed"),
    ],
)
def test_wrong_training_settings_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        TrainingConfig(**wrong)


@pytest.mark.parametrize("name", NEW)
def test_an_interrupted_run_ends_in_the_same_bytes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from models.training import Trainer

    options = {"hidden_size": 8, "max_len": 9, "epochs": 2, "batch_size": 64, "seed": 3, "show_progress": False}
    whole = train(name, "synthetic:users=40,items=30", out=tmp_path / "whole.pt", **options)
    once = Trainer._run_epoch

    def stop_after_one(self: Trainer, epoch: int) -> dict[str, float]:
        if epoch == 1:
            raise KeyboardInterrupt
        return once(self, epoch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_run_epoch", stop_after_one)
        train(name, "synthetic:users=40,items=30", out=tmp_path / "halves.pt", **options)
    halves = train(name, "synthetic:users=40,items=30", out=tmp_path / "halves.pt", resume=True, **options)
    assert halves.path.read_bytes() == whole.path.read_bytes()
    loaded = models.load(whole.path)
    assert loaded.name == name and loaded.probe is not None
    assert loaded.trace(loaded.probe.input_ids.long()[:3]).hidden[-1].shape[0] == 3


def test_a_loss_that_makes_no_sense_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="bert4rec cannot be trained with bpr; choose ce"):
        train("bert4rec", "synthetic:users=40,items=30", out=tmp_path / "x.pt", loss="bpr", max_len=9)
