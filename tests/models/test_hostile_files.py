"""Files that are made to do harm end in a sentence: nothing runs, is written, or is left behind."""

import mmap
import os
import re
import runpy
import signal
import sys
from pathlib import Path

import pytest
import torch
from hostile_files import KINDS
from repository import ROOT
from third_party_states.recbole import sasrec_state
from trials import USER_ERROR, Outcome, attempt, try_files

import models.errors  # noqa: F401

CASES = ROOT.parent / "shared/cases/38-hostile-checkpoints"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, checkpoint) -> dict[str, Outcome]:
    """Of the kinds by name, and of the shared cases by path."""
    made = {}
    for number, (name, (_, make)) in enumerate(KINDS.items()):
        made[name] = make(tmp_path_factory.mktemp(f"kind{number}"), checkpoint)
    made |= {str(file): file for file in shared_cases(tmp_path_factory.mktemp("shared"), checkpoint)}
    found = try_files(checkpoint, list(made.values()))
    return {name: found[file] for name, file in made.items()}


def shared_cases(folder: Path, base: Path) -> list[Path]:
    if not CASES.is_dir():
        return []
    torch.save(sasrec_state(), folder / "theirs.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["make.py", str(base), str(folder / "theirs.pt"), str(folder / "made")])
        patch.syspath_prepend(CASES)
        runpy.run_path(str(CASES / "make.py"))
    return [file for file in (folder / "made").rglob("*") if file.suffix in (".pt", ".safetensors")]


@pytest.mark.parametrize("name", KINDS)
def test_a_hostile_file_ends_in_a_sentence(outcomes, name):
    outcome = outcomes[name]
    assert (outcome.code, outcome.faults) == (USER_ERROR, []), outcome
    assert re.search(KINDS[name][0], outcome.message), outcome.message


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")
def test_the_shared_hostile_files_end_in_a_sentence(outcomes):
    shared = {name: outcome for name, outcome in outcomes.items() if name not in KINDS}
    assert len(shared) > 15
    assert {name: (outcome.code, outcome.faults) for name, outcome in shared.items()} == {
        name: (USER_ERROR, []) for name in shared
    }
    assert not list(Path(next(iter(shared))).parent.rglob("*.patch"))


@pytest.mark.parametrize(
    ("action", "fault"),
    [
        (lambda folder: 1 / 0, "traceback"),
        (lambda folder: os.kill(os.getpid(), signal.SIGKILL), "killed"),
        (lambda folder: [None for _ in iter(int, 1)], "hang"),
        (lambda folder: mmap.mmap(-1, 150 << 20).write(bytes(150 << 20)), "memory"),
        (lambda folder: os.system("true"), "executed"),
        (lambda folder: (folder / "new").touch(), "written"),
        (lambda folder: Path("/etc/hostname").open().close(), "read"),
        (lambda folder: os.environ.update(POISON="1"), "poisoned"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_trial_notices_what_it_looks_for(tmp_path, monkeypatch, action, fault):
    import trials

    limits = trials.Limits(seconds=3, memory=100)
    monkeypatch.setattr(trials, "LIMITS", limits)
    monkeypatch.delenv("POISON", raising=False)
    outcome = attempt(lambda: action(tmp_path), tmp_path, lambda: os.environ.get("POISON"), None, limits)
    assert outcome.faults == [fault], outcome
