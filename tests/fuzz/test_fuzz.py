"""A slice of the fuzzer: some hundred mutants of every kind, always the same; `make fuzz MINUTES=10` runs many more."""

import json
import os
import random
import subprocess
import sys

import pytest
from mutations import mutated
from origins import checkpoints, legacy, tables
from repository import ROOT

MUTANTS = {"checkpoints": 300, "tables": 100}


@pytest.mark.parametrize("kind", MUTANTS)
def test_mutants_end_in_a_sentence_and_leave_nothing_behind(kind):
    paths = [str(ROOT), str(ROOT / "tests/helpers")]
    command = [sys.executable, ROOT / "tests/fuzz/fuzz.py", "--kind", kind, "--mutants", str(MUTANTS[kind]), "--json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["mutants"] >= MUTANTS[kind] and figures["refused"] > figures["mutants"] / 3


def test_a_mutant_is_the_same_for_the_same_number_and_differs_from_its_origin():
    good = {name: origin for name, origin in (checkpoints() | tables()).items() if origin.save is not legacy}
    for name, origin in good.items():
        first, again = (mutated(origin, random.Random(f"{name}-{seed}"), "canary") for seed in (0, 0))
        assert first == again
        several = [mutated(origin, random.Random(f"{name}-{seed}"), "canary") for seed in range(5)]
        assert any(files != origin.files for files in several), name
