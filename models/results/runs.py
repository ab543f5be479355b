"""The result of a finished run, as a JSON file: its settings, its metrics, and the rank of every test user's target.

Tables can be made from these files alone, without checkpoints and data, and every number in a table can be traced to
its files.
"""

import csv
import json
import logging
import math
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from models.datasets import Sequences
from models.errors import CheckpointError, DataError, UserError
from models.evaluation import SAMPLED, evaluate, summarise
from models.files import Kind, write_atomically
from models.recommender import Recommender
from models.registry import configure

logger = logging.getLogger("models")

FORMAT = "spectral-recommender-result"
UNKNOWN = "unknown"  # the processor of a run that does not say where it was made
RESULT_FILE = Kind("a result", FORMAT.encode())
FORMAT_VERSION = 2  # 1 lacks `sampled` and `origin`
_KINDS: dict[str, Any] = {
    "model": str,
    **dict.fromkeys(("config", "training", "dataset", "versions", "valid", "test"), dict),
    **dict.fromkeys(("parameters", "best_epoch", "epochs"), int),
    "seconds_per_epoch": int | float | None,
    **dict.fromkeys(("sampled", "origin"), dict | None),
    "test_ranks": list,
}
_DATASET_KINDS = {"name": str, "fingerprint": str, "num_users": int, "num_items": int}


@dataclass(frozen=True)
class Origin:
    """Where and how a run was trained; None for what is not known.

    Attributes:
        commit: Git commit of the code that finished the run, followed by `+` if files of `models/` had been changed.
        threads: Number of processor threads that one operation may use.
        processor: Name of the processor, or of the GPU; several, separated by "; ", if the run went on on another one.
        wall_seconds: Time of all epochs in seconds, training and validation, without the time between interruptions.
    """

    commit: str | None
    threads: int | None
    processor: str | None
    wall_seconds: float | None

    @classmethod
    def here(cls, processors: Iterable[str], wall_seconds: float | None) -> "Origin":
        """Return the origin of a run that this process finished, trained on these processors."""
        return cls(_commit(), torch.get_num_threads(), "; ".join(processors) or None, wall_seconds)


def name_of(device: torch.device) -> str:
    """Return the name of the GPU or processor that a torch device is.

    >>> name_of(torch.device("cpu")) == (processor_name() or "unknown")
    True
    """
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name() or UNKNOWN


