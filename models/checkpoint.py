"""Self-describing checkpoints: written in one piece, and read without running any code in them."""

import io
import logging
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.checkpoint_fields import KINDS, fault_of
from models.datasets import DATASETS, Sequences, synthetic
from models.datasets import load as load_sequences
from models.datasets.views import SHARE, at_or_after, before, share_of, split_name
from models.errors import CheckpointError, ConfigError, DataError, UserError
from models.examples import locate
from models.files import Kind, write_atomically
from models.layers import compiled
from models.precision import HALF
from models.recommender import Recommender, not_finite
from models.registry import KNOWN, build, configure, installed
from models.safe_load import read_tensors
from models.safe_load.limits import no_more_than
from models.sharded import read_model_file
from models.third_party.opening import open_third_party
from models.third_party.settings import canonical, option

logger = logging.getLogger("models")

FORMAT = "spectral-recommender-checkpoint"
FORMAT_VERSION = 1
FILE = Kind("a checkpoint", FORMAT.encode())
UNIFORM_PROBES, FULL_WINDOW_PROBES = 512, 256
RANDOM_STREAMS = "1"  # version of what a seed draws: weights, order, negatives, dropout
PROBE_SEED = 0  # not the seed of the run, so that all runs on a dataset are compared on the same users
MAX_GENERATED = 5_000_000  # interactions that a checkpoint may have generated without being asked to
OF_ADAPTER = "the adapter's windows"  # the name of the data of a model that an adapter loads


@dataclass(frozen=True)
class Probe:
    """Sequences stored in the checkpoint, so that every analysis runs without the dataset.

    They are the test windows of up to 512 users drawn uniformly, and of up to 256 further users with full windows. The
    windows are padded as the model's padding says; with any padding except `zero`, every window counts as full.
    """

    input_ids: Tensor  # (P, N) int32, padded with 0 on the left
    users: Tensor  # (P,) int64, the user ids as the dataset has them
    uniform: Tensor  # (P,) bool, True for the users drawn uniformly from all


def describe_dataset(sequences: Sequences) -> dict[str, Any]:
    """Return what a checkpoint says about its training data: name, source, fingerprint and counts."""
    return {
        "name": sequences.name,
        "source": sequences.source,
        "fingerprint": sequences.fingerprint,
        "num_users": sequences.num_users,
        "num_items": sequences.num_items,
        "num_interactions": sequences.num_interactions,
    }


def no_probe(max_len: int) -> Probe:
    """Return the empty probe of a checkpoint whose data is not known."""
    nobody = torch.zeros(0, dtype=torch.int64)
    return Probe(torch.zeros(0, max_len, dtype=torch.int32), nobody, nobody > 0)


def draw_probe(sequences: Sequences, max_len: int, padding: str = "zero") -> Probe:
    """Return the probe sequences of a dataset, from the same users for every run on it; max_len is N."""
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
    """Return the versions of this toolkit and of what it computes with, which a checkpoint records."""
    try:
        own = version("spectral-recommenders")
    except PackageNotFoundError:
        own = "not installed"
    return {
        "spectral-recommenders": own,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "random_streams": RANDOM_STREAMS,
        "compiled_layers": compiled.variant(),
    }


