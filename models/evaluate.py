"""Evaluate a checkpoint by full ranking: `python -m models.evaluate ckpt.pt`."""

from pathlib import Path
from typing import Annotated

import typer

from models.checkpoint import load, sequences_of
from models.command_line import check_device, inform, print_json, run
from models.evaluation import evaluate


def main(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint that models.train wrote")],
    data: Annotated[str | None, typer.Option(help="name of a dataset, or a file [the one it was trained on]")] = None,
    split: Annotated[str, typer.Option(help="test, valid or train")] = "test",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or auto")] = "cpu",
    data_dir: Annotated[Path | None, typer.Option(help="folder that may hold the datasets' files")] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object instead of a table")] = False,
) -> None:
    """Print HR@k and NDCG@k, k = 5, 10, 20, of the held-out items among all items."""
    model = load(checkpoint, check_device(device))
    sequences = sequences_of(model, data, data_dir)
    metrics = evaluate(model, sequences, split)
    if json:
        print_json(metrics)
        return
    inform(f"{model.name} on {sequences.name}, {split} split, {sequences.num_users} users, {sequences.num_items} items")
    for name, value in metrics.items():
        print(f"{name:8} {value:.4f}")


if __name__ == "__main__":
    run(main)
