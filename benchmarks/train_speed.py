"""Time training against the plainly written published loop, side by side in one run.

    python benchmarks/train_speed.py                            a table
    python benchmarks/train_speed.py --models bsarec,sasrec     of some models only
    python benchmarks/train_speed.py --json                     {"machine": {...}, "bsarec": {...}, ...,
                                                                "side_by_side": {...}}

Both sides train on the same samples with batches of 256, dropout 0.5, float32, 2 layers and the published loss of
each model. Each side lives in a process of its own, so that neither inherits the other's memory; the processes take
turns, a few steps each, and medians over the turns are compared. Where BSARec is among the models, two runs of it side
by side are compared with the published loop as well.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parent.parent
BATCH_SIZE = 256
SETTLE = 0.5  # seconds between turns: threads that were just used go on spinning for a while


class Worker:
    """A process of a script of this folder that trains, and says how long its steps took."""

    def __init__(self, script: str, *arguments: str, threads: int) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [sys.executable, script, *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def start(self, steps: int) -> None:
        """Let it train; `finish` collects the time."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()

    def finish(self) -> float:
        """Wait for the steps that were started and return their mean time in milliseconds."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker stopped with exit code {self.process.wait()}")
        return float(line)

    def time(self, steps: int) -> float:
        """Train alone and return the mean time of a step in milliseconds."""
        time.sleep(SETTLE)
        self.start(steps)
        return self.finish()

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def worker_of(side: str, model: str, dataset: str, data_dir: Path | None, threads: int) -> Worker:
    """Return a process that trains one side."""
    where = [] if data_dir is None else ["--data-dir", str(data_dir)]
    return Worker(__file__, "--worker", f"{side}:{model}", "--dataset", dataset, *where, threads=threads)


def work(side: str, model: str, dataset: str, data_dir: Path | None) -> None:
    """Be a worker: read a number of steps a line, train as many, and print the mean milliseconds of one."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    from models.layers.allocator import old_objects_aside

    step = (our_step if side == "ours" else reference_step)(model, dataset, data_dir)
    with old_objects_aside() if side == "ours" else nullcontext():  # as Trainer.fit does
        for line in sys.stdin:
            steps = int(line)
            started = time.perf_counter()
            for _ in range(steps):
                step()
            print((time.perf_counter() - started) / steps * 1000, flush=True)


def our_step(model: str, dataset: str, data_dir: Path | None) -> Callable[[], float]:
    """Return a function that makes one step of the toolkit's training."""
    import torch

    from models.datasets import load
    from models.registry import configure, model_type
    from models.training import Trainer, TrainingConfig

    sequences = load(dataset, data_dir)
    training = TrainingConfig(loss=model_type(model).published_loss, batch_size=BATCH_SIZE)
    config = configure(model, sequences.num_items, sequences.num_users)
    trainer = Trainer(config, training, sequences, Path("unused.pt"))
    trainer.model.train()
    batches = (batch for epoch in range(10**6) for batch in trainer.sampler.epoch(epoch, torch.device("cpu")))
    return lambda: trainer.step(next(batches)).item()


def reference_step(model: str, dataset: str, data_dir: Path | None) -> Callable[[], float]:
    """Return a function that makes one step of the published loop."""
    import numpy as np

    from benchmarks.published import PrefixDataset, PublishedLoop, published_model
    from models.datasets import load

    sequences = load(dataset, data_dir)
    samples = sequences.prefixes(50)
    items, offsets = sequences.history("valid")
    prefixes = PrefixDataset(
        samples.inputs.tolist(),
        samples.targets.tolist(),
        samples.users.tolist(),
        [set(part.tolist()) for part in np.split(items, offsets[1:-1])],
        sequences.num_items,
        same_target=model in ("duorec", "fearec"),
    )
    network = published_model(model, sequences.num_items, sequences.num_users)
    return PublishedLoop(network, prefixes, BATCH_SIZE).step


def compare(model: str, dataset: str, data_dir: Path | None, rounds: int, steps: int) -> dict[str, float]:
    """Time both sides in turns on one thread each."""
    sides = {side: worker_of(side, model, dataset, data_dir, threads=1) for side in ("reference", "ours")}
    try:
        for worker in sides.values():
            worker.time(2 * steps)  # warm up
        times: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, worker in sides.items():
                times[side].append(worker.time(steps))
    finally:
        for worker in sides.values():
            worker.stop()
    reference, ours = statistics.median(times["reference"]), statistics.median(times["ours"])
    return {"reference_ms": reference, "ours_ms": ours, "ratio": reference / ours}


def compare_side_by_side(dataset: str, data_dir: Path | None, rounds: int, steps: int) -> dict[str, float]:
    """Time two BSARec runs at once, one thread each, against one published loop that has two threads."""
    pair = [worker_of("ours", "bsarec", dataset, data_dir, threads=1) for _ in range(2)]
    alone = worker_of("reference", "bsarec", dataset, data_dir, threads=2)
    try:
        alone.time(2 * steps)
        for worker in pair:
            worker.start(2 * steps)  # warm up, at once
        for worker in pair:
            worker.finish()
        reference, ours = [], []
        for _ in range(rounds):
            reference.append(alone.time(steps))
            time.sleep(SETTLE)
            for worker in pair:
                worker.start(steps)
            ours.append([worker.finish() for worker in pair])
    finally:
        for worker in [*pair, alone]:
            worker.stop()
    # Steps per second of the pair: the sum of both, each in the time of its own steps.
    together = statistics.median(sum(1 / time for time in times) for times in ours)
    return {
        "reference_ms": statistics.median(reference),
        "ours_ms": statistics.median(time for times in ours for time in times),
        "ratio": statistics.median(reference) * together,
    }


def main(
    models: Annotated[str | None, typer.Option(help="which models, separated by commas [all]")] = None,
    dataset: Annotated[str, typer.Option(help="name of a dataset or a file of sequences")] = "lastfm",
    data_dir: Annotated[Path | None, typer.Option(help="folder that may hold the datasets' files")] = None,
    rounds: Annotated[int, typer.Option(help="turns of each side")] = 8,
    steps: Annotated[int, typer.Option(help="training steps per turn")] = 8,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    worker: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Print milliseconds per training step of both sides and their ratio."""
    if worker is not None:
        side, model = worker.split(":")
        work(side, model, dataset, data_dir)
        return
    from benchmarks.machine import report
    from benchmarks.published import LOSSES
    from models.datasets import load
    from models.registry import MODELS, model_type

    both = {name: MODELS[name] for name in LOSSES}  # models of which there is a published loop
    names = models.split(",") if models else list(both)
    titles = {name: model_type(name, both).title for name in names}  # others are refused before anything is timed
    load(dataset, data_dir)  # so is data that is not there; the processes that train would end without a word
    result = {name: compare(name, dataset, data_dir, rounds, steps) for name in names}
    if "bsarec" in names:
        result["side_by_side"] = compare_side_by_side(dataset, data_dir, rounds, steps)
    lines = [
        f"{dataset}, batch {BATCH_SIZE}, milliseconds per step, medians of {rounds} turns of {steps} steps",
        f"{'':34}{'published':>10}{'ours':>8}{'throughput':>12}",
    ]
    for name, row in result.items():
        label = f"{titles[name]}, 1 thread each" if name in titles else "BSARec, 2 x 1 thread / 1 x 2"
        lines.append(f"{label:34}{row['reference_ms']:10.0f}{row['ours_ms']:8.0f}{row['ratio']:11.2f}x")
    report(result, json, lines, threads=1)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from models.command_line import run

    run(main)