def pack(
    model: Recommender,
    *,
    dataset: dict[str, Any],
    training: dict[str, Any],
    metrics: dict[str, Any],
    seed: int | None,
    probe: Probe,
) -> dict[str, Any]:
    """Return the content of a checkpoint: plain values, and tensors on the CPU; `save` writes it."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": model.name,
        "config": model.config.saved(),
        "dataset": dataset,
        "training": training,
        "metrics": metrics,
        "seed": seed,
        "versions": versions(),
        "probe": asdict(probe),
        "state_dict": {key: value.detach().cpu().clone() for key, value in model.state_dict().items()},
    }


def save(content: dict[str, Any], path: str | Path, kind: Kind = FILE) -> None:
    """Write what `pack` returned; the file is complete or not written at all, and equal content has equal bytes.

    Raises OutputError if there is a file at `path` that is not of this kind.
    """
    buffer = io.BytesIO()
    torch.save(_canonical(content), buffer)
    write_atomically(Path(path), buffer.getvalue(), kind)


def _canonical(value: Any) -> Any:
    """Return the value with equal strings as one object.

    Pickle writes the second occurrence of an object differently from the first. Without this, a resumed run, whose
    strings were read from a file, would end in other bytes than an uninterrupted one.
    """
    if isinstance(value, dict):
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return sys.intern(value) if isinstance(value, str) else value


def load(
    path: str | Path,
    device: str | torch.device = "cpu",
    *,
    fallback: Mapping[str, Any] | None = None,
    finite: bool = False,
    **settings: Any,
) -> Recommender:
    """Return the model of a checkpoint, in evaluation mode.

    The model's attribute `checkpoint` holds everything else in the file (dataset, training, metrics, seed, versions)
    and, under `not_finite`, which weights are NaN or infinite. `probe` holds the probe sequences. For third-party
    checkpoints (models.third_party) the probe is empty, and `checkpoint` says little. Weights in half precision
    (bfloat16, float16) are widened to float32.

    Args:
        path: The file; or a folder or an index of shards, see models.sharded; or `example:sasrec`, see models.examples.
        device: The model's device, as for torch.
        fallback: Settings for a third-party checkpoint, used if neither the file nor a configuration beside it has
            them.
        finite: Whether NaN and infinite weights are an error, instead of a warning.
        **settings: Settings for a third-party checkpoint that override its configuration: model, heads, alpha, c and
            others (see models.third_party.settings). Those of a checkpoint of this toolkit cannot be changed.

    Raises:
        CheckpointError: With the reason, if the file is truncated, is not a checkpoint, holds code, was written by a
            newer version, lacks tensors, has tensors of other shapes, or has weights that are not `finite`.
        ConfigError: If a third-party checkpoint needs settings that it does not hold; the message says which.
        OSError: If the file cannot be read.

    >>> import tempfile
    >>> from models.train import train
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = train("sasrec", "synthetic:users=20,items=30", out=f"{folder}/model.pt", epochs=1, max_len=10)
    ...     model = load(run.path)
    >>> model.title, model.checkpoint["dataset"]["name"], model.checkpoint["seed"]
    ('SASRec', 'synthetic:users=20,items=30', 42)
    >>> model.probe.input_ids.shape  # the test windows of all 20 users
    torch.Size([20, 10])
    >>> scores = model(torch.tensor([[3, 14, 5]]))  # what comes after items 3, 14 and 5?
    >>> scores.shape  # one score per item, and column 0 for padding
    torch.Size([1, 31])
    """
    content, file = read_model_file(locate(path))
    if not _is_own(content):
        model = open_third_party(content, file, settings, fallback or {})
        model.probe = no_probe(model.config.max_len)
        return _said_if_not_finite(model, path, finite).to(device).eval()
    content = _checked(content, path)
    try:
        config = configure(content["model"], **content["config"], among=KNOWN)
        with no_more_than(content["state_dict"], path):
            model = build(config)
    except CheckpointError:
        raise
    except (UserError, TypeError) as error:
        raise CheckpointError(f"{path}: its configuration does not describe a model: {error}") from error
    _refuse_changes({"model": content["model"], **asdict(config)}, settings, path)
    _load_weights(model, content["state_dict"], path)
    model.checkpoint = {key: value for key, value in content.items() if key not in ("state_dict", "probe")}
    model.checkpoint["not_finite"] = not_finite(content["state_dict"])
    model.probe = _read_probe(content["probe"], config.num_items, config.max_len, path)
    return _said_if_not_finite(model, path, finite).to(device).eval()


def _said_if_not_finite(model: Recommender, path: str | Path, finite: bool) -> Recommender:
    assert model.checkpoint is not None
    if (found := model.checkpoint["not_finite"]) and finite:
        raise CheckpointError(f"{path}: weights are not finite ({found}), so there is nothing to measure")
    if found:
        logger.warning("note: %s: weights are not finite (%s); its scores mean nothing", path, found)
    return model


def _refuse_changes(config: Mapping[str, Any], settings: Mapping[str, Any], path: str | Path) -> None:
    """Raise ConfigError if settings differ from those of a checkpoint of this toolkit."""
    for name, value in canonical(settings).items():
        if config.get(name) != value:
            held = f"has {name} {config[name]}" if name in config else f"has no {name}"
            raise ConfigError(
                f"{path}: {held}, which cannot be changed; {option(name).rstrip('=')} is for third-party checkpoints"
            )


def check_made(path: str | Path, target: str = "figures") -> Path:
    """Return the path of a checkpoint that exists.

    Raises CheckpointError if it does not; the message says how to make it. For a run of the workflow, whose path is
    <runs>/<profile>/<dataset>/<system>-seed<seed>.pt, it names the make command with its target.
    """
    path = Path(path)
    if not path.exists():
        command = "python -m models.train --out FILE"
        if len(path.parts) > 2 and re.fullmatch(r".+-seed\d+\.pt", path.name):
            command = f"make {target} PROFILE={path.parts[-3]} DATASET={path.parts[-2]}"
        raise CheckpointError(f"{path} is missing; make it with: {command}")
    return path


def load_runs(
    runs: str | Path,
    profile: str,
    dataset: str,
    models: Iterable[str],
    seed: int,
    device: str = "cpu",
    target: str = "figures",
) -> dict[str, Recommender]:
    """Return models that the workflow trained, by name; raises CheckpointError as `check_made` does."""
    paths = {model: check_made(Path(runs, profile, dataset, f"{model}-seed{seed}.pt"), target) for model in models}
    return {model: load(path, device) for model, path in paths.items()}


def sequences_of(model: Recommender, data: str | None = None, data_dir: str | Path | None = None) -> Sequences:
    """Return the dataset that a loaded model was trained on, or the dataset `data` (a name or a file).

    A checkpoint only says where its data were. If that is a file, it is not opened unless it is given as `data`.

    Raises DataError if the dataset cannot be found, is not known, or has items that the model does not have.
    """
    assert model.checkpoint is not None
    trained_on = model.checkpoint["dataset"]
    sequences = load_sequences(data or known_source(trained_on), data_dir)
    _check_data(model, sequences, is_told=bool(data or trained_on["fingerprint"]))
    if not trained_on["fingerprint"] and not data:
        logger.warning("note: using the users of %s, the data that a configuration names", sequences.name)
    return sequences


def after_training(
    model: Recommender, data: str | None = None, data_dir: str | Path | None = None
) -> tuple[Sequences, NDArray[np.bool_]]:
    """Return the whole dataset of a model that was trained on the part before a moment, and its users after it.

    The users, (num_users,) bool, are those whose last item comes at or after this moment: their test targets, and all
    that they took before, are new to the model. A model that was trained on the whole dataset has seen the future; its
    users are those after 80% of the interactions, and a note says so. Arguments and errors are those of `sequences_of`;
    DataError too for a dataset without times.

    Source: a global split by time with the last item as target, as in Gusak et al., RecSys 2025 (arXiv 2507.16289).
    """
    assert model.checkpoint is not None
    trained_on = model.checkpoint["dataset"]
    base, knob, value = split_name(str(trained_on["source"]))
    if knob != "until":
        sequences, share = sequences_of(model, data, data_dir), SHARE
        logger.warning(
            "note: %s was trained on items after the split as well, so it has seen the future; train it on the part "
            "before with: python -m models.train --dataset %s:until=%g",
            *(model.title, sequences.source, share),
        )
        return sequences, at_or_after(sequences, share)
    name = data or known_source({**trained_on, "source": base})
    sequences, share = load_sequences(name, data_dir), share_of(value)
    _check_items(model, sequences)
    if before(sequences, share).fingerprint != trained_on["fingerprint"]:
        raise DataError(
            f"{sequences.name} before {share:.0%} of its interactions is not what the checkpoint was trained on "
            f"({trained_on['name']})"
        )
    return sequences, at_or_after(sequences, share)


def known_source(trained_on: Mapping[str, Any]) -> str:
    """Return the source of a checkpoint's data if that is a name; raises DataError if it is not."""
    name, source = trained_on["name"], trained_on["source"]
    if split_name(str(source))[0] in DATASETS:
        return str(source)
    if synthetic.is_synthetic(source):
        knobs = synthetic.parse(source)
        if knobs.users * knobs.length <= MAX_GENERATED:
            return str(source)
        raise DataError(f"the checkpoint was trained on large generated data; to generate them again: --data {source}")
    if source:
        raise DataError(
            f"the checkpoint was trained on the file {source!r}, which is not opened without being named; give --data "
            "FILE"
        )
    raise DataError(
        f"the checkpoint holds no sequences of users{_trained_on(name)}; give --data NAME_OR_FILE, with the item ids "
        "that it was trained with"
    )


