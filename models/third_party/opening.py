"""Opening a third-party checkpoint: recognise its format, find its settings, and build its model."""

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from models.datasets.registry import DATASETS
from models.errors import CheckpointError, ConfigError
from models.recommender import Recommender
from models.third_party import bsarec_repository, configuration_files, gsasrec, pmixer, recbole, rechorus, successors
from models.third_party.file_format import NAMED_KEYS, Format, Weights
from models.third_party.settings import DATASET_NAMES, Settings, Source, canonical, plain

logger = logging.getLogger("models")

FORMATS: tuple[Format, ...] = (
    *bsarec_repository.FORMATS,
    *successors.FORMATS,
    *rechorus.FORMATS,
    *recbole.FORMATS,
    *pmixer.FORMATS,
    *gsasrec.FORMATS,
)
UNKNOWN = "unknown data"
_STATE_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "weights")
_PARTIAL = 0.3  # a file with this share of a format's keys is reported as one of this format with faults


def open_third_party(
    content: Any, path: str | Path, options: Mapping[str, Any], fallback: Mapping[str, Any]
) -> Recommender:
    """Return the model in the content of a file; its attribute `checkpoint` describes the origin.

    Args:
        content: What models.safe_load read.
        path: The file, for messages and for configurations beside it.
        options: Settings under any of the names in models.third_party.settings. They override a configuration in the
            file, and that overrides a configuration beside the file.
        fallback: Settings for what none of these has.

    Raises:
        CheckpointError: If the file is of no known format; for a similar one, with its missing and unexpected keys.
        ConfigError: If settings are missing, unknown, or out of range.
    """
    state = _state_dict(content, path)
    recognised, state = recognise(state, path)
    inside = configuration_files.inside(content) if isinstance(content, dict) else []
    sources = [*inside, *configuration_files.beside(Path(path))]
    settings = Settings(str(path), recognised.title, canonical(options), sources, canonical(fallback))
    model = recognised.read(Weights(state, recognised.count(state), settings))
    _check_model(settings, model)
    model.checkpoint = {
        "model": model.name,
        "dataset": _dataset(sources, model, recognised),
        "training": {"origin": recognised.title},
        "metrics": {},
    }
    return model


def _check_model(settings: Settings, model: Recommender) -> None:
    """Raise ConfigError if the option names another model than that of the file."""
    given = plain(str(settings.given.get("model", "")))
    names = [plain(name) for name in (model.name, model.title, settings.title)]
    if not any(name.startswith(given) or name.endswith(given) for name in names):
        raise ConfigError(f"{settings.path}: is {settings.title}, not {settings.given['model']}; drop --model")


def recognise(state: Mapping[str, Tensor], path: str | Path) -> tuple[Format, dict[str, Tensor]]:
    """Return the format of a state dict, and its tensors under the names of the format, without prefixes.

    Raises CheckpointError if the format is not known.
    """
    whole, inner = _without_prefix(state), _largest_part(state)
    compared = [
        (known, renamed, *known.compare(renamed))
        for tensors in (whole, inner)
        for known in FORMATS
        if (renamed := {known.rename(key): value for key, value in tensors.items()})
    ]
    for known, renamed, _, missing, unexpected in compared:
        if not missing and not unexpected:
            if len(renamed) < len(whole):
                logger.warning(
                    "note: %s: %d tensors that are not of the model are left out", path, len(whole) - len(renamed)
                )
            return known, renamed
    known, _, found, missing, unexpected = max(
        compared, key=lambda item: len(item[2]) / (len(item[2]) + len(item[3]) + len(item[4]))
    )
    if len(found) < _PARTIAL * (len(found) + len(missing)):
        raise CheckpointError(
            f"{path}: not a checkpoint of this toolkit, and its keys ({_some(list(state), 3)}) are of no known format; "
            f"known are {', '.join(each.title for each in FORMATS)}"
        )
    faults = [f"{what}: {_some(keys)}" for what, keys in (("missing", missing), ("unexpected", unexpected)) if keys]
    raise CheckpointError(f"{path}: looks like {known.title}, but its keys differ; {'; '.join(faults)}")


def _state_dict(content: Any, path: str | Path) -> dict[str, Tensor]:
    """Return the tensors in the content of a file, by key."""
    if isinstance(content, dict):
        if _is_state_dict(content):
            return content
        for key in _STATE_KEYS:
            if _is_state_dict(content.get(key)):
                return content[key]
        if {"state", "param_groups"} <= content.keys():
            raise CheckpointError(
                f"{path}: is the state of an optimizer, not a checkpoint of a model; save model.state_dict() instead"
            )
    raise CheckpointError(
        f"{path}: holds {_kind(content)}, not a checkpoint of this toolkit, nor the state_dict of a model; write one "
        "with python -m models.train, or torch.save(model.state_dict(), ...)"
    )


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in value.items())
    )


def _without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove the prefixes that wrappers add to every key: `module.`, `model.`, `_orig_mod.` and the like."""
    inner = dict(state)
    while len(inner) > 1 and len({key.partition(".")[0] for key in inner}) == 1 and all("." in key for key in inner):
        inner = {key.partition(".")[2]: value for key, value in inner.items()}
    return inner


def _largest_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a wrapper's largest part; a wrapper may hold a loss with tensors besides the model."""
    parts = Counter(key.partition(".")[0] for key in state if "." in key)
    prefix = parts.most_common(1)[0][0] if parts else ""
    return _without_prefix({key: value for key, value in state.items() if key.startswith(f"{prefix}.")})


def _dataset(sources: list[Source], model: Recommender, recognised: Format) -> dict[str, Any]:
    """Return what is known about the data: its name if a configuration has it, and its source if we know it."""
    found = (source.values.get(key) for source in sources for key in DATASET_NAMES)
    name = next((value for value in found if isinstance(value, str)), None)
    return {
        "name": name or UNKNOWN,
        "source": _known_dataset(name) if name and recognised.own_ids else "",
        "fingerprint": "",
        "num_items": model.config.num_items,
    }


def _known_dataset(name: str) -> str:
    """Return our name of a published dataset, or "" if it is not one of ours."""
    for known, dataset in DATASETS.items():
        if name.lower() in (known, *(Path(file).stem.lower() for file in dataset.file_names)):
            return known
    return ""


def _some(keys: list[str], most: int = NAMED_KEYS) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more


def _kind(content: Any) -> str:
    if isinstance(content, dict):
        names = ", ".join(map(str, list(content)[:3]))
        return f"a dictionary ({names}, ...)" if content else "an empty dictionary"
    return f"a {type(content).__name__}"
