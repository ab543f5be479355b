"""`python -m models.compare` on trained runs."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from models.results.comparison import METRICS

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_command_compares_trained_runs(command: Command, checkpoint: Path, sasrec_checkpoint: Path, tmp_path: Path):
    done = command("models.compare", checkpoint, sasrec_checkpoint, "--out", "table", "--metrics", "HR@20,NDCG@20")
    assert done.returncode == 0, done.stderr
    assert "BSARec" in done.stdout and "SASRec" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} >= {"table.csv", "table.md", "table.tex"}
    printed = json.loads(command("models.compare", checkpoint, "--json").stdout)
    assert {row["metric"] for row in printed["rows"]} == set(METRICS) and printed["reference"] == "BSARec"
    wrong = command("models.compare", checkpoint, "--metrics", "HR@7")
    assert wrong.returncode == 2 and "HR@7" in wrong.stderr
