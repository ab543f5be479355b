"""`python -m models.compare` on trained runs."""

import json
from collections.abc import Callable
from pathlib import Path

from models.results.comparison import METRICS

Call = Callable[..., tuple[int, str, str]]


def test_command_compares_trained_runs(call: Call, checkpoint: Path, sasrec_checkpoint: Path, tmp_path: Path):
    status, out, err = call(
        "models.compare", checkpoint, sasrec_checkpoint, "--out", "table", "--metrics", "HR@20,NDCG@20"
    )
    assert status == 0, err
    assert "BSARec" in out and "SASRec" in out and "a permutation test over users" in err
    assert {path.name for path in tmp_path.iterdir()} >= {"table.csv", "table.md", "table.tex"}
    printed = json.loads(call("models.compare", checkpoint, "--json")[1])
    assert {row["metric"] for row in printed["rows"]} == set(METRICS) and printed["reference"] == "BSARec"
    status, out, err = call("models.compare", checkpoint, sasrec_checkpoint, "--test", "wilcoxon")
    assert "can favour the system with the lower mean" in err
    status, _, err = call("models.compare", checkpoint, "--metrics", "HR@7")
    assert status == 2 and "HR@7" in err
