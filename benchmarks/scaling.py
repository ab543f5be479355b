"""How the cost of training grows with users, items, N, d and layers: seconds of an epoch, peak memory, and exponents.

    python benchmarks/scaling.py                                    a table of SASRec and BSARec; minutes on one core
    python benchmarks/scaling.py --out benchmarks/results/scaling   scaling.png, .pdf, .csv and .json as well
    python benchmarks/scaling.py --dimensions num_layers --layers 2,4,8 --json     {"machine": ..., "rows": [...], ...}
    python benchmarks/scaling.py --again scaling.json --out picture  what --out wrote is drawn again, nothing measured

One dimension varies at a time; the others stay at 2,000 users, 4,000 items, N = 50, d = 64 and two layers. Histories
are random, of N + 2 items each, which makes N samples of a user, with 0 to N - 1 items in their windows. Where N
varies, so do the users, and the samples stay as many. All models have the cross-entropy over all items, batches of 256
and one thread.

Every model and size lives in a process of its own. Those of a dimension take turns, a few steps each, and the median
over the turns is multiplied by the steps of an epoch. Memory is the peak of a process above its imports: data, weights,
gradients and Adam's states included. A cost is fitted by size^b, by least squares of the logarithms; b is given with
its standard error, which is large where the growth is no power of the size.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from machine import machine, report
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from model_cost import endless
from peak_memory import peak_mb
from scipy.stats import linregress
from tqdm import tqdm
from train_memory import generated
from train_speed import Worker

from models.command_line import run
from models.datasets import Sequences
from models.datasets.sampling import Batch
from models.errors import ConfigError
from models.files import write_atomically
from models.layers.allocator import old_objects_aside
from models.registry import configure, model_type
from models.training import Trainer, TrainingConfig
from spectral.palette import styles_of, title_of
from spectral.plot.figure import grid, save, shared_legend, style

UNUSED = Path("unused.pt")  # a Trainer wants to know where its checkpoint goes; none is made
WARM_UP = 2  # steps that are not counted
PEAK = 0  # asks a worker for its memory: no steps
FEWEST = 3  # sizes, of which the spread of a fit can be told
COSTS = {"epoch_seconds": "seconds of an epoch", "memory_mb": "peak memory (MB)"}


@dataclass(frozen=True)
class Size:
    """What is trained: the size of the data and of the model."""

    users: int = 2000
    items: int = 4000
    max_len: int = 50  # N
    hidden_size: int = 64  # d
    num_layers: int = 2

    def with_one(self, dimension: str, value: int) -> "Size":
        """Return this size with another value of one dimension; with another N, the samples stay as many."""
        users = max(self.users * self.max_len // value, 1) if dimension == "max_len" else self.users
        return replace(self, **{"users": users, dimension: value})

    @property
    def steps(self) -> int:
        """The batches of an epoch."""
        return -(-self.users * self.max_len // TrainingConfig("ce").batch_size)

    def sequences(self) -> Sequences:
        """Return random histories: N items to train on, one to validate and one to test with."""
        return generated(self.users, self.users * (self.max_len + 2), self.items)


LABELS = {
    "users": "users",
    "items": "items",
    "max_len": "N (positions)",
    "hidden_size": "d (hidden size)",
    "num_layers": "layers",
}


def work(model: str, size: Size) -> None:
    """Be a worker: read a number of steps a line, train as many, and print the mean milliseconds of one.

    For PEAK, print the peak memory above the imports in MB.
    """
    torch.set_num_threads(1)
    before = peak_mb()
    sequences = size.sequences()
    settings = {name: value for name, value in asdict(size).items() if name not in ("users", "items")}
    config = configure(model, size.items, size.users, **settings)
    trainer = Trainer(config, TrainingConfig(loss="ce"), sequences, UNUSED)
    trainer.model.train()
    batches = endless(trainer)
    with old_objects_aside():  # as Trainer.fit does
        for line in sys.stdin:
            steps = int(line)
            print(peak_mb() - before if steps == PEAK else milliseconds(trainer, batches, steps), flush=True)


def milliseconds(trainer: Trainer, batches: Iterator[Batch], steps: int) -> float:
    """Train some steps and return the mean time of one."""
    started = time.perf_counter()
    for _ in range(steps):
        trainer.step(next(batches)).item()
    return (time.perf_counter() - started) / steps * 1000


def measure(dimension: str, sizes: Sequence[int], models: Sequence[str], rounds: int, steps: int) -> list[dict]:
    """Return one row per model and size: dimension, size, model, step_ms, steps, epoch_seconds, memory_mb.

    steps: how many are timed in each round; the column of that name says how many an epoch has.
    """
    points = [(model, value, Size().with_one(dimension, value)) for model in models for value in sizes]
    workers = [
        Worker(__file__, "--worker", json.dumps({"model": model} | asdict(size)), threads=1)
        for model, _, size in points
    ]
    try:
        for worker in workers:
            asked(worker, WARM_UP)
        rounds_of_all = [[asked(worker, steps) for worker in workers] for _ in range(rounds)]
        step_ms = [median(times) for times in zip(*rounds_of_all, strict=True)]
        memory = [asked(worker, PEAK) for worker in workers]
    finally:
        for worker in workers:
            worker.stop()
    return [
        {
            "dimension": dimension,
            "size": value,
            "model": model,
            "step_ms": step,
            "steps": size.steps,
            "epoch_seconds": step / 1000 * size.steps,
            "memory_mb": peak,
        }
        for (model, value, size), step, peak in zip(points, step_ms, memory, strict=True)
    ]


def asked(worker: Worker, steps: int) -> float:
    """Return what a worker answers; nobody else works meanwhile."""
    worker.start(steps)
    return worker.finish()


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> tuple[float, float]:
    """Return b of the fit of costs by size^b, and its standard error; at least FEWEST sizes.

    >>> exponent([1, 2, 4], [3, 12, 48])
    (2.0, 0.0)
    """
    fit = linregress(np.log(sizes), np.log(costs))
    return float(fit.slope), float(fit.stderr)


def exponents_of(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one row per dimension, model and cost: the exponent and its standard error."""
    found = []
    for (dimension, model), part in rows.groupby(["dimension", "model"], sort=False):
        for cost in COSTS:
            power, error = exponent(part["size"], part[cost])
            found.append({"dimension": dimension, "model": model, "cost": cost, "exponent": power, "error": error})
    return found


