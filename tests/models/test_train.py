"""`python -m models.train`: the checkpoint of Python, and how it ends when something is wrong."""

import os
import signal
import subprocess
import sys
from functools import partial

import pytest

from models.train import train

DATA = "synthetic:users=60,items=40"
SMALL = {"hidden_size": 8, "max_len": 10, "num_layers": 1}


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
    assert (tmp_path / "m.pt.state").exists()
