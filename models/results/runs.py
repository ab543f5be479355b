"""What a finished run leaves for tables: its settings, its metrics, and the rank of every test user, as JSON.

A table can be made again from these files alone, without checkpoints and data, and every number in it traced to one.
"""

import csv
import json
import logging
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from models.errors import CheckpointError, UserError
from models.evaluation import summarise
from models.files import write_atomically
from models.recommender import Recommender
from models.registry import configure

logger = logging.getLogger("models")

FORMAT = "spectral-recommender-result"
FORMAT_VERSION = 1
_KINDS: dict[str, Any] = {
    "model": str,
    **dict.fromkeys(("config", "training", "dataset", "versions", "valid", "test"), dict),
    **dict.fromkeys(("parameters", "best_epoch", "epochs"), int),
    "seconds_per_epoch": int | float | None,
    "test_ranks": list,
}
_DATASET_KINDS = {"name": str, "fingerprint": str, "num_users": int, "num_items": int}


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
    """Return the result of a run from its loaded checkpoint at `path` and its ranks on the test split.

    Raises CheckpointError if the run is not finished, or its log beside the checkpoint cannot be read.
    """
    content = model.checkpoint
    assert content is not None
    metrics = content["metrics"]
    if "test" not in metrics:
        raise CheckpointError(f"{path}: is of an unfinished run; finish it with: python -m models.train ... --resume")
    return Result(
        model=model.name,
        config=asdict(model.config),
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
    try:
        with log.open(newline="") as file:
            return round(median(float(row["seconds"]) for row in csv.DictReader(file)), 2)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{log}: is not a log with the seconds of every epoch; move it away") from error


def read(path: str | Path) -> Result:
    """Return the result in a JSON file.

    Settings that there were not yet when it was written have their defaults, which is what the run had.

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
    if reason := _damage(content):
        raise CheckpointError(f"{path}: {reason}")
    try:
        content["config"] = asdict(configure(content["model"], **content["config"]))
    except (UserError, TypeError) as error:
        raise CheckpointError(f"{path}: its configuration does not describe a model: {error}") from error
    return Result(**content, source=str(path))


def _damage(content: dict[str, Any]) -> str | None:
    """Return what is wrong with the fields of a result, or None."""
    wrong = [name for name, kind in _KINDS.items() if not isinstance(content[name], kind)]
    if wrong:
        return f"these fields hold something of another kind than expected: {', '.join(wrong)}"
    training, dataset, ranks, test = (content[name] for name in ("training", "dataset", "test_ranks", "test"))
    if not isinstance(training.get("seed"), int) or not all(_is_plain(value) for value in training.values()):
        return "training needs a seed, and numbers or text in every field"
    wrong = [name for name, kind in _DATASET_KINDS.items() if not isinstance(dataset.get(name), kind)]
    if wrong:
        return f"dataset lacks, or has of another kind than expected: {', '.join(wrong)}"
    last = dataset["num_items"] + 1  # the padding item takes part
    if len(ranks) != dataset["num_users"] or not all(type(rank) is int and 1 <= rank <= last for rank in ranks):
        return f"test_ranks needs one rank in 1..{last} for each of {dataset['num_users']} users"
    expected = summarise(torch.tensor(ranks))
    are_numbers = test.keys() == expected.keys() and all(isinstance(value, int | float) for value in test.values())
    if not are_numbers or not all(math.isclose(test[name], expected[name], abs_tol=1e-9) for name in expected):
        return "its test metrics are not those of its test_ranks"
    return None


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def collect(paths: Iterable[str | Path]) -> list[Result]:
    """Return the results in JSON files, beside checkpoints, and anywhere in folders, in the order of their names.

    Checkpoints in folders that have no result beside them are left out, with a note.

    Raises CheckpointError for a checkpoint without a result beside it, or if there is nothing at all.
    """
    places = [Path(path) for path in paths]
    found: dict[Path, Result] = {}
    for path in places:
        if path.is_dir():
            files = [file for file in sorted(path.rglob("*.json")) if _is_result(file)]
            _note_left_out(path)
        else:
            files = [path.with_suffix(".json") if path.suffix == ".pt" else path]
        for file in files:
            if not file.exists():
                raise CheckpointError(
                    f"{file} is missing; make it with: python -m models.evaluate {file.with_suffix('.pt')} "
                    f"--result {file}"
                )
            found.setdefault(file.resolve(), read(file))
    if not found:
        raise CheckpointError(f"no result of a run in {', '.join(map(str, places)) or 'nothing'}")
    return list(found.values())


def of_systems(
    folder: str | Path, systems: Iterable[str], seeds: Iterable[int] | None, profile: str, target: str = "tables"
) -> list[Result]:
    """Return the results <folder>/<system>-seed<seed>.json that the workflow made, all there are where seeds is None.

    Raises CheckpointError saying how to make those that are missing, with which target of make.
    """
    found = []
    for system in systems:
        if seeds is None:
            paths = sorted(Path(folder).glob(f"{system}-seed[0-9]*.json"))
        else:
            paths = [Path(folder, f"{system}-seed{seed}.json") for seed in seeds]
        if not paths or not all(path.exists() for path in paths):
            raise CheckpointError(
                f"{folder} lacks results of {system}; make them with: make {target} PROFILE={profile} "
                f"DATASET={Path(folder).parent.name}"
            )
        found += [read(path) for path in paths]
    return found


def _note_left_out(folder: Path) -> None:
    lacking = [file for file in sorted(folder.rglob("*.pt")) if not file.with_suffix(".json").exists()]
    if lacking:
        logger.warning(
            "note: left out, for they have no result beside them: %s; make one of a finished run with: "
            "python -m models.evaluate CHECKPOINT.pt --result CHECKPOINT.json",
            ", ".join(map(str, lacking)),
        )


def _is_result(path: Path) -> bool:
    with path.open("rb") as file:
        return FORMAT.encode() in file.read(200)
