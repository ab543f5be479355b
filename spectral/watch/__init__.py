"""The spectra of a model while it is trained: after each epoch, the cheap measures on the same few users.

When does smoothing begin, and does it follow the validation metric? `Watch` measures a model on a fixed probe set and
appends one row per epoch, layer and measure to a CSV file. It is a callback of `models.train` (`--watch`), and can be
called in anybody's training loop:

    watch = Watch(windows=windows, path="run.watch.csv")
    for epoch in range(20):
        train_one_epoch(model)
        watch(model, epoch, {"NDCG@20": validate(model)})

Measures, by group; layer 0 is the embedding output, and rows without a layer are about the whole model:

    attention    gain_dc, gain_nyquist: gain of attention at frequency 0 and at the highest one, in dB, the mean power
                 over heads and users (spectral.filter_response)
    hidden       hfc_share: share of the energy of the hidden states above the DEFAULT_C lowest modes, 0 to 1
    outputs      effective_rank, k95: of the matrix of the users' representations at the last position
                 (spectral.singular_values)
    similarity   between_users: mean cosine of two users' representations at the last position; within_sequence: that of
                 two positions of a user (spectral.cosine_similarity)
    beta         beta_10, beta_50, beta_90: quantiles over dimensions of the gain that BSARec's frequency branch gives
                 to the high frequencies
    norms        weight_norm, gradient_norm: Frobenius norms of the weights and of the gradients of the last step

`attention` and `hidden` are over the probe's users with full windows; if fewer than 100 have one, over those with the
most common number of items, as in spectral.summary. `outputs` and `similarity` are over all users of the probe. Half
precision is widened: a model in it is measured on a copy in float32, and norms are float64.
"""

import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from models.callbacks import EpochRecord, RunStart
from models.checkpoint import draw_probe
from models.errors import ConfigError
from models.files import Kind, check_replaceable, write_atomically
from models.training import MONITOR
from spectral.arrays import as_float64
from spectral.capture import Capture, capture, real_items
from spectral.cosine_similarity import directions, sequence_similarities
from spectral.filter_response import power_of_each
from spectral.fourier import split
from spectral.response import DEFAULT_C
from spectral.singular_values import gram
from spectral.summary import measured_length

logger = logging.getLogger("spectral")

USERS = 256  # of the probe set
ENDING = ".watch.csv"
HEADER = "epoch,layer,measure,value"
FILE = Kind("a file of spectral.watch", HEADER.encode())
SHOWN = "between_users"  # of the last layer, on the progress line
_BLOCK = re.compile(r"(?:^|\.)(?:blocks|layers?)\.(\d+)\.")  # in the names of weights


class Row(NamedTuple):
    """One number; layer is None if it is about the whole model."""

    epoch: int
    layer: int | None
    measure: str
    value: float


Values = Iterator[tuple[int | None, str, float]]  # layer, measure, value


@dataclass(frozen=True, eq=False)
class Seen:
    """What one epoch's measures are computed from: the model, and what it computed on the probe set.

    all_users: hidden states of all users of the probe. along: attention and hidden states of those of one length, at
    their n real positions.
    """

    model: Any
    all_users: Capture
    along: Capture