def draw(rows: pd.DataFrame) -> Figure:
    """Return the figure: a column for each dimension, a row for each cost, with logarithmic axes."""
    dimensions = list(rows.dimension.unique())
    figure, axes = grid([1.9] * len(COSTS), len(dimensions), width=1.9, share_y=True)
    for row, cost in zip(axes, COSTS, strict=True):
        for ax, dimension in zip(row, dimensions, strict=True):
            panel(ax, rows[rows.dimension == dimension], cost)
        row[0].set_ylabel(COSTS[cost])
        low, high = row[0].get_ylim()
        row[0].set_ylim(low, high * (high / low) ** 0.35)  # room for the exponents
    for ax, dimension in zip(axes[-1], dimensions, strict=True):
        ax.set_xlabel(LABELS[dimension])
    shared_legend(figure)
    return figure


def panel(ax: Axes, rows: pd.DataFrame, cost: str) -> None:
    """Draw what was measured as points, and the fits as lines, with their exponents."""
    said = []
    with style():
        for model, look in styles_of(rows.model.unique()).items():
            sizes, costs = (rows.loc[rows.model == model, name] for name in ("size", cost))
            power, error = exponent(sizes, costs)
            fitted = np.exp(np.log(costs).mean()) * (sizes / np.exp(np.log(sizes).mean())) ** power
            ax.plot(sizes, costs, **(look | {"linestyle": ""}))
            ax.plot(sizes, fitted, color=look["color"], linestyle=look["linestyle"], linewidth=0.8)
            said.append(f"{title_of(model)} {power:.2f} ± {error:.2f}")
        ax.set(xscale="log", yscale="log")
        ax.set_xticks(sizes, [f"{size // 1000}k" if size >= 1000 else str(size) for size in sizes])
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        ax.yaxis.set_major_formatter("{x:,g}")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_minor_locator(NullLocator())
        ax.text(0.04, 0.97, "\n".join(said), transform=ax.transAxes, va="top", fontsize=7)


