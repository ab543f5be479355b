"""Peak memory of a full-ranking evaluation above the imports, the dataset and the model included.

python benchmarks/evaluation_memory.py [--dataset yelp] [--json]

Scores are computed for some users and some items at a time. All of Yelp's at once would be 30,431 x 20,034 numbers,
2.4 GB.
"""

import time
from pathlib import Path
from typing import Annotated

import typer
from machine import aligned, report
from peak_memory import peak_mb

from models.command_line import run
from models.datasets import load
from models.evaluation import evaluate
from models.registry import build, configure

LIMIT_MB = 1000


def main(
    dataset: Annotated[str, typer.Option(help="name of a dataset or a file of sequences")] = "yelp",
    model: Annotated[str, typer.Option(help="name of the model; its weights are random")] = "bsarec",
    data_dir: Annotated[Path | None, typer.Option(help="folder that may hold the datasets' files")] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Print the measurements; exit with code 1 if the peak is above the limit."""
    before = peak_mb()
    sequences = load(dataset, data_dir)
    network = build(configure(model, sequences.num_items, sequences.num_users))
    network.initialise(0)
    start = time.perf_counter()
    evaluate(network, sequences, "test")
    result = {
        "users": sequences.num_users,
        "items": sequences.num_items,
        "seconds": time.perf_counter() - start,
        "imports_mb": before,
        "above_imports_mb": peak_mb() - before,
    }
    report(result, json, aligned(result | {"limit_mb": LIMIT_MB}))
    raise typer.Exit(int(result["above_imports_mb"] > LIMIT_MB))


if __name__ == "__main__":
    run(main)
