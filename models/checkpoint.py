"""Checkpoints that explain themselves: written in one piece, read without running any code they may hold."""

import io
import logging
import os
import pickle
import platform
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.datasets import Sequences
from models.datasets import load as load_sequences
from models.errors import CheckpointError, DataError, UserError
from models.files import write_atomically
from models.recommender import Recommender
from models.registry import MODELS, build, configure

logger = logging.getLogger("models")

FORMAT = "spectral-recommender-checkpoint"
FORMAT_VERSION = 1
UNIFORM_PROBES, FULL_WINDOW_PROBES = 512, 256
PROBE_SEED = 0  # not the run's: runs of the same dataset are compared on the same users
_FIELDS = ("model", "config", "dataset", "training", "metrics", "seed", "versions", "probe", "state_dict")


@dataclass(frozen=True)
class Probe:
    """Sequences kept in the checkpoint, so that every analysis runs without the dataset.

    Windows of test inputs of up to 512 users drawn uniformly, then up to 256 more users with full windows. They are
    filled up as the model's padding says: with any but `zero` every window counts as full.
    """

    input_ids: Tensor  # (P, N) int32, padded with 0 on the left
    users: Tensor  # (P,) int64, the user ids as the dataset has them
    uniform: Tensor  # (P,) bool, True for the users drawn uniformly from all


def describe_dataset(sequences: Sequences) -> dict[str, Any]:
    """Return what a checkpoint says about the dataset it was trained on."""
    return {
        "name": sequences.name,
        "source": sequences.source,
        "fingerprint": sequences.fingerprint,
        "num_users": sequences.num_users,
        "num_items": sequences.num_items,
        "num_interactions": sequences.num_interactions,
    }


def draw_probe(sequences: Sequences, max_len: int, padding: str = "zero") -> Probe:
    """Draw the probe sequences of a dataset: the same users for every run on it."""
    windows = sequences.windows("test", max_len, padding)
    order = np.random.default_rng(PROBE_SEED).permutation(sequences.num_users)
    uniform, others = np.sort(order[:UNIFORM_PROBES]), order[UNIFORM_PROBES:]
    full = others[windows.inputs[others, 0] > 0][:FULL_WINDOW_PROBES]
    users = np.concatenate([uniform, np.sort(full)])
    return Probe(
        torch.from_numpy(windows.inputs[users]),
        torch.from_numpy(sequences.users[users]),
        torch.arange(len(users)) < len(uniform),
    )


