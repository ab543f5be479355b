"""Time training on a GPU: of a step, of an epoch, of the main table, and how much of the card's arithmetic is used.

    python benchmarks/gpu.py                                    a table of 8 models on 6 datasets
    python benchmarks/gpu.py --models bsarec --datasets lastfm  of some
    python benchmarks/gpu.py --json                             {"machine": ..., "hours": ..., "rows": [...], ...}
    python benchmarks/gpu.py --device cpu --steps 2             the same where there is no GPU, to see that it runs

Every model has its published settings and loss, with batches of 256. Nothing in a step waits for the device, so many
steps are timed together, and the device is waited for once, before and after them. They are timed one operation after
the other (eager) and as training takes them on this device: a GPU replays a captured step (models.step_graph).
Validation, which follows each epoch, is timed once in whole.

The share of the peak compares the arithmetic of a step, its matrix products and convolutions, with a product of large
float32 matrices on the same device in the same run. The time of the main table is extrapolated: one run of each model
on each dataset, one after another, of `--epochs` epochs each; the runs of these models whose results are in figures/
took 46 epochs on average until they stopped.
"""

import math
import re
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from models.command_line import check_device, run
from models.datasets import Sequences, load
from models.datasets.sampling import Batch
from models.errors import ConfigError
from models.evaluation import evaluate
from models.layers.allocator import old_objects_aside
from models.precision import reproducible
from models.registry import configure, model_type
from models.results.runs import name_of
from models.step_graph import WARM_UP
from models.training import Trainer, TrainingConfig

MODELS = ("caser", "gru4rec", "sasrec", "bert4rec", "fmlprec", "duorec", "fearec", "bsarec")
DATASETS = ("beauty", "sports", "toys", "yelp", "lastfm", "ml-1m")
UNUSED = Path("unused.pt")  # a Trainer wants to know where its checkpoint goes; none is made
LARGE = {"cuda": 8192}  # rows and columns of the product that gives the peak
SMALL = 1024  # on other devices


def measure(name: str, sequences: Sequences, device: torch.device, steps: int, peak: float) -> dict[str, Any]:
    """Return the row of a model on a dataset.

    Its keys are dataset, model, eager_ms, step_ms, gain (of replaying captured steps), steps (of an epoch),
    epoch_seconds, validation_seconds, gflop (of a step) and share_of_peak. steps: how many are timed; peak: floating
    point operations per second.
    """
    config = configure(name, sequences.num_items, sequences.num_users)
    training = TrainingConfig(loss=model_type(name).published_loss)
    trainer = Trainer(config, training, sequences, UNUSED, str(device))
    trainer.model.train()
    batches = endless(trainer)
    with reproducible(device), old_objects_aside():  # as Trainer.fit does
        eager, seconds = (seconds_of(take, batches, steps, device) for take in (trainer.eager_step, trainer.step))
    operations = operations_of_step(trainer, next(batches))
    return {
        "dataset": sequences.name,
        "model": name,
        "eager_ms": eager * 1000,
        "step_ms": seconds * 1000,
        "gain": eager / seconds,
        "steps": len(trainer.sampler),
        "epoch_seconds": seconds * len(trainer.sampler),
        "validation_seconds": timed(lambda: evaluate(trainer.model, sequences, "valid"), device),
        "gflop": operations / 1e9,
        "share_of_peak": operations / seconds / peak,
    }


def endless(trainer: Trainer) -> Iterator[Batch]:
    """Yield the batches of one epoch after another."""
    for epoch in count():
        yield from trainer.sampler.epoch(epoch, trainer.device)


