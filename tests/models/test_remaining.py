"""The command that says what is left of the run list."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from repository import ROOT


def test_command_says_what_is_left(command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path):
    (tmp_path / "config").mkdir()
    text = (ROOT / "config/smoke.yaml").read_text()
    block = "run_list:\n  - {datasets: [synthetic], systems: [sasrec], seeds: [1, 2]}\n"
    (tmp_path / "config/smoke.yaml").write_text(text[: text.index("run_list:")] + block)
    done = command("models.remaining", "--profile", "smoke", f"figures={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "block  1:   2 of   2 runs left" in done.stdout and "2 without an estimate" in done.stdout
    assert command("models.remaining", "--profile", "smoke", "--blocks").stdout == "1\n"
    printed = json.loads(command("models.remaining", "--profile", "smoke", "--json").stdout)
    assert printed["blocks"] == [{"number": 1, "total": 2, "left": 2, "hours": 0.0, "unknown": 2}]
    assert printed["timed_on"] == []
    help_text = " ".join(command("models.remaining", "--help").stdout.replace("│", " ").split())
    assert "as results name it [default: (this machine's)]" in help_text
    nobody = command("models.remaining", "--profile", "smoke", "--processor", "a card", f"figures={tmp_path}")
    assert nobody.returncode == 2 and "--processor: no finished run names 'a card'; they name: none" in nobody.stderr
    wrong = command("models.remaining", "--profile", "smoke", "figures")
    assert wrong.returncode == 2 and "expected KEY=VALUE, got 'figures'" in wrong.stderr