def numbers(option: str, text: str) -> list[int]:
    """Return the sizes that an option names. Raises ConfigError unless they are at least FEWEST positive numbers."""
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) > 0 for part in parts) or len(set(parts)) < FEWEST:
        raise ConfigError(f"{option}: expected at least {FEWEST} positive numbers, separated by commas, got {text!r}")
    return [int(part) for part in parts]


def write(out: Path, found: Mapping[str, Any], where: Mapping[str, Any]) -> None:
    """Write the picture twice, the table, and all that was found."""
    rows = pd.DataFrame(found["rows"])
    save(draw(rows), out, rows)
    write_atomically(Path(f"{out}.json"), json.dumps({"machine": where, **found}, indent=1).encode() + b"\n")


def main(
    models: Annotated[str, typer.Option(help="which models, separated by commas")] = "sasrec,bsarec",
    dimensions: Annotated[str, typer.Option(help="what varies, separated by commas")] = ",".join(LABELS),
    users: Annotated[str, typer.Option(help="numbers of users")] = "1000,4000,16000,64000",
    items: Annotated[str, typer.Option(help="numbers of items")] = "1000,4000,16000,64000,256000",
    max_len: Annotated[str, typer.Option(help="lengths of windows, N")] = "25,50,100,200,400",
    hidden_size: Annotated[str, typer.Option(help="sizes of hidden states, d")] = "16,32,64,128,256",
    num_layers: Annotated[str, typer.Option("--layers", help="numbers of layers")] = "2,4,8,16",
    rounds: Annotated[int, typer.Option(min=1, help="turns of each model and size")] = 7,
    steps: Annotated[int, typer.Option(min=1, help="training steps per turn")] = 2,
    out: Annotated[Path | None, typer.Option(help="write OUT.png, OUT.pdf, OUT.csv and OUT.json")] = None,
    again: Annotated[Path | None, typer.Option(help="a JSON file of --out: draw it again, measure nothing")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    worker: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Print the cost of training for every size, and the exponents."""
    if worker is not None:
        size = json.loads(worker)
        work(size.pop("model"), Size(**size))
        return
    if again is not None:
        earlier = json.loads(again.read_text())
        write(out or again.with_suffix(""), earlier, earlier.pop("machine"))
        return
    given = {"users": users, "items": items, "max_len": max_len, "hidden_size": hidden_size, "num_layers": num_layers}
    names = models.split(",")
    for name in names:
        model_type(name)  # an unknown one is refused before anything is timed
    sizes = {name: numbers(name, given[name]) for name in chosen(dimensions)}
    measured = [measure(*one, names, rounds, steps) for one in tqdm(sizes.items(), unit="dimension", disable=None)]
    table = pd.DataFrame([row for rows in measured for row in rows])
    found = {"base": asdict(Size()), "rows": table.to_dict("records"), "exponents": exponents_of(table)}
    if out is not None:
        write(out, found, machine(threads=1))
    fits = pd.DataFrame(found["exponents"])
    lines = [part.to_string(index=False, float_format="{:,.3g}".format) for part in (table, fits)]
    report(found, as_json, lines, threads=1)


def chosen(dimensions: str) -> list[str]:
    """Return the dimensions that are named. Raises ConfigError for one that is not known."""
    names = dimensions.split(",")
    if unknown := [name for name in names if name not in LABELS]:
        raise ConfigError(f"dimensions: unknown {unknown[0]!r}; expected some of {', '.join(LABELS)}")
    return names


if __name__ == "__main__":
    run(main)