def _check_data(model: Recommender, sequences: Sequences, is_told: bool = True) -> None:
    """Raise DataError for items that a model does not know; say if the data may be other than its training data.

    is_told: whether the user or the checkpoint's fingerprint tells the data, and not only a configuration.
    """
    _check_items(model, sequences)
    assert model.checkpoint is not None
    trained_on = model.checkpoint["dataset"]
    if trained_on["fingerprint"] and sequences.fingerprint != trained_on["fingerprint"]:
        logger.warning(
            "note: %s is not the data that the checkpoint was trained on (%s)", sequences.name, trained_on["name"]
        )
    elif not trained_on["fingerprint"] and is_told:
        logger.warning(
            "note: %s must have the item ids of the training data, which the checkpoint does not identify",
            sequences.name,
        )
    more = model.config.num_items - sequences.num_items
    if more and not trained_on["fingerprint"]:
        origin = str(model.checkpoint["training"].get("origin"))
        or_bert4rec = (
            ", or of BERT4Rec, whose table ends with a mask item" if more == 1 and "bert4rec" in origin else ""
        )
        logger.warning(
            "note: the checkpoint has %d items more than %s; is it of other data%s?", more, sequences.name, or_bert4rec
        )


def _check_items(model: Recommender, sequences: Sequences) -> None:
    assert model.checkpoint is not None
    if sequences.num_items > model.config.num_items:
        raise DataError(
            f"{sequences.name} has items up to {sequences.num_items}, but the checkpoint knows items up to "
            f"{model.config.num_items}{_trained_on(model.checkpoint['dataset']['name'])}"
        )