class Watch:
    """Measures a model after each epoch, on the same users, into a CSV file.

    Args:
        measures: Groups of measures, see the module; None for all that the model has.
        every: Measure each so many epochs, from epoch 0.
        windows: (P, N) int, the probe set, padded with 0 on the left. As a callback of `models.train` it may be left
            out: the test windows of 256 users are taken, the same ones for every run on a dataset.
        path: The CSV file; as a callback by default the checkpoint's name with the ending .watch.csv. None writes none.
        tensorboard: Whether to write the numbers for TensorBoard too, into a folder beside the file.

    A file of earlier epochs is continued: rows from the current epoch on are replaced. So the file of a run that was
    killed and resumed is the same, byte for byte, as that of one that was not.

    Raises ConfigError for an unknown group, an `every` below 1, or if TensorBoard is asked for and not installed;
    before the first epoch OutputError if there is another file at `path`, and ConfigError for a damaged line in it.

    Example:
        >>> import torch
        >>> from models.registry import build, configure
        >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8))
        >>> model.initialise(seed=0)
        >>> watch = Watch(["similarity"], windows=torch.tensor([[0, 0, 3, 1], [5, 6, 7, 8], [1, 2, 3, 4]]))
        >>> rows = watch(model, 0, {"NDCG@20": 0.05})
        >>> [(row.layer, row.measure) for row in rows][:3]
        [(None, 'NDCG@20'), (0, 'between_users'), (0, 'within_sequence')]
    """

    def __init__(
        self,
        measures: Collection[str] | None = None,
        every: int = 1,
        *,
        windows: Tensor | None = None,
        path: str | Path | None = None,
        tensorboard: bool = False,
    ) -> None:
        unknown = [name for name in measures or () if name not in MEASURES]
        if unknown or isinstance(measures, str):
            raise ConfigError(f"measures must be some of {', '.join(MEASURES)}, got {unknown or measures}")
        if every < 1:
            raise ConfigError(f"every must be at least 1, got {every}")
        self.measures, self.every = tuple(MEASURES if measures is None else measures), every
        self.windows, self.path = windows, None if path is None else Path(path)
        self._writer_of = _tensorboard() if tensorboard else None
        self._writer: Any = None
        self._lines: list[str] | None = None  # of the file, without the header

    def on_start(self, start: RunStart) -> None:
        """See models.callbacks.Callback; takes the probe set and the file of the run, if none were given."""
        if self.windows is None:
            config = start.model.config
            probe = draw_probe(start.sequences, config.max_len, config.padding)
            self.windows = probe.input_ids[probe.uniform][:USERS]
        self.path = self.path or start.path.with_suffix(ENDING)
        self._continue(start.epoch)

    def on_epoch(self, record: EpochRecord) -> dict[str, float]:
        """See models.callbacks.Callback; the similarity between users after the last layer is shown."""
        metrics = {name: value for name, value in record.metrics.items() if name in ("loss", MONITOR)}
        rows = self(record.model, record.epoch, metrics)
        shown = [row.value for row in rows if row.measure == SHOWN]
        return {SHOWN: shown[-1]} if shown else {}

    def __call__(self, model: Any, epoch: int, metrics: Mapping[str, float] | None = None) -> list[Row]:
        """Measure the model and write the rows; return them, none for an epoch that `every` leaves out.

        model: as `spectral.capture` takes it. metrics: further numbers of the epoch, such as the validation metric.
        """
        if epoch % self.every:
            return []
        if self.windows is None:
            raise ConfigError("Watch needs the windows of its probe set: Watch(windows=...)")
        if self._lines is None:
            self._continue(epoch)
        rows = [Row(epoch, None, name, float(value)) for name, value in (metrics or {}).items()]
        seen = _seen(model, self.windows)
        rows += [Row(epoch, *found) for group in self.measures for found in MEASURES[group](seen)]
        self._write(rows)
        return rows

    def _continue(self, epoch: int) -> None:
        """Keep what the file has of the epochs before this one."""
        if self._writer_of is not None and self.path is not None:
            self._writer = self._writer_of(str(self.path.with_suffix("")) + ".tensorboard", purge_step=epoch)
        self._lines = [] if self.path is None else _kept(self.path, epoch)

    def _write(self, rows: list[Row]) -> None:
        assert self._lines is not None
        self._lines += [
            f"{row.epoch},{'' if row.layer is None else row.layer},{row.measure},{row.value:.6g}" for row in rows
        ]
        if self.path is not None:
            write_atomically(self.path, ("\n".join([HEADER, *self._lines]) + "\n").encode(), FILE)
        if self._writer is not None:
            for row in rows:
                name = row.measure if row.layer is None else f"{row.measure}/layer {row.layer}"
                self._writer.add_scalar(name, row.value, row.epoch)
            self._writer.flush()


