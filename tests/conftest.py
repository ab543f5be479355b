"""Fixtures that several test modules share."""

import os

from repository import ROOT

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: the tests run on one worker a core

import fcntl
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


LONGEST = ("workflow", "benchmarks", "notebooks")  # folders whose files take minutes; notebooks use what workflow makes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, so that no worker is left with one of them while the other has nothing to do."""
    items.sort(key=lambda item: LONGEST.index(folder) if (folder := item.path.parent.name) in LONGEST else len(LONGEST))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BSARec with two heads, trained for two epochs on synthetic data."""
    return train_small(tmp_path_factory.mktemp("bsarec"), "bsarec", alpha=0.7, c=5)


@pytest.fixture(scope="session")
def sasrec_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SASRec with two heads, trained for two epochs on synthetic data."""
    return train_small(tmp_path_factory.mktemp("sasrec"), "sasrec")


@pytest.fixture(scope="session")
def cyclic_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SASRec whose short histories are repeated, trained for two epochs on synthetic data."""
    return train_small(tmp_path_factory.mktemp("cyclic"), "sasrec", padding="cyclic")


def train_small(folder: Path, model: str, **settings: object) -> Path:
    from models.train import train

    settings = {"num_heads": 2, "hidden_size": 16, "max_len": 20, "epochs": 2, **settings}
    return train(model, "synthetic:users=120,items=60", out=folder / "model.pt", seed=1, **settings).path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything the smoke profile makes, through a cluster executor whose cluster is bash.

    It is made once for all workers; only test_workflow may change it.
    """
    from workflow import run

    folder = shared(tmp_path_factory) / "workflow"
    folder.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.with_name("as_made").exists():
            submit = ["--executor", "cluster-generic", "--cluster-generic-submit-cmd", "bash", "--jobs", "2"]
            run(folder, *submit, "--seconds-between-status-checks", "1", "--latency-wait", "30")
            shutil.copytree(folder, folder.with_name("as_made"), ignore=shutil.ignore_patterns(".snakemake"))
    return folder


@pytest.fixture(scope="session")
def as_made(finished: Path) -> Path:
    """A copy of the runs and figures in `finished`, which no test changes."""
    return finished.with_name("as_made")


def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run of the tests have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -m MODULE ARGUMENTS...` in an empty folder, as a user would."""

    def run(module: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"} | environment,
            capture_output=True,
            text=True,
            timeout=240,
        )

    return run


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
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


@pytest.fixture
def their_file(tmp_path: Path) -> Path:
    """A BSARec as its own repository saves it."""
    import torch
    from third_party_states.small import bsarec_state

    torch.save(bsarec_state(), tmp_path / "theirs.pt")
    return tmp_path / "theirs.pt"
