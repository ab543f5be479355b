"""Peak memory of training on many users, above the imports and without weights, gradients and Adam's states.

python benchmarks/train_memory.py [--users 1000000] [--interactions 20000000] [--items 100000] [--json]

Windows are gathered batch by batch. All of them at once would be 18 million x 50 numbers here, 3.6 GB. Some steps of an
epoch are taken, since all of them take the same memory, and then users of the validation split are ranked.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from machine import aligned, report
from peak_memory import peak_mb

from models.command_line import run
from models.datasets import Sequences
from models.evaluation import evaluate
from models.registry import configure
from models.training import Trainer, TrainingConfig

LIMIT_MB = 2000


def generated(users: int, interactions: int, items: int) -> Sequences:
    """Return histories of equal length, of items drawn uniformly."""
    offsets = np.arange(users + 1) * (interactions // users)
    drawn = np.random.default_rng(0).integers(1, items + 1, offsets[-1], dtype=np.int32)
    return Sequences("generated", np.arange(users), drawn, offsets, catalogue=items)


def main(
    users: Annotated[int, typer.Option(help="number of users", min=1)] = 1_000_000,
    interactions: Annotated[int, typer.Option(help="number of items in all histories")] = 20_000_000,
    items: Annotated[int, typer.Option(help="number of different items", min=1)] = 100_000,
    model: Annotated[str, typer.Option(help="name of the model")] = "bsarec",
    loss: Annotated[str, typer.Option(help="ce, bce or bpr; bce and bpr draw negatives")] = "ce",
    steps: Annotated[int, typer.Option(help="steps of training", min=1)] = 20,
    validate: Annotated[bool, typer.Option(help="rank all users of the validation split as well")] = False,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Print the measurements; exit with code 1 if the peak is above the limit."""
    if interactions < 3 * users:
        raise typer.BadParameter("every user needs at least 3 interactions", param_hint="--interactions")
    imports = peak_mb()
    sequences = generated(users, interactions, items)
    with TemporaryDirectory() as folder:
        trainer = Trainer(configure(model, items, users), TrainingConfig(loss=loss), sequences, Path(folder, "m.pt"))
        trainer.model.train()
        for _, batch in zip(range(steps), trainer.sampler.epoch(0, trainer.device), strict=False):
            trainer.step(batch)
        if validate:
            evaluate(trainer.model, sequences, "valid")
    # Weights, gradients, and Adam's two moments, four bytes a number.
    parameters_mb = sum(parameter.numel() for parameter in trainer.model.parameters()) * 4 * 4 / 1e6
    result = {
        "users": users,
        "interactions": sequences.num_interactions,
        "items": items,
        "samples": len(trainer.sampler.samples),
        "imports_mb": imports,
        "parameters_mb": parameters_mb,
        "above_both_mb": peak_mb() - imports - parameters_mb,
    }
    report(result, json, aligned(result | {"limit_mb": LIMIT_MB}))
    raise typer.Exit(int(result["above_both_mb"] > LIMIT_MB))


if __name__ == "__main__":
    run(main)
