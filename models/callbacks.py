"""What can follow a training run: callbacks, which are told about every epoch.

models knows no measure of a trained model. A package that has some (spectral) registers a callback as an entry point of
the group `models.callbacks`, in its installation; `models.train --watch` asks for the one called `watch`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from models.datasets import Sequences
from models.errors import ConfigError
from models.installation import check_spectral
from models.recommender import Recommender

GROUP = "models.callbacks"


@dataclass(frozen=True)
class RunStart:
    """A run before its first epoch in this process.

    Attributes:
        path: The checkpoint; files of a callback lie beside it.
        model: The model, with its initial or resumed weights.
        sequences: The data.
        epoch: The first epoch to come, from 0; more than 0 if the run is resumed.
    """

    path: Path
    model: Recommender
    sequences: Sequences
    epoch: int


@dataclass(frozen=True)
class EpochRecord:
    """A run after an epoch.

    Attributes:
        model: The model; its gradients are those of the last step.
        epoch: From 0.
        metrics: Mean training loss, and the metrics on the validation split.
        seconds: How long the epoch took, training and validation.
        best_epoch: The epoch with the best validation NDCG@20 so far, whose checkpoint is kept.
    """

    model: Recommender
    epoch: int
    metrics: Mapping[str, float]
    seconds: float
    best_epoch: int


class Callback(Protocol):
    """Follows a run. It must leave weights, gradients and random streams as they are.

    An epoch can be told twice: a run that was killed repeats the epoch that it had not saved. `on_epoch` is called
    before the epoch is saved, so no saved epoch is ever missed.
    """

    def on_start(self, start: RunStart) -> None:
        """Prepare for the epochs from `start.epoch` on."""

    def on_epoch(self, record: EpochRecord) -> Mapping[str, float]:
        """Follow an epoch; return numbers for the progress line, by name."""


def installed(name: str, **options: Any) -> Callback:
    """Return the callback that a package registered under this name; options: see there.

    Raises ConfigError if there is none, or if another package has the name of the one that has it.

    >>> installed("applause")
    Traceback (most recent call last):
    models.errors.ConfigError: no installed package has the callback 'applause'; install this project with: \
pip install -e .
    """
    for found in entry_points(group=GROUP, name=name):
        if found.module.partition(".")[0] == "spectral":
            check_spectral()
        callback: Callback = found.load()(**options)
        return callback
    raise ConfigError(f"no installed package has the callback {name!r}; install this project with: pip install -e .")
