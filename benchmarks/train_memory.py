"""Peak memory of training on many users, above the imports and without weights, gradients and Adam's states.

python benchmarks/train_memory.py [--users 1000000] [--interactions 20000000] [--items 100000] [--json]

Windows are gathered batch by batch. All of them at once would be 18 million x 50 numbers here, 3.6 GB. Some steps of an
epoch are taken, since all of them take the same memory, and with --validate users of the validation split are ranked.

With --beside-torch, the cross-entropy over all items and its derivative are also measured alone, ours and PyTorch's, on
the same batch and item table, each in a process of its own: what either takes above them, the gradients included.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import torch
import typer
from machine import aligned, report
from peak_memory import peak_mb
from torch import Tensor
from torch.nn import functional

from models.command_line import run
from models.datasets import Sequences
from models.evaluation import evaluate
from models.layers.losses import cross_entropy
from models.registry import configure
from models.training import Trainer, TrainingConfig

LIMIT_MB = 2000
BATCH, SIZE = 256, 64  # of the cross-entropy alone: samples, and numbers of each and of each item


def generated(users: int, interactions: int, items: int) -> Sequences:
    """Return histories of equal length, of items drawn uniformly."""
    offsets = np.arange(users + 1) * (interactions // users)
    drawn = np.random.default_rng(0).integers(1, items + 1, offsets[-1], dtype=np.int32)
    return Sequences("generated", np.arange(users), drawn, offsets, catalogue=items)


def cross_entropy_of_torch(output: Tensor, items: Tensor, target: Tensor) -> Tensor:
    """Return PyTorch's cross-entropy, of a matrix of all scores (B, num_items + 1)."""
    return functional.cross_entropy(output @ items.T, target)


CROSS_ENTROPIES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "ours": cross_entropy,
    "torch": cross_entropy_of_torch,
}


def measure_cross_entropy(name: str, items: int) -> float:
    """Return the peak of a cross-entropy and its derivative above the batch and the item table, in MB."""
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(BATCH, SIZE, generator=generator, requires_grad=True)
    table = torch.randn(items + 1, SIZE, generator=generator, requires_grad=True)
    target = torch.randint(1, items + 1, (BATCH,), generator=generator)
    before = peak_mb()
    CROSS_ENTROPIES[name](output, table, target).backward()
    return peak_mb() - before


def in_process(name: str, items: int) -> float:
    """Return what `measure_cross_entropy` does in a process of its own."""
    command = [sys.executable, __file__, "--cross-entropy", name, "--items", str(items)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def train(trainer: Trainer, steps: int) -> None:
    """Take some steps of an epoch."""
    trainer.model.train()
    for _, batch in zip(range(steps), trainer.sampler.epoch(0, trainer.device), strict=False):
        trainer.step(batch)


def main(
    users: Annotated[int, typer.Option(help="number of users", min=1)] = 1_000_000,
    interactions: Annotated[int, typer.Option(help="number of items in all histories")] = 20_000_000,
    items: Annotated[int, typer.Option(help="number of different items", min=1)] = 100_000,
    model: Annotated[str, typer.Option(help="name of the model")] = "bsarec",
    loss: Annotated[str, typer.Option(help="ce, bce or bpr; bce and bpr draw negatives")] = "ce",
    steps: Annotated[int, typer.Option(help="steps of training", min=1)] = 20,
    validate: Annotated[bool, typer.Option(help="rank all users of the validation split as well")] = False,
    beside_torch: Annotated[bool, typer.Option(help="measure the cross-entropy alone, beside PyTorch's")] = False,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    cross_entropy: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Print the measurements; exit with code 1 if the peak is above the limit."""
    if cross_entropy is not None:
        print(measure_cross_entropy(cross_entropy, items))
        return
    if interactions < 3 * users:
        raise typer.BadParameter("every user needs at least 3 interactions", param_hint="--interactions")
    imports = peak_mb()
    sequences = generated(users, interactions, items)
    with TemporaryDirectory() as folder:
        trainer = Trainer(configure(model, items, users), TrainingConfig(loss=loss), sequences, Path(folder, "m.pt"))
        train(trainer, steps)
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
    if beside_torch:
        result |= {f"cross_entropy_{name}_mb": in_process(name, items) for name in CROSS_ENTROPIES}
    report(result, json, aligned(result | {"limit_mb": LIMIT_MB}))
    raise typer.Exit(int(result["above_both_mb"] > LIMIT_MB))


if __name__ == "__main__":
    run(main)
