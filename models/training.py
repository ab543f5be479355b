"""Training with early stopping. A run that is interrupted and resumed ends in the same bytes as one that was not."""

import csv
import io
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from models import checkpoint
from models.callbacks import Callback, EpochRecord, RunStart
from models.choices import MONITOR
from models.datasets import Sequences
from models.datasets.sampling import Batch, EpochSampler
from models.datasets.sequences import training_counts
from models.errors import CheckpointError, ConfigError, UserError
from models.evaluation import evaluate, rank_targets, summarise
from models.files import Kind, check_replaceable, check_writable, remove_partial, write_atomically
from models.layers.allocator import keep_freed_memory, old_objects_aside
from models.layers.losses import Loss
from models.layers.sampled_softmax import check_name, loss_named
from models.precision import reproducible
from models.recommender import Recommender, RecommenderConfig
from models.registry import build
from models.results.runs import RESULT_FILE, UNKNOWN, name_of, result_of
from models.safe_load.limits import DAMAGE
from models.step_graph import StepGraph

logger = logging.getLogger("models")

STATE_FORMAT = "spectral-recommender-unfinished-run"
STATE_FILE = Kind("an unfinished run", STATE_FORMAT.encode())
LOG_FILE = Kind("a table of epochs", b"epoch,loss,")


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained; the defaults are the published ones. Raises ConfigError for a field out of range.

    >>> TrainingConfig(loss="ce").epochs
    200
    >>> TrainingConfig(loss="ce", epochs=0)
    Traceback (most recent call last):
    models.errors.ConfigError: epochs must be at least 1, got 0
    """

    loss: str  # ce, bce, bpr, or sampled_softmax with its options (models.layers.sampled_softmax)
    epochs: int = 200  # at most
    batch_size: int = 256
    learning_rate: float = 1e-3  # of Adam
    patience: int = 10  # stop after this many epochs without a better validation NDCG@20
    seed: int = 42
    threads: int = 1  # of the processor; sums of other numbers of threads are rounded otherwise

    def __post_init__(self) -> None:
        check_name(self.loss)
        for name in ("epochs", "batch_size", "patience", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"learning_rate must be a positive number, got {self.learning_rate}")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed must lie in 0..2^63 - 1, got {self.seed}")


@dataclass(frozen=True)
class Run:
    """A finished training run: its checkpoint, the test metrics of its best epoch, and one row per epoch."""

    path: Path
    metrics: dict[str, float]  # HR@5, NDCG@5, ... on the test split
    best_epoch: int  # from 0
    history: list[dict[str, float]]  # one row per epoch: epoch, mean training loss, validation metrics

    @classmethod
    def of(cls, path: Path, content: dict[str, Any]) -> "Run":
        """Return the finished run that the content of its checkpoint describes."""
        metrics = content["metrics"]
        return cls(path, metrics["test"], metrics["best_epoch"], metrics["history"])


class TrainingError(UserError):
    """Training cannot continue, because the loss is no longer a finite number."""


@dataclass
class _Progress:
    """What an interrupted run needs to continue, besides the weights and the optimizer's state."""

    epoch: int = 0  # number of finished epochs
    best_value: float = -math.inf
    best_epoch: int = -1
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    processors: list[str] = field(default_factory=list)  # where it was trained, in the order of first use