def processor_name() -> str | None:
    """Return the name of this machine's processor as Linux or Python knows it."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine() or None


def _commit() -> str | None:
    """Return the git commit of this code, or None if it is not in a repository, or git is not installed."""
    file = Path(__file__).resolve()
    git = ["git", "-C", str(file.parents[1])]
    try:
        # An installed package may be inside the checkout of another project.
        subprocess.run([*git, "ls-files", "--error-unmatch", str(file)], capture_output=True, check=True)
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "."], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+" if changed else commit


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        model: Name of the model.
        config: Every field of the model's configuration.
        training: Every field of the training's configuration, including the seed.
        dataset: Name, fingerprint and counts of the data.
        versions: Versions of the software.
        parameters: Number of trained parameters of the model.
        best_epoch, epochs: The epoch of the metrics, from 0, and the number of epochs.
        seconds_per_epoch: Median over the epochs, on the machine of the run; None if it is not known.
        valid, test: Metrics by name, in the published protocol.
        sampled: Metrics of the test split with each target ranked among 99 drawn items (models.evaluation.SAMPLED).
            None in files of format 1, and if a user has fewer unseen items.
        origin: See Origin; None in files of format 1.
        test_ranks: Rank of each test user's target, from 1, in the order of the dataset.
        source: The file that the result was read from, else "".
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
    sampled: dict[str, float] | None
    origin: Origin | None
    test_ranks: list[int]
    source: str = ""

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.training["seed"])

    @property
    def was_capped(self) -> bool:
        """Whether the limit of epochs ended the run before early stopping could: it might have gone on improving."""
        return bool(self.epochs - 1 - self.best_epoch < self.training["patience"])

    def save(self, path: str | Path) -> None:
        """Write the result as JSON; the file is complete or not written at all.

        Raises OutputError if there is another file at `path`.
        """
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        del content["source"]
        ranks = json.dumps(
            content.pop("test_ranks"), separators=(",", ":")
        )  # on one line; the rest is indented for people
        text = json.dumps(content, indent=1)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(path), f'{text[:-2]},\n "test_ranks": {ranks}\n}}\n'.encode(), RESULT_FILE)


def result_of(
    model: Recommender,
    sequences: Sequences,
    test_ranks: Tensor,
    path: str | Path,
    trained_on: Iterable[str] | None = None,
) -> Result:
    """Return the result of a run, from its model, loaded from a checkpoint, and the model's ranks on the test split.

    Args:
        model: The loaded model.
        sequences: Its training data.
        test_ranks: (num_users,) from `models.evaluation.rank_targets`.
        path: The checkpoint; the log and the earlier result of the training are looked for beside it.
        trained_on: Names of the processors, if this process finished the training. If not, the origin is taken from
            the earlier result; it is None if there is no such result with the same ranks.

    Raises:
        CheckpointError: If the run is not finished, or its log cannot be read.
    """
    content = model.checkpoint
    assert content is not None
    metrics = content["metrics"]
    if "test" not in metrics:
        raise CheckpointError(f"{path}: is of an unfinished run; finish it with: python -m models.train ... --resume")
    seconds = _seconds(Path(path).with_suffix(".log.csv"))
    if trained_on is not None:
        origin: Origin | None = Origin.here(trained_on, round(sum(seconds), 1))
    else:
        origin = _origin_beside(Path(path).with_suffix(".json"), test_ranks)
    return Result(
        model=model.name,
        config=model.config.saved(),
        training=content["training"],
        dataset={key: value for key, value in content["dataset"].items() if key != "source"},
        versions=content["versions"],
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        best_epoch=metrics["best_epoch"],
        epochs=len(metrics["history"]),
        seconds_per_epoch=round(median(seconds), 2) if seconds else None,
        valid={name: value for name, value in metrics["valid"].items() if name not in ("epoch", "loss")},
        test=summarise(test_ranks),
        sampled=_sampled(model, sequences),
        origin=origin,
        test_ranks=test_ranks.tolist(),
    )


def _sampled(model: Recommender, sequences: Sequences) -> dict[str, float] | None:
    """Return the metrics among 99 drawn items, or None if a user has fewer unseen items."""
    try:
        return evaluate(model, sequences, "test", SAMPLED)
    except DataError:
        return None


def _origin_beside(path: Path, test_ranks: Tensor) -> Origin | None:
    if not path.exists():
        return None
    beside = read(path)
    return beside.origin if beside.test_ranks == test_ranks.tolist() else None


def _seconds(log: Path) -> list[float]:
    """Return the seconds of every epoch; none if there is no log."""
    if not log.exists():
        return []
    try:
        with log.open(newline="") as file:
            seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
            if not seconds:
                raise ValueError("no epochs")
            return seconds
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{log}: is not a log with the seconds of every epoch; move it away") from error


def read(path: str | Path) -> Result:
    """Return the result in a JSON file.

    Settings that did not exist when the file was written get their defaults; the run behaved as if it had them.

    Raises CheckpointError, with the reason, if the file is not a result; OSError if it cannot be read.
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
    if found == 1:
        content |= {"sampled": None, "origin": None}
    elif found != FORMAT_VERSION:
        raise CheckpointError(f"{path}: has result format version {found}, this toolkit reads up to {FORMAT_VERSION}")
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
    if content["origin"] is not None:
        content["origin"] = Origin(**content["origin"])
    return Result(**content, source=str(path))


