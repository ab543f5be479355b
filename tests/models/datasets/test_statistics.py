"""Statistics of datasets as a table."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from models.datasets import load
from models.datasets.statistics import statistics_table

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_statistics_of_several_datasets():
    datasets = [load("synthetic:users=30,items=20"), load("synthetic:users=40,items=20")]
    table = statistics_table(datasets, 10)
    assert table.users.tolist() == [30, 40]
    assert table.training_samples.tolist() == [len(sequences.prefixes(10)) for sequences in datasets]
    assert table.average_length.tolist() == [sequences.lengths.mean() for sequences in datasets]


def test_the_statistics_are_written_as_a_table(command: Command, tmp_path: Path):
    done = command("models.datasets", "describe", "synthetic:users=30", "synthetic", "--out", "new/table.csv")
    assert done.returncode == 0 and "wrote new/table.csv" in done.stderr
    table = pd.read_csv(tmp_path / "new" / "table.csv")
    assert table.name.tolist() == ["synthetic:users=30", "synthetic"] and table.users.tolist() == [30, 300]
    assert table.notna().all(axis=None)