class Trainer:
    """Trains one model on one dataset and keeps the best checkpoint at `path`.

    While a run is unfinished, the file `path` with .state appended has all that is needed to resume it. It is rewritten
    after every epoch and removed at the end. The file with the ending .log.csv has one row per epoch. At the end, the
    result for tables is written with the ending .json (models.results.runs). A file that is there already is only
    replaced if it is of the same kind. Callbacks are told about every epoch (models.callbacks), and `on_epoch` once it
    is saved; their time does not count as that of the epoch.

    A run has its own number of threads, whatever the environment says, and keeps it when it is resumed.

    Raises ConfigError if the model cannot be trained with the loss, DataError if negatives are needed and a user has
    every item.
    """

    def __init__(
        self,
        config: RecommenderConfig,
        training: TrainingConfig,
        sequences: Sequences,
        path: Path,
        device: str = "cpu",
        callbacks: Sequence[Callback] = (),
        on_epoch: Callable[[EpochRecord], object] | None = None,
    ) -> None:
        keep_freed_memory()
        self.training, self.sequences, self.path = training, sequences, path
        self.device = torch.device(device)
        self.model: Recommender = build(config)
        if training.loss.partition(":")[0] not in self.model.losses:
            raise ConfigError(
                f"{self.model.name} cannot be trained with {training.loss}; choose {' or '.join(self.model.losses)}"
            )
        self.loss: Loss = loss_named(training.loss, lambda: training_counts(sequences, config.num_items))
        self.sampler = EpochSampler(
            sequences,
            config.max_len,
            training.batch_size,
            self.loss.needs_negatives,
            training.seed,
            self.model.needs_same_target,
            config.padding,
            self.loss.draw,
        )
        self.model.initialise(training.seed)
        self.model.to(self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=training.learning_rate, fused=True)
        self._take: Callable[[Batch], Tensor] = self.eager_step
        if self.device.type == "cuda" and self.model.capturable:
            self.optimizer.param_groups[0]["capturable"] = True
            self._take = StepGraph(self.eager_step, self.model.masks, self.device)
        self.progress = _Progress()
        self.callbacks, self.on_epoch = callbacks, on_epoch
        self._best: dict[str, Any] | None = None
        self._shown: dict[str, float] = {}  # what callbacks want to be seen on the progress line

    @property
    def state_path(self) -> Path:
        """The file of the unfinished run."""
        return self.path.with_name(f"{self.path.name}.state")

    @property
    def log_path(self) -> Path:
        """The file of the table of epochs."""
        return self.path.with_suffix(".log.csv")

    @property
    def result_path(self) -> Path:
        """The file of the result."""
        return self.path.with_suffix(".json")

    def fit(self, show_progress: bool = True) -> Run:
        """Train until validation NDCG@20 has not risen for `patience` epochs, at most for `epochs`.

        Raises TrainingError if the loss becomes NaN or infinite; the last good checkpoint is kept. Raises OSError
        before the first step if the folder of `path` is not writable, and OutputError if a file there is not one that
        a run wrote.
        """
        self._check_outputs()
        for callback in self.callbacks:
            callback.on_start(RunStart(self.path, self.model, self.sequences, self.progress.epoch))
        remaining = range(self.progress.epoch, self.training.epochs)
        with (
            old_objects_aside(),
            _threads(self.training.threads),
            reproducible(self.device),
            tqdm(remaining, desc=self.model.name, unit="epoch", disable=None if show_progress else True) as bar,
        ):
            for epoch in bar:
                if self._out_of_patience():
                    break
                row = self._run_epoch(epoch)
                shown = {"loss": row["loss"], MONITOR: row[MONITOR], "best epoch": self.progress.best_epoch}
                bar.set_postfix(shown | self._shown)
                if bar.disable:  # no terminal for a progress bar: one line per epoch
                    numbers = {"loss": row["loss"], MONITOR: row[MONITOR]} | self._shown
                    text = ", ".join(f"{name} {value:.4f}" for name, value in numbers.items())
                    logger.info("%s epoch %d: %s", self.model.name, epoch, text)
            return self._finish()

    def _check_outputs(self) -> None:
        """Check all files that will be written, and remove what a killed run left of them."""
        check_writable(self.path.parent)
        outputs = {
            self.path: checkpoint.FILE,
            self.state_path: STATE_FILE,
            self.log_path: LOG_FILE,
            self.result_path: RESULT_FILE,
        }
        if len(outputs) < 4:
            raise ConfigError(
                f"{self.path}: is also the name of the result of the run; choose a name that ends with .pt"
            )
        for path, kind in outputs.items():
            check_replaceable(path, kind)
            remove_partial(path)

    def finished(self) -> Run | None:
        """Return the run at `path` if it is finished, else None.

        Raises CheckpointError if the finished run at `path` has other settings or data than this one.
        """
        if not self.path.exists() or self.state_path.exists():
            return None
        content = checkpoint.read(self.path)
        if "test" not in content["metrics"]:
            return None
        identity = {
            "model": content["model"],
            "config": self._completed(content["config"]),
            "training": asdict(self.training) | content["training"] | {"threads": None},
            "fingerprint": content["dataset"]["fingerprint"],
        }
        if identity != self._identity() | {"training": asdict(self.training) | {"threads": None}}:
            raise CheckpointError(
                f"{self.path}: is a finished run with other settings or data than these; choose another --out, or "
                "start again without --resume"
            )
        return Run.of(self.path, content)

    def resume(self) -> None:
        """Continue from the unfinished run in the state file, if there is one, with its number of threads.

        Raises CheckpointError if it is no such file, or its model, dataset or settings differ from those of this run.
        """
        if not self.state_path.exists():
            return
        state = checkpoint.read_tensors(self.state_path)
        if not isinstance(state, dict) or state.get("format") != STATE_FORMAT:
            raise CheckpointError(f"{self.state_path}: is not an unfinished run; move it away")
        try:
            self._restore(state)
        except DAMAGE as error:
            if isinstance(error, UserError):
                raise
            raise CheckpointError(f"{self.state_path}: is damaged; remove it to start the run again") from error

    def _restore(self, state: dict[str, Any]) -> None:
        identity = state["identity"]
        if identity | {"config": self._completed(identity["config"])} != self._identity():
            raise CheckpointError(
                f"{self.state_path}: is an unfinished run with other settings than these; give the settings it was "
                "started with, or start again without --resume"
            )
        self.training = replace(self.training, threads=state["threads"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        # As this device needs it, which may be another than the one where the state was saved.
        self.optimizer.param_groups[0]["capturable"] = isinstance(self._take, StepGraph)
        self.progress = _Progress(**{"processors": [UNKNOWN]} | state["progress"])  # older files do not name them
        self._best = state["best"]

    def step(self, batch: Batch) -> Tensor:
        """Take one step of the optimizer on a batch, and return the mean loss before the step, a scalar.

        The loss is not read here, so that a GPU need not be waited for; and a GPU replays a captured step, if the model
        is capturable (models.step_graph).
        """
        return self._take(batch)

    def eager_step(self, batch: Batch) -> Tensor:
        """Take the same step one operation after the other."""
        self.optimizer.zero_grad()
        loss = self.batch_loss(batch)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def batch_loss(self, batch: Batch) -> Tensor:
        """Return the mean loss over a batch, a scalar that can be differentiated."""
        return self.model.objective(batch, self.loss)

    def _run_epoch(self, epoch: int) -> dict[str, float]:
        """Train one epoch, validate, save the state, and return the epoch's row of the history."""
        started = time.perf_counter()
        row = {
            "epoch": epoch,
            "loss": self._train_epoch(epoch),
            **evaluate(self.model, self.sequences, "valid"),
        }
        progress = self.progress
        progress.history.append(row)
        progress.seconds.append(time.perf_counter() - started)
        if (processor := name_of(self.device)) not in progress.processors:
            progress.processors.append(processor)
        progress.epoch = epoch + 1
        if row[MONITOR] > progress.best_value:
            progress.best_value, progress.best_epoch = row[MONITOR], epoch
            self._best = self._pack()
            checkpoint.save(self._best, self.path)
        record = EpochRecord(self.model, epoch, row, progress.seconds[-1], progress.best_epoch)
        for callback in self.callbacks:
            self._shown |= callback.on_epoch(record)
        self._save_state()
        self._write_log()
        if self.on_epoch:  # the epoch is saved, so an error in it loses nothing
            self.on_epoch(record)
        return row

    def _train_epoch(self, epoch: int) -> float:
        self.model.train()
        self.model.masks.seed(self.training.seed, epoch, 1)  # not the same stream as the sampler's
        losses, sizes = [], []
        for batch in self.sampler.epoch(epoch, self.device):
            losses.append(self.step(batch))
            sizes.append(len(batch.targets))
        total = 0.0
        for number, (loss, size) in enumerate(zip(torch.stack(losses).tolist(), sizes, strict=True)):
            if not math.isfinite(loss):
                kept = (
                    f"{self.path} holds epoch {self.progress.best_epoch}" if self._best else "no checkpoint was saved"
                )
                raise TrainingError(
                    f"the loss is {loss} at epoch {epoch}, step {number}; stopped, {kept}. Try a smaller learning rate "
                    f"than {self.training.learning_rate}"
                )
            total += loss * size
        return total / len(self.sampler.samples)

    def _out_of_patience(self) -> bool:
        return self.progress.epoch - 1 - self.progress.best_epoch >= self.training.patience

    def _finish(self) -> Run:
        """Evaluate the best epoch on the test split, and complete the checkpoint."""
        assert self._best is not None
        self.model.load_state_dict(self._best["state_dict"])
        ranks = rank_targets(self.model, self.sequences, "test")
        metrics = self._metrics() | {"test": summarise(ranks)}
        content = self._best | {
            "metrics": metrics,
            "training": asdict(self.training),
        }  # `epochs` may have been raised on resuming
        self.model.checkpoint = content
        result = result_of(self.model, self.sequences, ranks, self.path, trained_on=self.progress.processors)
        result.save(self.result_path)
        checkpoint.save(content, self.path)
        check_replaceable(self.state_path, STATE_FILE)
        self.state_path.unlink(missing_ok=True)
        return Run.of(self.path, content)

    def _pack(self) -> dict[str, Any]:
        return checkpoint.pack(
            self.model,
            dataset=checkpoint.describe_dataset(self.sequences),
            training=asdict(self.training),
            metrics=self._metrics(),
            seed=self.training.seed,
            probe=checkpoint.draw_probe(self.sequences, self.model.config.max_len, self.model.config.padding),
        )

    def _metrics(self) -> dict[str, Any]:
        """Return the validation metrics of the best epoch, and one row per epoch.

        There are no times in it, so that equal runs have equal bytes.
        """
        best = self.progress.history[self.progress.best_epoch]
        return {
            "best_epoch": self.progress.best_epoch,
            "valid": dict(best),
            "history": list(self.progress.history),
        }

    def _identity(self) -> dict[str, Any]:
        return {
            "model": self.model.name,
            "config": asdict(self.model.config),
            "training": asdict(self.training) | {"epochs": None, "threads": None},  # see `resume`
            "fingerprint": self.sequences.fingerprint,
        }

    def _completed(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return a saved configuration, with defaults for fields that did not exist when it was saved."""
        return {known.name: known.default for known in fields(self.model.config)} | config

    def _save_state(self) -> None:
        state = {
            "format": STATE_FORMAT,
            "threads": self.training.threads,
            "identity": self._identity(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
            "best": self._best,
        }
        checkpoint.save(state, self.state_path, STATE_FILE)

    def _write_log(self) -> None:
        table = io.StringIO()
        rows = [
            row | {"seconds": round(seconds, 2)}
            for row, seconds in zip(self.progress.history, self.progress.seconds, strict=True)
        ]
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.log_path, table.getvalue().encode(), LOG_FILE)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute with this many threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