def _trained_on(name: str) -> str:
    """Return in brackets what a model was trained on; nothing for that of an adapter, which does not say."""
    return "" if name == OF_ADAPTER else f" (it was trained on {name})"


def load_files(
    paths: Iterable[str | Path], settings: Mapping[str, Mapping[str, Any]], names: Iterable[str] = ()
) -> dict[str, Recommender]:
    """Return the models of files, by the model's name, or by the file's if another has the model's name.

    settings: by path, what a third-party file does not say. names: those that others have already. Raises
    CheckpointError for a missing file, ConfigError for settings of a path that is not given, and what `load` raises.
    """
    files = [str(path) for path in paths]
    if unknown := [path for path in settings if path not in files]:
        raise ConfigError(f"settings are for {unknown[0]}, which is not among the files ({', '.join(files) or 'none'})")
    taken, found = set(names), dict[str, Recommender]()
    for file in files:
        model = load(check_made(file), **settings.get(file, {}))
        name = Path(file).stem if model.name in taken else model.name
        if name in taken:
            raise ConfigError(f"{file}: another file or run has the name {name}, too; rename the file")
        found[name] = model
        taken.add(name)
    return found


def windows_of(
    models: Mapping[str, Recommender], data_dir: str | Path | None = None, data: str | None = None
) -> dict[str, Tensor]:
    """Return the test windows (P, N) of each model, by name, for all P users of the same dataset.

    It is the first model's training data, or `data`: their file, if they have no name, or another dataset. Raises
    DataError as `sequences_of` does, for any of the models.
    """
    first, *others = models.values()
    sequences = sequences_of(first, data, data_dir)
    for model in others:
        _check_data(model, sequences)
    return {
        name: torch.from_numpy(sequences.windows("test", model.config.max_len, model.config.padding).inputs)
        for name, model in models.items()
    }