def callback(tensorboard: bool = False) -> Watch:
    """Return the callback behind `models.train --watch`, which measures everything after every epoch.

    Example:
        >>> callback().every
        1
    """
    return Watch(tensorboard=tensorboard)


def _kept(path: Path, epoch: int) -> list[str]:
    """Return the lines that a file has of the epochs before this one; warns if it has none and there were some."""
    check_replaceable(path, FILE)
    lines = path.read_text().splitlines()[1:] if epoch and path.is_file() else []
    kept = []
    for number, line in enumerate(lines, start=2):
        found = line.partition(",")[0]
        if not found.isdecimal():
            raise ConfigError(f"{path}, line {number}: expected {HEADER}, got {line[:60]!r}; choose another path")
        if int(found) < epoch:
            kept.append(line)
    if epoch and not kept:
        logger.warning("%s: has nothing of the epochs before %d, which were not watched", path, epoch)
    return kept


def _tensorboard() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError("--tensorboard needs tensorboard; install it with: pip install -e '.[tensorboard]'") from None
    return SummaryWriter


def _seen(model: Any, windows: Tensor) -> Seen:
    n = measured_length(windows)
    [captured] = capture(model, [windows])
    rows = (real_items(windows) == n).to(captured.mask.device)
    along = Capture(
        tuple(None if x is None else x[rows] for x in captured.hidden),
        tuple(None if a is None else a[rows] for a in captured.attention),
        captured.mask[rows],
    ).last(n)
    return Seen(model, captured, along)


def _attention(seen: Seen) -> Values:
    for layer, attention in seen.along.attention_layers.items():
        power = power_of_each(attention)[0].mean((0, 1)).numpy()  # (F,)
        yield layer, "gain_dc", 10 * float(np.log10(power[0]))
        yield layer, "gain_nyquist", 10 * float(np.log10(power[-1]))


def _hidden(seen: Seen) -> Values:
    n = seen.along.mask.shape[1]
    c = min(DEFAULT_C, n if n % 2 else n - 1)
    for layer, hidden in seen.along.hidden_layers.items():
        x = as_float64(hidden)
        _, high = split(x, c, dim=1)
        yield layer, "hfc_share", float(high.square().sum() / x.square().sum())


def _outputs(seen: Seen) -> Values:
    for layer, hidden in seen.all_users.hidden_layers.items():
        spectrum = gram(hidden[:, -1]).singular_values()
        yield layer, "effective_rank", spectrum.effective_rank
        yield layer, "k95", float(spectrum.k95)


def _similarity(seen: Seen) -> Values:
    for layer, hidden in seen.all_users.hidden_layers.items():
        yield layer, "between_users", directions(hidden[:, -1]).similarity()
        yield layer, "within_sequence", sequence_similarities(hidden, seen.all_users.mask).mean


def _beta(seen: Seen) -> Values:
    betas = seen.model.betas() if hasattr(seen.model, "betas") else []
    for layer, beta in enumerate(betas, start=1):
        for percent in (10, 50, 90):
            yield layer, f"beta_{percent}", float(np.percentile(as_float64(beta.detach()).numpy(), percent))


def _norms(seen: Seen) -> Values:
    squares: dict[tuple[int | None, str], float] = {}
    for name, weight in seen.model.named_parameters():
        block = _BLOCK.search(name)
        layer = None if block is None else int(block[1]) + 1
        for measure, values in (("weight_norm", weight.detach()), ("gradient_norm", weight.grad)):
            if values is None:  # no step was taken yet
                continue
            square = float(as_float64(values).square().sum())
            for place in {None, layer}:
                squares[place, measure] = squares.get((place, measure), 0.0) + square
    for (layer, measure), square in sorted(squares.items(), key=lambda item: (item[0][0] or 0, item[0][1])):
        yield layer, measure, square**0.5


MEASURES: dict[str, Callable[[Seen], Values]] = {
    "attention": _attention,
    "hidden": _hidden,
    "outputs": _outputs,
    "similarity": _similarity,
    "beta": _beta,
    "norms": _norms,
}
