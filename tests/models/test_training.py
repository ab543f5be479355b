"""Training: reproducible, resumable to the bit, stopped in time, and never leaving half a file."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional

import models
from models.datasets import load
from models.datasets.sampling import EpochSampler, NegativeSampler
from models.errors import CheckpointError, ConfigError, DataError
from models.layers.losses import LOSSES
from models.train import train
from models.training import Trainer, TrainingConfig, TrainingError

DATA = "synthetic:users=60,items=40"
SMALL = {"hidden_size": 8, "max_len": 10, "num_layers": 1}


def test_every_sample_comes_once_an_epoch_in_an_order_of_its_own():
    sequences = load(DATA)
    samples = sequences.prefixes(10)
    sampler = EpochSampler(sequences, 10, batch_size=64, negatives=False, seed=5)
    epochs = [list(sampler.epoch(number, torch.device("cpu"))) for number in (0, 1, 0)]
    assert len(epochs[0]) == len(sampler) == -(-len(samples) // 64)
    targets = [torch.cat([batch.targets for batch in epoch]) for epoch in epochs]
    assert torch.equal(targets[0], targets[2])
    assert not torch.equal(targets[0], targets[1])
    rows = torch.cat([torch.cat([b.inputs, b.targets[:, None]], dim=1) for b in epochs[1]])
    expected = np.column_stack([samples.inputs, samples.targets])
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, expected.tolist()))


def test_negatives_are_uniform_among_the_items_that_the_user_has_not():
    sequences = load("synthetic:users=20,items=30,length=8")
    samples = sequences.prefixes(10)
    sampler = NegativeSampler(sequences, samples)
    rng = np.random.default_rng(0)
    drawn = np.stack([sampler.draw(rng) for _ in range(4000)])
    items, offsets = sequences.history("valid")
    row = 0
    seen = set(items[offsets[samples.users[row]] : offsets[samples.users[row] + 1]].tolist())
    counts = np.bincount(drawn[:, row], minlength=31)
    allowed = np.array([item not in seen and item > 0 for item in range(31)])
    assert (counts[~allowed] == 0).all()
    expected = 4000 / allowed.sum()
    assert abs(counts[allowed] - expected).max() < 5 * expected**0.5


def test_a_user_who_has_everything_leaves_no_negative(tmp_path):
    path = tmp_path / "all.txt"
    path.write_text("1 1 2 3 3 1\n2 1 2 3\n")
    with pytest.raises(DataError, match="only 0 left"):
        train("sasrec", path, out=tmp_path / "x.pt", epochs=1, **SMALL)


def test_losses_are_those_of_pytorch():
    generator = torch.Generator().manual_seed(0)
    output, items = torch.randn(6, 4, generator=generator), torch.randn(9, 4, generator=generator)
    target, negative = torch.randint(1, 9, (2, 6), generator=generator)
    scores = output @ items.T
    pick = lambda ids: scores.gather(1, ids[:, None])[:, 0]  # noqa: E731
    ones = torch.ones(6)
    expected = {
        "ce": functional.cross_entropy(scores, target),
        "bce": functional.binary_cross_entropy_with_logits(pick(target), ones)
        + functional.binary_cross_entropy_with_logits(pick(negative), 0 * ones),
        "bpr": functional.binary_cross_entropy_with_logits(pick(target) - pick(negative), ones),
    }
    for name, value in expected.items():
        torch.testing.assert_close(LOSSES[name].function(output, items, target, negative), value)
    with pytest.raises(ValueError, match="negative"):
        LOSSES["bce"].function(output, items, target, None)


def test_cross_entropy_is_finite_for_scores_far_apart_and_has_numerical_gradients():
    far = LOSSES["ce"].function(torch.tensor([[200.0]]), torch.tensor([[0.0], [1.0]]), torch.tensor([0]), None)
    assert far == 200
    output = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    items = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([4, 0, 4])
    assert torch.autograd.gradcheck(lambda o, i: LOSSES["ce"].function(o, i, target, None), (output, items))


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
        return original(self, batch) if steps <= len(self.sampler) + 2 else float("nan")

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
    while not killed.with_suffix(".state").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert models.load(killed).name == "sasrec"
    subprocess.run([*command, "--out", killed], check=True, capture_output=True)
    assert killed.read_bytes() == whole.read_bytes()


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


def test_the_command_line_and_python_write_the_same_checkpoint(command, tmp_path):
    out = tmp_path / "deep" / "er" / "shell.pt"
    result = command(
        "models.train", "--model", "bsarec", "--dataset", DATA, "--alpha", 0.5, "--c", 5, "--epochs", 2,
        "--layers", 1, "--heads", 2, "--hidden-size", 8, "--max-len", 10, "--seed", 7, "--out", out,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "NDCG@20" in result.stdout
    run = train("bsarec", DATA, out=tmp_path / "py.pt", alpha=0.5, c=5, epochs=2, num_heads=2, seed=7, **SMALL)
    assert out.read_bytes() == run.path.read_bytes()


def test_evaluate_prints_one_json_object_and_the_metrics_of_training(command, checkpoint):
    import json

    result = command("models.evaluate", checkpoint, "--json")
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed == pytest.approx(models.load(checkpoint).checkpoint["metrics"]["test"])
    assert list(printed) == ["HR@5", "NDCG@5", "HR@10", "NDCG@10", "HR@20", "NDCG@20", "MRR"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "netflix"], "netflix"),
        (["--dataset", DATA, "--c", "4"], "c must be odd"),
        (["--dataset", DATA, "--device", "tpu"], "device 'tpu' cannot be used"),
        (["--dataset", DATA, "--out", "/proc/nothing/model.pt"], "/proc/nothing"),
    ],
)
def test_bad_input_to_train_ends_with_a_message_and_code_2(command, arguments, message):
    result = command("models.train", "--model", "bsarec", *arguments)
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("error: ")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_evaluating_data_beyond_the_item_table_is_refused(command, checkpoint):
    result = command("models.evaluate", checkpoint, "--data", "synthetic:items=99")
    assert result.returncode == 2
    assert "error: " in result.stderr and "knows items up to 60" in result.stderr


def test_ctrl_c_ends_with_code_130(tmp_path):
    command = [sys.executable, "-m", "models.train", "--model", "sasrec", "--dataset", DATA]
    endless = ["--epochs", "100000", "--patience", "100000"]  # it must not end before the signal comes
    process = subprocess.Popen(
        [*command, "--out", tmp_path / "m.pt", *endless],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
        # Where the tests run in the background of a shell, it has told them to ignore Ctrl-C.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "epoch 0" in line:
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait() == 130
    assert rest.strip().endswith("interrupted")
    assert "Traceback" not in rest
    assert (tmp_path / "m.state").exists()


@pytest.mark.skipif(not os.path.exists("/sys/kernel/mm/transparent_hugepage"), reason="no huge pages here")
def test_the_heap_is_kept_and_in_huge_pages():
    script = (
        "from pathlib import Path; import torch; from models.layers.allocator import keep_freed_memory\n"
        "keep_freed_memory()\n"
        "def resident(): return int(Path('/proc/self/statm').read_text().split()[1])\n"
        "before = resident(); x = [torch.ones(2_000_000) for _ in range(8)]; used = resident(); del x\n"
        "heap = Path('/proc/self/smaps').read_text().split('[heap]')[1]\n"
        "flags = next(line for line in heap.splitlines() if line.startswith('VmFlags'))\n"
        "print(' hg' in flags, resident() - before > 0.9 * (used - before))"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).split() == ["True", "True"]