def seconds_of(take: Callable[[Batch], Tensor], batches: Iterator[Batch], steps: int, device: torch.device) -> float:
    """Return the mean seconds of a training step, after some that warm up."""
    for batch in islice(batches, WARM_UP + 1):  # and the capture
        take(batch)
    return timed(lambda: [take(batch) for batch in islice(batches, steps)], device) / steps


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of some work, until the device has done all of it."""
    wait(device)
    started = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - started


def wait(device: torch.device) -> None:
    """Wait for a GPU; a processor is never behind."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_of(device: torch.device, repeats: int = 10) -> float:
    """Return the floating point operations per second in a product of large float32 matrices."""
    size = LARGE.get(device.type, SMALL)
    matrix = torch.randn(size, size, device=device)
    matrix @ matrix  # warm up
    return 2 * size**3 * repeats / timed(lambda: [matrix @ matrix for _ in range(repeats)], device)


def operations_of_step(trainer: Trainer, batch: Batch) -> int:
    """Return the floating point operations of the matrix products and convolutions of a step, on its device."""
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
        trainer.batch_loss(batch).backward()
    return counter.get_total_flops()


def _of_linear(x: list[int], *_: Any, out_shape: list[int], **__: Any) -> int:
    return 2 * math.prod(out_shape) * x[-1]


def _of_recurrent(x: list[int], weights: list[list[int]], *_: Any, **__: Any) -> int:
    return 2 * math.prod(x[:-1]) * sum(map(math.prod, weights))


# Operations that torch's counter does not know: oneDNN's linear layer on the processor, and cuDNN's recurrent layers.
UNCOUNTED = {
    torch.ops.aten._cudnn_rnn: _of_recurrent,
    torch.ops.aten._cudnn_rnn_backward: lambda x, weights, *_, **__: 2 * _of_recurrent(x, weights),
}
if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
    UNCOUNTED[torch.ops.mkldnn._linear_pointwise] = _of_linear


def hours_of(rows: pd.DataFrame, epochs: int) -> float:
    """Return the hours of one run of each row, of so many epochs, with validation.

    >>> hours_of(pd.DataFrame({"epoch_seconds": [30.0, 3.0], "validation_seconds": [5.0, 2.0]}), epochs=90)
    1.0
    """
    return float((rows.epoch_seconds + rows.validation_seconds).sum() * epochs / 3600)


def main(
    models: Annotated[str, typer.Option(help="which models, separated by commas")] = ",".join(MODELS),
    datasets: Annotated[str, typer.Option(help="names of datasets, separated by commas")] = ",".join(DATASETS),
    data_dir: Annotated[Path | None, typer.Option(help="folder that may hold the datasets' files")] = None,
    device: Annotated[str, typer.Option(help="cuda, cuda:1 or cpu")] = "cuda",
    steps: Annotated[int, typer.Option(min=1, help="timed training steps of each")] = 50,
    epochs: Annotated[int, typer.Option(min=1, help="epochs of a run of the main table")] = 50,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Print the time of steps and epochs, the share of the peak, and the hours of the main table."""
    from machine import report  # beside this file; imported as a module, nothing but its functions is used

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("torch finds no GPU here, so nothing is timed; --device cpu shows what would be printed")
    chosen = torch.device(check_device(device))
    names = models.split(",")
    for name in names:
        model_type(name)  # an unknown one is refused before anything is timed
    data = [
        load(name, data_dir) for name in re.split(r",(?!\w+=)", datasets)
    ]  # synthetic:users=60,items=40 is one name
    torch.set_num_threads(1)
    peak = peak_of(chosen)
    pairs = [(sequences, name) for sequences in data for name in names]
    table = pd.DataFrame(
        measure(name, sequences, chosen, steps, peak) for sequences, name in tqdm(pairs, unit="run", disable=None)
    )
    hours, tflops = hours_of(table, epochs), peak / 1e12
    found = {"device": name_of(chosen), "peak_tflops": tflops, "epochs": epochs, "hours": hours}
    lines = [
        f"{name_of(chosen)}, float32 products at {tflops:.3g} TFLOP/s",
        table.to_string(index=False, float_format="{:,.3g}".format),
        f"one run of each, {epochs} epochs, one after another: {hours:.2f} hours",
    ]
    report(found | {"rows": table.to_dict("records")}, json, lines)


if __name__ == "__main__":
    run(main)
