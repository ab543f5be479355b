"""What `models.train --watch` costs: the time of its measures beside that of the epoch they follow.

    python benchmarks/watch_cost.py                              SASRec and BSARec with 2 and 8 layers on LastFM
    python benchmarks/watch_cost.py --models sasrec --layers 2 --dataset ml-100k
    python benchmarks/watch_cost.py --json                       {"machine": ..., "rows": [{"model": ...}, ...], ...}

An epoch is training and validation. It is not run to its end: the median step is multiplied by the number of steps of
an epoch, and the validation and the watch are timed in whole, the watch several times.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer
from machine import report

from models.callbacks import EpochRecord, RunStart
from models.command_line import run
from models.datasets import Sequences, load
from models.evaluation import evaluate
from models.registry import configure
from models.training import Trainer, TrainingConfig
from spectral.watch import Watch

UNUSED = Path("unused.pt")  # a Trainer wants to know where its checkpoint goes; none is made
REPEATS = 3


def measure(model: str, layers: int, sequences: Sequences, steps: int) -> dict[str, Any]:
    """Return one row: model, layers, epoch_seconds, watch_seconds, and share, the watch's part of the epoch."""
    config = configure(model, sequences.num_items, num_layers=layers)
    trainer = Trainer(config, TrainingConfig("ce"), sequences, UNUSED)
    batches = trainer.sampler.epoch(0, trainer.device)
    times = [seconds_of(lambda: trainer.step(next(batches))) for _ in range(steps + 1)][1:]  # the first one warms up
    validation = seconds_of(lambda: evaluate(trainer.model, sequences, "valid"))
    epoch = median(times) * len(trainer.sampler) + validation
    watch = Watch()
    watch.on_start(RunStart(UNUSED, trainer.model, sequences, epoch=0))
    watch.path = None  # the time to write a file of some kilobytes is that of the disk
    record = EpochRecord(trainer.model, 0, {"loss": 0.0}, seconds=0.0, best_epoch=0)
    watched = median(seconds_of(lambda: watch.on_epoch(record)) for _ in range(REPEATS))
    seconds = {"epoch_seconds": epoch, "watch_seconds": watched, "share": watched / epoch}
    return {"model": model, "layers": layers, **seconds}


def seconds_of(work: Callable[[], Any]) -> float:
    """Return how long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main(
    models: Annotated[str, typer.Option(help="which models, separated by commas")] = "sasrec,bsarec",
    layers: Annotated[str, typer.Option(help="numbers of layers, separated by commas")] = "2,8",
    dataset: Annotated[str, typer.Option(help="name of a dataset or a file of sequences")] = "lastfm",
    data_dir: Annotated[Path | None, typer.Option(help="folder that may hold the datasets' files")] = None,
    steps: Annotated[int, typer.Option(min=1, help="timed training steps per model")] = 10,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Print the time of an epoch, and that of the watch after it, on one thread."""
    torch.set_num_threads(1)
    sequences = load(dataset, data_dir)
    rows = [measure(m, int(count), sequences, steps) for m in models.split(",") for count in layers.split(",")]
    lines = [
        f"{row['model']:10} {row['layers']:2} layers: epoch {row['epoch_seconds']:7.2f} s, "
        f"watch {row['watch_seconds']:6.3f} s, {row['share']:.1%}"
        for row in rows
    ]
    report({"dataset": dataset, "rows": rows}, json, lines)


if __name__ == "__main__":
    run(main)
