"""What is left of a profile's run list, and how long it may take, estimated from the times of finished runs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from models.datasets import load
from models.errors import DataError
from models.registry import model_type
from models.results.profile import Profile
from models.results.runs import Result, read


@dataclass(frozen=True)
class Block:
    """A block of the run list.

    Attributes:
        number: Its place in the list, from 1.
        total: Number of runs.
        left: Number of runs whose result or summary is missing.
        hours: Estimated time of these runs, one after the other, without the `unknown` ones; see `timed_on`.
        unknown: Number of these runs without an estimate; see `estimate`.
    """

    number: int
    total: int
    left: int
    hours: float
    unknown: int


def unfinished_blocks(profile: Profile) -> Iterator[int]:
    """Yield the numbers of the blocks of the run list in which a run lacks its result or its summary."""
    for number in range(1, len(profile.run_list) + 1):
        if not all(_is_there(profile, run) for run in replace(profile, block=number).listed()):
            yield number


def remaining(profile: Profile, processor: str | None) -> Iterator[Block]:
    """Yield what is left of each block of the profile's run list, timed by `processor`; see `estimate`."""
    finished = _finished(profile)
    for number in range(1, len(profile.run_list) + 1):
        runs = replace(profile, block=number).listed()
        left = [run for run in runs if not _is_there(profile, run)]
        seconds = [estimate(profile, dataset, system, finished, processor) for dataset, system, _ in left]
        known = [value for value in seconds if value is not None]
        yield Block(number, len(runs), len(left), sum(known) / 3600, len(seconds) - len(known))


def timed_on(profile: Profile, processor: str | None) -> list[str]:
    """Return the names of the processors whose finished runs `remaining` takes times from: `processor`, or all."""
    names = {_processor(run) or "older results that do not name it" for run in _finished(profile)}
    return [processor] if processor in names else sorted(names)


def estimate(
    profile: Profile, dataset: str, system: str, finished: Sequence[Result], processor: str | None
) -> float | None:
    """Return the seconds that a run may take, or None if there is nothing to tell it from, or the data is missing.

    The number of epochs is that of the finished runs of the same model that agree most with the run in dataset, loss
    and depth. The time of an epoch is that of such runs which `processor` made, if it has made any run at all, and of
    any processor's otherwise. It is scaled by the numbers of samples and of layers.
    """
    settings = profile.settings_for(system, dataset)
    wanted = {
        "dataset": profile.datasets[dataset],
        "loss": settings.get("loss", model_type(settings["model"]).published_loss),
        "layers": settings.get("num_layers", 2),
    }
    timed = [run for run in finished if processor and _processor(run) == processor] or finished
    per_epoch = [_scaled(run, wanted, profile.data_dir) for run in _most_alike(timed, settings["model"], wanted)]
    epochs = [run.epochs for run in _most_alike(finished, settings["model"], wanted)]
    known = [seconds for seconds in per_epoch if seconds is not None]
    return float(np.mean(known) * np.mean(epochs)) if known else None


def _most_alike(finished: Iterable[Result], model: str, wanted: Mapping[str, Any]) -> list[Result]:
    """Return the runs of a model that agree with what is wanted in most respects."""
    runs = [run for run in finished if run.model == model and run.seconds_per_epoch]
    alike = [sum(_of(run)[key] == value for key, value in wanted.items()) for run in runs]
    return [run for run, count in zip(runs, alike, strict=True) if count == max(alike)]


def _scaled(run: Result, wanted: Mapping[str, Any], data_dir: str | None) -> float | None:
    """Return the seconds of an epoch of what is wanted, from those of a run; None if a dataset's file is missing."""
    theirs = _samples(_of(run)["dataset"], data_dir)
    ours = _samples(wanted["dataset"], data_dir)
    if not theirs or not ours:
        return None
    return (run.seconds_per_epoch or 0) * (wanted["layers"] / _of(run)["layers"]) * (ours / theirs)


def _processor(run: Result) -> str | None:
    return run.origin.processor if run.origin else None


def _of(run: Result) -> dict[str, Any]:
    return {
        "dataset": run.dataset["name"],
        "loss": run.training["loss"],
        "layers": run.config.get("num_layers", 2),
    }


@cache
def _samples(dataset: str, data_dir: str | None) -> int:
    """Return the number of training samples of a dataset; 0 if its file is missing."""
    try:
        return int(load(dataset, data_dir).num_prefixes(50).sum())
    except DataError:
        return 0


def _finished(profile: Profile) -> list[Result]:
    folders = [profile.results_folder(dataset) for dataset in profile.datasets]
    return [read(path) for folder in folders for path in sorted(Path(folder).glob("*.json"))]


def _is_there(profile: Profile, run: tuple[str, str, int]) -> bool:
    dataset, system, seed = run
    return all(Path(path).exists() for path in profile.files_of(dataset, system, seed))
