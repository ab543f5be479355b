"""What a finished run leaves for tables: its settings, its metrics, and the rank of every test user, as JSON.

A table can be made again from these files alone, without checkpoints and data, and every number in it traced to one.
"""

import csv
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from torch import Tensor

from models.errors import CheckpointError
from models.evaluation import summarise
from models.files import write_atomically
from models.recommender import Recommender
from models.registry import MODELS

FORMAT = "spectral-recommender-result"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        model: Name of the model.
        config: Every field of its configuration.
        training: Every field of the training's configuration, the seed among them.
        dataset: Name, fingerprint and counts of the data.
        versions: Of what computed it.
        parameters: Number of trained numbers in the model.
        best_epoch, epochs: The epoch that the metrics are of, from 0, and how many there were.
        seconds_per_epoch: Median over the epochs, on the machine of the run; None if it is not known.
        valid, test: Metrics by name, published protocol.
        test_ranks: The place of each test user's target, from 1, in the order of the dataset.
        source: The file that it was read from, "" if it was not.
    """

    model: str
    config: dict[str, Any]
    training: dict[str, Any]
    dataset: dict[str, Any]
    versions: dict[str, str]
    parameters: int
    best_epoch: int
    epochs: int
    seconds_per_epoch: float | None
    valid: dict[str, float]
    test: dict[str, float]
    test_ranks: list[int]
    source: str = ""

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.training["seed"])

    def save(self, path: str | Path) -> None:
        """Write the result as JSON, in full or not at all."""
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        del content["source"]
        ranks = json.dumps(content.pop("test_ranks"), separators=(",", ":"))  # on one line, the rest for people
        text = json.dumps(content, indent=1)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(path), f'{text[:-2]},\n "test_ranks": {ranks}\n}}\n'.encode())


def result_of(model: Recommender, test_ranks: Tensor, path: str | Path) -> Result:
    """Return the result of a run from its loaded checkpoint at `path` and its ranks on the test split."""
    content = model.checkpoint
    assert content is not None
    metrics = content["metrics"]
    return Result(
        model=model.name,
        config=content["config"],
        training=content["training"],
        dataset={key: value for key, value in content["dataset"].items() if key != "source"},
        versions=content["versions"],
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        best_epoch=metrics["best_epoch"],
        epochs=len(metrics["history"]),
        seconds_per_epoch=_seconds_per_epoch(Path(path).with_suffix(".log.csv")),
        valid={name: value for name, value in metrics["valid"].items() if name not in ("epoch", "loss")},
        test=summarise(test_ranks),
        test_ranks=test_ranks.tolist(),
    )


def _seconds_per_epoch(log: Path) -> float | None:
    if not log.exists():
        return None
    with log.open(newline="") as file:
        return round(median(float(row["seconds"]) for row in csv.DictReader(file)), 2)


def read(path: str | Path) -> Result:
    """Return the result in a JSON file.

    Raises CheckpointError, with the reason, if it does not hold one; OSError if it cannot be read.
    """
    try:
        content = json.loads(Path(path).read_text())
    except ValueError as error:
        raise CheckpointError(f"{path}: is not JSON ({error})") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise CheckpointError(
            f"{path}: is not the result of a run; make one with: python -m models.evaluate CHECKPOINT --result {path}"
        )
    found = content.pop("format_version", None)
    if found != FORMAT_VERSION:
        raise CheckpointError(f"{path}: has result format version {found}, this toolkit reads {FORMAT_VERSION}")
    expected = {field.name for field in fields(Result)} - {"source"}
    if content.keys() != expected:
        wrong = ", ".join(sorted(content.keys() ^ expected))
        raise CheckpointError(f"{path}: lacks these fields, or should not have them: {wrong}")
    if content["model"] not in MODELS:
        raise CheckpointError(f"{path}: is of model {content['model']!r}; known are {', '.join(MODELS)}")
    ranks = np.array(content["test_ranks"])
    if ranks.shape != (content["dataset"]["num_users"],) or ranks.min() < 1:
        raise CheckpointError(f"{path}: needs one rank from 1 for each of {content['dataset']['num_users']} users")
    return Result(**content, source=str(path))


def collect(paths: Iterable[str | Path]) -> list[Result]:
    """Return the results in JSON files, beside checkpoints, and anywhere in folders, in the order of their names.

    Raises CheckpointError for a checkpoint without a result beside it, or if there is nothing at all.
    """
    found: dict[Path, Result] = {}
    for path in map(Path, paths):
        if path.is_dir():
            files = [file for file in sorted(path.rglob("*.json")) if _is_result(file)]
        else:
            files = [path.with_suffix(".json") if path.suffix == ".pt" else path]
        for file in files:
            if not file.exists():
                raise CheckpointError(
                    f"{file} is missing; make it with: python -m models.evaluate {file.with_suffix('.pt')} "
                    f"--result {file}"
                )
            found[file] = read(file)
    if not found:
        raise CheckpointError(f"no result of a run in {', '.join(map(str, paths)) or 'nothing'}")
    return list(found.values())


def of_systems(folder: str | Path, systems: Iterable[str], seeds: Iterable[int] | None, profile: str) -> list[Result]:
    """Return the results <folder>/<system>-seed<seed>.json that the workflow made, all there are where seeds is None.

    Raises CheckpointError saying how to make those that are missing.
    """
    found = []
    for system in systems:
        if seeds is None:
            paths = sorted(Path(folder).glob(f"{system}-seed[0-9]*.json"))
        else:
            paths = [Path(folder, f"{system}-seed{seed}.json") for seed in seeds]
        if not paths or not all(path.exists() for path in paths):
            raise CheckpointError(
                f"{folder} lacks results of {system}; make them with: make figures PROFILE={profile}, then make tables "
                f"PROFILE={profile} DATASET={Path(folder).parent.name}"
            )
        found += [read(path) for path in paths]
    return found


def _is_result(path: Path) -> bool:
    with path.open("rb") as file:
        return FORMAT.encode() in file.read(200)
