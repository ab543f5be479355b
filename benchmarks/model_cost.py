"""What each model costs: parameters, and seconds of an epoch on a dataset.

    python benchmarks/model_cost.py                              a table of all models on LastFM
    python benchmarks/model_cost.py --dataset beauty --out cost.csv
    python benchmarks/model_cost.py --json                       {"machine": ..., "rows": [{"model": ...}, ...], ...}

Every model has its published settings and loss, with batches of 256, on one thread. An epoch is not run to its end:
the models take turns, one step each, and the median step is multiplied by the number of steps of an epoch. The
validation that follows each epoch is timed once in whole and stands in a column of its own.
"""

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from statistics import median
from typing import Annotated

import pandas as pd
import torch
import typer
from machine import report
from tqdm import tqdm

from models.command_line import run
from models.datasets import Sequences, load
from models.datasets.sampling import Batch
from models.evaluation import evaluate
from models.files import write_atomically
from models.layers.allocator import old_objects_aside
from models.registry import MODELS, configure, model_type
from models.training import Trainer, TrainingConfig

WARM_UP = 3  # steps that are not counted
UNUSED = Path("unused.pt")  # a Trainer wants to know where its checkpoint goes; none is made


def measure(names: list[str], sequences: Sequences, steps: int) -> pd.DataFrame:
    """Return one row per model: model, title, parameters, step_ms, steps, epoch_seconds, validation_seconds.

    steps: how many are timed of each model; the column of that name says how many an epoch has.
    """
    trainers = {name: make_trainer(name, sequences) for name in names}
    milliseconds = time_steps(list(trainers.values()), steps)
    rows = []
    for (name, trainer), step in zip(trainers.items(), milliseconds, strict=True):
        started = time.perf_counter()
        evaluate(trainer.model, sequences, "valid")
        rows.append(
            {
                "model": name,
                "title": trainer.model.title,
                "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
                "step_ms": step,
                "steps": len(trainer.sampler),
                "epoch_seconds": step / 1000 * len(trainer.sampler),
                "validation_seconds": time.perf_counter() - started,
            }
        )
    return pd.DataFrame(rows)


def make_trainer(name: str, sequences: Sequences) -> Trainer:
    """Return what trains a model in its published settings."""
    config = configure(name, sequences.num_items, sequences.num_users)
    return Trainer(config, TrainingConfig(loss=model_type(name).published_loss), sequences, UNUSED)


def endless(trainer: Trainer) -> Iterator[Batch]:
    """Yield the batches of one epoch after another."""
    for epoch in count():
        yield from trainer.sampler.epoch(epoch, trainer.device)


def time_steps(trainers: list[Trainer], steps: int) -> list[float]:
    """Return the median milliseconds of a step of each trainer; they take turns, so that a slow minute hits all."""
    streams = [endless(trainer) for trainer in trainers]
    seconds: list[list[float]] = [[] for _ in trainers]
    with old_objects_aside():
        for _ in tqdm(range(WARM_UP + steps), unit="turn", disable=None):
            for trainer, stream, times in zip(trainers, streams, seconds, strict=True):
                batch = next(stream)
                started = time.perf_counter()
                trainer.step(batch)
                times.append(time.perf_counter() - started)
    return [median(times[WARM_UP:]) * 1000 for times in seconds]


def main(
    models: Annotated[str | None, typer.Option(help="which models, separated by commas [all]")] = None,
    dataset: Annotated[str, typer.Option(help="name of a dataset or a file of sequences")] = "lastfm",
    data_dir: Annotated[Path | None, typer.Option(help="folder that may hold the datasets' files")] = None,
    steps: Annotated[int, typer.Option(min=1, help="timed training steps per model")] = 20,
    out: Annotated[Path | None, typer.Option(help="write the table to this CSV file")] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Print parameters and the time of an epoch of every model."""
    torch.set_num_threads(1)
    names = models.split(",") if models else list(MODELS)
    for name in names:
        model_type(name)  # an unknown one is refused before anything is timed
    table = measure(names, load(dataset, data_dir), steps)
    if out is not None:
        write_atomically(out, table.to_csv(index=False).encode())
    lines = [
        f"{dataset}, batch 256, median of {steps} steps",
        table.drop(columns="model").to_string(index=False, float_format="{:,.1f}".format),
    ]
    report({"dataset": dataset, "rows": table.to_dict("records")}, json, lines)


if __name__ == "__main__":
    run(main)
