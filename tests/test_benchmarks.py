"""The benchmarks run and print what is documented; what they measure is not asserted here."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def run(script: str, *arguments: str) -> dict:
    command = [sys.executable, BENCHMARKS / script, *arguments, "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_train_speed_prints_the_documented_object():
    result = run("train_speed.py", "--dataset", "synthetic:users=60", "--rounds", "1", "--steps", "1")
    assert list(result) == ["bsarec", "sasrec", "side_by_side"]
    for model in ("bsarec", "sasrec"):
        assert list(result[model]) == ["reference_ms", "ours_ms", "ratio"]
        assert result[model]["ratio"] == result[model]["reference_ms"] / result[model]["ours_ms"] > 0
    assert list(result["side_by_side"]) == ["ratio"]


def test_accumulator_memory_counts_every_user():
    result = run("accumulator_memory.py", "--users", "700")
    assert result["users"] == 700
    assert result["above_imports_mb"] < 300


def test_evaluation_memory_ranks_every_user():
    result = run("evaluation_memory.py", "--dataset", "synthetic:users=700,items=50")
    assert result["users"] == 700
    assert result["above_imports_mb"] < 300
