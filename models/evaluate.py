"""Evaluate a checkpoint by full ranking: `python -m models.evaluate ckpt.pt`."""

from pathlib import Path
from typing import Annotated

import typer

from models.checkpoint import load
from models.command_line import check_device, inform, print_json, run
from models.datasets import load as load_sequences
from models.errors import DataError
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
    assert model.checkpoint is not None
    trained_on = model.checkpoint["dataset"]
    sequences = load_sequences(data or trained_on["source"], data_dir)
    if sequences.num_items > model.config.num_items:
        raise DataError(
            f"{sequences.name} has items up to {sequences.num_items}, but {checkpoint} knows items up to "
            f"{model.config.num_items}; it was trained on {trained_on['name']}"
        )
    if sequences.fingerprint != trained_on["fingerprint"]:
        inform(f"note: {sequences.name} is not the data that the checkpoint was trained on ({trained_on['name']})")
    metrics = evaluate(model, sequences, split)
    if json:
        print_json(metrics)
        return
    inform(f"{model.name} on {sequences.name}, {split} split, {sequences.num_users} users, {sequences.num_items} items")
    for name, value in metrics.items():
        print(f"{name:8} {value:.4f}")


if __name__ == "__main__":
    run(main)