def versions() -> dict[str, str]:
    """Return the versions of what computed a checkpoint."""
    try:
        own = version("spectral-recommenders")
    except PackageNotFoundError:
        own = "not installed"
    return {
        "spectral-recommenders": own,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def pack(
    model: Recommender,
    *,
    dataset: dict[str, Any],
    training: dict[str, Any],
    metrics: dict[str, Any],
    seed: int,
    probe: Probe,
) -> dict[str, Any]:
    """Return the content of a checkpoint: plain values and tensors on the CPU."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": model.name,
        "config": asdict(model.config),
        "dataset": dataset,
        "training": training,
        "metrics": metrics,
        "seed": seed,
        "versions": versions(),
        "probe": asdict(probe),
        "state_dict": {key: value.detach().cpu().clone() for key, value in model.state_dict().items()},
    }


def save(content: dict[str, Any], path: str | Path) -> None:
    """Write what `pack` returned; the file is there in full or not at all, and equal content gives equal bytes."""
    buffer = io.BytesIO()
    torch.save(_canonical(content), buffer)
    write_atomically(Path(path), buffer.getvalue())


def _canonical(value: Any) -> Any:
    """Return the value with one object for equal strings, since pickle writes an object that it knows in another way.

    Otherwise a resumed run, whose strings were read from a file, would end in other bytes than an uninterrupted one.
    """
    if isinstance(value, dict):
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return sys.intern(value) if isinstance(value, str) else value


def load(path: str | Path, device: str | torch.device = "cpu") -> Recommender:
    """Return the model of a checkpoint, ready for evaluation and analysis.

    The model's `checkpoint` holds everything else that the file says (dataset, training, metrics, seed, versions)
    and its `probe` the probe sequences.

    Raises CheckpointError, each time with the reason, if the file is truncated, is not a checkpoint, holds code, was
    written by a newer version, or lacks tensors or has them in other shapes; OSError if it cannot be read.
    """
    content = read(path)
    try:
        config = configure(content["model"], **content["config"])
    except (UserError, TypeError) as error:
        raise CheckpointError(f"{path}: its configuration does not describe a model: {error}") from error
    model = build(config)
    _load_weights(model, content["state_dict"], path)
    model.checkpoint = {key: value for key, value in content.items() if key not in ("state_dict", "probe")}
    model.probe = _read_probe(content["probe"], config.num_items, config.max_len, path)
    return model.to(device).eval()


def load_runs(
    runs: str | Path, profile: str, dataset: str, models: Iterable[str], seed: int, device: str = "cpu"
) -> dict[str, Recommender]:
    """Return the models that the workflow trained, by name; raises CheckpointError saying how to make a missing one."""
    paths = {model: Path(runs, profile, dataset, f"{model}-seed{seed}.pt") for model in models}
    for path in paths.values():
        if not path.exists():
            raise CheckpointError(f"{path} is missing; make it with: make figures PROFILE={profile} DATASET={dataset}")
    return {model: load(path, device) for model, path in paths.items()}


def sequences_of(model: Recommender, data: str | None = None, data_dir: str | Path | None = None) -> Sequences:
    """Return the dataset that a loaded model was trained on, or another one (a name or a file) that it can be given.

    Raises DataError if that cannot be found, or has items that the model does not know.
    """
    assert model.checkpoint is not None
    trained_on = model.checkpoint["dataset"]
    sequences = load_sequences(data or trained_on["source"], data_dir)
    if sequences.num_items > model.config.num_items:
        raise DataError(
            f"{sequences.name} has items up to {sequences.num_items}, but the checkpoint knows items up to "
            f"{model.config.num_items}; it was trained on {trained_on['name']}"
        )
    if sequences.fingerprint != trained_on["fingerprint"]:
        logger.warning(
            "note: %s is not the data that the checkpoint was trained on (%s)", sequences.name, trained_on["name"]
        )
    return sequences


def read(path: str | Path) -> dict[str, Any]:
    """Return the checked content of a checkpoint file, never running code; raises as `load` does."""
    content = read_tensors(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: holds {_kind(content)}, not a checkpoint of this toolkit (no 'format': {FORMAT!r}); "
            "write one with python -m models.train"
        )
    found = content.get("format_version")
    if not isinstance(found, int) or found > FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: has checkpoint format version {found}, this toolkit reads up to {FORMAT_VERSION}; "
            "update the toolkit"
        )
    missing = [field for field in _FIELDS if field not in content]
    if missing:
        raise CheckpointError(f"{path}: the checkpoint lacks {', '.join(map(repr, missing))}; train it again")
    if content["model"] not in MODELS:
        raise CheckpointError(f"{path}: is of model {content['model']!r}; known are {', '.join(MODELS)}")
    return content


def read_tensors(path: str | Path) -> Any:
    """Return what torch.save wrote, if it is tensors and plain values alone; see `load` for the errors."""
    with open(path, "rb") as file:
        start = file.read(4)
    if os.path.getsize(path) == 0:
        raise CheckpointError(f"{path}: is empty")
    if start[:2] == b"PK" and not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path}: is truncated: it begins like a checkpoint but its end is missing")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "nsupported" in str(error) and start[:2] in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05"):
            reason = next(line for line in str(error).splitlines() if "nsupported" in line).strip()
            raise CheckpointError(
                f"{path}: holds a pickle that would run code when read; it was not executed ({reason})"
            ) from error
        raise CheckpointError(f"{path}: is not a checkpoint: it cannot be read as one that torch.save wrote") from error
    except (RuntimeError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: is not a checkpoint, or is damaged ({_first_line(error)})") from error


def _load_weights(model: Recommender, state_dict: dict[str, Tensor], path: str | Path) -> None:
    expected = model.state_dict()
    problems = [f"{key} is missing" for key in expected if key not in state_dict]
    problems += [f"{key} is unexpected" for key in state_dict if key not in expected]
    problems += [
        f"{key} has shape {tuple(state_dict[key].shape)} instead of {tuple(value.shape)}"
        for key, value in expected.items()
        if key in state_dict and state_dict[key].shape != value.shape
    ]
    if problems:
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise CheckpointError(f"{path}: its tensors do not fit its configuration: {'; '.join(problems[:10])}{more}")
    model.load_state_dict(state_dict)


def _read_probe(content: dict[str, Tensor], num_items: int, max_len: int, path: str | Path) -> Probe:
    missing = [field.name for field in fields(Probe) if not isinstance(content.get(field.name), Tensor)]
    if missing:
        raise CheckpointError(f"{path}: its probe lacks {', '.join(missing)}; train it again")
    probe = Probe(**{field.name: content[field.name] for field in fields(Probe)})
    rows = len(probe.users)
    if probe.input_ids.shape != (rows, max_len) or probe.uniform.shape != (rows,):
        raise CheckpointError(f"{path}: its probe has shape {tuple(probe.input_ids.shape)}, not ({rows}, {max_len})")
    if rows and not 0 <= int(probe.input_ids.min()) <= int(probe.input_ids.max()) <= num_items:
        raise CheckpointError(f"{path}: its probe has item ids outside 0..{num_items}")
    return probe


def _kind(content: Any) -> str:
    if isinstance(content, dict):
        names = ", ".join(map(str, list(content)[:3]))
        return f"a dictionary ({names}, ...)" if content else "an empty dictionary"
    return f"a {type(content).__name__}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