def read(path: str | Path) -> dict[str, Any]:
    """Return the checked content of a checkpoint of this toolkit, without running code; raises as `load` does."""
    content = read_tensors(path)
    if not _is_own(content):
        raise CheckpointError(
            f"{path}: not a checkpoint of this toolkit (no 'format': {FORMAT!r}); write one with python -m models.train"
        )
    return _checked(content, path)


def _is_own(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("format"), str) and content["format"] == FORMAT


def _checked(content: dict[str, Any], path: str | Path) -> dict[str, Any]:
    found = content.get("format_version")
    if type(found) is not int or not 1 <= found <= FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: has checkpoint format version {found!r}, this toolkit reads up to {FORMAT_VERSION}; "
            "update the toolkit"
        )
    missing = [field for field in KINDS if field not in content]
    if missing:
        raise CheckpointError(f"{path}: the checkpoint lacks {', '.join(map(repr, missing))}; train it again")
    if fault := fault_of(content):
        raise CheckpointError(f"{path}: is a damaged checkpoint: {fault}")
    if content["model"] not in KNOWN and not installed(content["model"]):
        raise CheckpointError(
            f"{path}: has the unknown model {content['model']!r}; known are {', '.join(KNOWN)}. If it is your own, "
            "name the file that registers it: --adapter FILE.py"
        )
    return content


def _fits(given: torch.dtype, expected: torch.dtype) -> bool:
    """Return whether numbers of a type can be loaded: those of the model, or half precision, which is widened."""
    return given == expected or (given in HALF and expected == torch.float32)


def _load_weights(model: Recommender, state_dict: dict[str, Tensor], path: str | Path) -> None:
    expected = model.state_dict()
    problems = [f"{key} is missing" for key in expected if key not in state_dict]
    problems += [f"{key} is unexpected" for key in state_dict if key not in expected]
    problems += [
        f"{key} has shape {tuple(state_dict[key].shape)} instead of {tuple(value.shape)}"
        for key, value in expected.items()
        if key in state_dict and state_dict[key].shape != value.shape
    ]
    problems += [
        f"{key} has numbers of type {state_dict[key].dtype} instead of {value.dtype}"
        for key, value in expected.items()
        if key in state_dict and not _fits(state_dict[key].dtype, value.dtype)
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
    types = tuple(content[field.name].dtype for field in fields(Probe))
    if types != (torch.int32, torch.int64, torch.bool) or probe.users.ndim != 1:
        raise CheckpointError(f"{path}: its probe has other types or shapes than sequences, users and marks have")
    rows = len(probe.users)
    if probe.input_ids.shape != (rows, max_len) or probe.uniform.shape != (rows,):
        raise CheckpointError(f"{path}: its probe has shape {tuple(probe.input_ids.shape)}, not ({rows}, {max_len})")
    if rows and not 0 <= int(probe.input_ids.min()) <= int(probe.input_ids.max()) <= num_items:
        raise CheckpointError(f"{path}: its probe has item ids outside 0..{num_items}")
    return probe