def _damage(content: dict[str, Any]) -> str | None:
    """Return what is wrong with the fields of a result, or None."""
    wrong = [name for name, kind in _KINDS.items() if not isinstance(content[name], kind)]
    if wrong:
        return f"these fields have another type than expected: {', '.join(wrong)}"
    training, dataset, ranks, test = (content[name] for name in ("training", "dataset", "test_ranks", "test"))
    if not isinstance(training.get("seed"), int) or not all(_is_plain(value) for value in training.values()):
        return "training needs a seed, and numbers or text in every field"
    wrong = [name for name, kind in _DATASET_KINDS.items() if not isinstance(dataset.get(name), kind)]
    if wrong:
        return f"dataset has no such fields, or of another type than expected: {', '.join(wrong)}"
    if content["origin"] is not None and content["origin"].keys() != {field.name for field in fields(Origin)}:
        return f"origin needs {', '.join(field.name for field in fields(Origin))}, and nothing else"
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
    """Return results, in the order of the paths and, within a folder, of the files' names.

    paths: result files (.json), checkpoints (.pt) with a result beside them, or folders, which are searched at any
    depth. In folders, checkpoints without a result are left out, with a note.

    Raises CheckpointError if a checkpoint among the paths has no result beside it, or if no result is found.
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


def run_name(run: Result) -> str:
    """Return the system that the file of a result is named after, or the model of a result without a file."""
    return Path(run.source).stem.rpartition("-seed")[0] or run.model


def runs_folder(results: str | Path, dataset: str, profile: str) -> Path:
    """Return the folder in which the workflow keeps the results of a profile's runs.

    Profiles train with different budgets, so each has its own folder.

    >>> runs_folder("figures", "lastfm", "paper").as_posix()
    'figures/lastfm/runs/paper'
    """
    return Path(results, dataset, "runs", profile)


def of_systems(
    folder: str | Path, systems: Iterable[str], seeds: Iterable[int] | None, target: str = "tables"
) -> list[Result]:
    """Return the results <system>-seed<seed>.json of systems in a `runs_folder`; if seeds is None, of all seeds.

    Raises CheckpointError if results are missing; the message names the command that makes them, with the make target.
    """
    found, missing = available(folder, systems, seeds, target)
    if missing:
        raise _missing(folder, next(iter(missing)), target)
    return found


def available(
    folder: str | Path,
    systems: Iterable[str],
    seeds: Mapping[str, Iterable[int]] | Iterable[int] | None,
    target: str = "tables",
) -> tuple[list[Result], dict[str, list[int]]]:
    """Return the results that are there in a `runs_folder`, and by system the seeds of those that are missing.

    seeds: of every system, or by system; None takes all that there are, and a system without any is missing with no
    seeds.

    Raises CheckpointError if there is none at all, saying how to make them, with which target of make.
    """
    systems, found, missing = list(systems), [], {}
    seeds = seeds if seeds is None or isinstance(seeds, Mapping) else {system: list(seeds) for system in systems}
    for system in systems:
        there = sorted(Path(folder).glob(f"{system}-seed[0-9]*.json"))
        wanted = there if seeds is None else [Path(folder, f"{system}-seed{seed}.json") for seed in seeds[system]]
        found += [read(path) for path in wanted if path in there]
        lacking = [path for path in wanted if path not in there]
        if lacking or not wanted:
            missing[system] = [int(path.stem.rpartition("-seed")[2]) for path in lacking]
    if not found:
        raise _missing(folder, systems[0], target)
    return found, missing


def _missing(folder: str | Path, system: str, target: str) -> CheckpointError:
    return CheckpointError(
        f"{folder} lacks results of {system}; make them with: make {target} PROFILE={Path(folder).name} "
        f"DATASET={Path(folder).parent.parent.name}"
    )


def _note_left_out(folder: Path) -> None:
    lacking = [file for file in sorted(folder.rglob("*.pt")) if not file.with_suffix(".json").exists()]
    if lacking:
        logger.warning(
            "note: left out, because no result is beside them: %s; make one for a finished run with: "
            "python -m models.evaluate CHECKPOINT.pt --result CHECKPOINT.json",
            ", ".join(map(str, lacking)),
        )


def _is_result(path: Path) -> bool:
    with path.open("rb") as file:
        return FORMAT.encode() in file.read(200)
