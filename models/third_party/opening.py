"""Opening a third-party checkpoint: recognise its format, find its settings, and build its model."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.architectures.encoder import EncoderConfig
from models.checkpoint_fields import MAX_TEXT
from models.datasets.registry import DATASETS
from models.errors import CheckpointError, ConfigError
from models.recommender import Recommender, not_finite
from models.safe_load.limits import no_more_than
from models.third_party import bsarec_repository, configuration_files, gsasrec, pmixer, recbole, rechorus, successors
from models.third_party.file_format import NAMED_KEYS, Format, Weights
from models.third_party.settings import Settings, Source, canonical, plain, same

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
_PARTIAL = 0.3  # a file with this share of a format's keys is reported as one of this format with faults
_WRAPPERS = re.compile(
    r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module|module)\."
)

Recognised = tuple[Format, dict[str, Tensor]]


def open_third_party(
    content: Any, path: str | Path, options: Mapping[str, Any], fallback: Mapping[str, Any]
) -> Recommender:
    """Return the model in the content of a file; its attribute `checkpoint` describes the origin.

    Args:
        content: What models.safe_load read.
        path: The file, for messages and for configurations beside it.
        options: Settings under any of the names in models.third_party.settings. They override a configuration in the
            file, that overrides a configuration beside the file, and that overrides the file's name. Where these
            contradict each other, the note about the file has both values.
        fallback: Settings for what none of these has.

    Raises:
        CheckpointError: If the file is of no known format; for a similar one, with its missing and unexpected keys.
        ConfigError: If settings are missing, unknown, contradictory, or out of range, or the file holds several models.
    """
    given = canonical(options)
    inside = configuration_files.inside(content)
    recognised, state = _choose(content, path, given.get("weights"), inside)
    outside = [*configuration_files.beside(Path(path)), *configuration_files.in_name(Path(path))]
    settings = Settings(str(path), recognised.title, given, [*inside, *outside], canonical(fallback))
    _check_model(settings, inside, outside)
    with no_more_than(state, path):
        model = recognised.read(Weights(state, recognised.count(state), settings))
    _check_given(settings, model)
    _compare_sizes(settings, model)
    model.checkpoint = {
        "model": model.name,
        "dataset": _dataset(settings.sources, model, recognised),
        "training": {"origin": recognised.title, "settings": settings.origins[:MAX_TEXT]},
        "metrics": {},
        "not_finite": not_finite(state),
    }
    return model


def _check_given(settings: Settings, model: Recommender) -> None:
    """Raise ConfigError if the option names another model than that of the file."""
    given = plain(str(settings.given.get("model", "")))
    names = [plain(name) for name in (model.name, model.title, *_models_of(settings.title), settings.title)]
    if not any(name.startswith(given) or name.endswith(given) for name in names):
        raise ConfigError(f"{settings.path}: is {settings.title}, not {settings.given['model']}; drop --model")


def _check_model(settings: Settings, inside: list[Source], outside: list[Source]) -> None:
    """Raise ConfigError if the file itself says that it is another model; say so if a neighbour or its name does."""
    for source in [*inside, *outside]:
        named = plain(str(source.get("model")))
        if (
            named not in configuration_files.MODEL_NAMES
            or _is_named(settings.title, named)
            or "model" in settings.given
        ):
            continue
        contradiction = f"the keys are those of {settings.title}, but {source.where} says model {source.get('model')}"
        if source in inside:
            raise ConfigError(f"{settings.path}: {contradiction}; say with --model which of the two it is")
        settings.note(contradiction)


def _compare_sizes(settings: Settings, model: Recommender) -> None:
    """Say if a configuration beside the file has other sizes than the file, because then it is that of another file."""
    if not isinstance(model.config, EncoderConfig):
        return
    for source in settings.sources:
        for name in configuration_files.SIZES:
            there, here = source.values.get(name), getattr(model.config, name)
            # A table may have a row more than there are items in a window: for a mask token, or for padding.
            near = name == "max_len" and any(same(there, here + more) for more in (-1, 1))
            if there is not None and not same(there, here) and not near:
                logger.warning(
                    "note: %s: %s says %s %s, but the shapes of the file say %s; is it of another file?",
                    *(settings.path, source.where, name, there, here),
                )


def _models_of(title: str) -> list[str]:
    return [plain(name) for name in re.split(r" of | in ", title)[0].split(" or ")]


def _is_named(title: str, model: str) -> bool:
    # FMLP-Rec's repository calls its SASRec FMLPRec, too.
    own = any(name.startswith(model) for name in _models_of(title))
    return own or (model == "fmlprec" and model in plain(title))


def _choose(content: Any, path: str | Path, wanted: str | None, inside: list[Source]) -> Recognised:
    """Return the model in the content of a file: its only state dict of a known format, at any depth.

    Raises ConfigError if there are several with different tensors, and CheckpointError if there is none.
    """
    states = _state_dicts(content)
    parts = {name: part for outer, state in states.items() for name, part in _parts(outer, state).items()}
    if wanted is not None and wanted not in parts:
        raise ConfigError(f"{path}: has no model {wanted!r}; it has {', '.join(filter(None, parts)) or 'none'}")
    chosen = parts if wanted is None else {wanted: parts[wanted]}
    found = {name: known for name, part in chosen.items() if (known := _exact(part)) is not None}
    found = {name: known for name, known in found.items() if name in states} or found  # whole ones before parts
    first = next(iter(found.values()), None)
    if first is None:
        raise _unrecognised(content, states, path, inside)
    if different := [name for name, other in found.items() if other is not first and not _equal(first, other)]:
        raise ConfigError(
            f"{path}: holds several models, {', '.join(dict.fromkeys([next(iter(found)), *different]))}; choose one "
            f"with --set weights={different[0]}"
        )
    left_out = len(states) == 1 and len(next(iter(states.values()))) - len(first[1])
    if left_out:
        logger.warning("note: %s: %d tensors that are not of the model are left out", path, left_out)
    return first


def _state_dicts(content: Any, name: str = "", depth: int = 0) -> dict[str, dict[str, Tensor]]:
    """Return the state dicts in the content of a file by where they are: `checkpoint.model`, or `1` in a list."""
    if configuration_files.is_state_dict(content):
        return {name: content}
    if depth > configuration_files.DEEPEST or not isinstance(content, dict | list | tuple):
        return {}
    if isinstance(content, dict) and {"state", "param_groups"} <= content.keys():  # of an optimizer
        return {}
    items = content.items() if isinstance(content, dict) else enumerate(content)
    inner = [_state_dicts(value, f"{name}.{key}".strip("."), depth + 1) for key, value in items]
    return {key: state for states in inner for key, state in states.items()}


def _parts(name: str, state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return a state dict, and the parts of it that wrappers made: a model beside a loss or a second model."""
    whole = _without_prefix(state)
    inner: dict[str, dict[str, Tensor]] = {}
    for key, value in whole.items():
        if "." in key:
            inner.setdefault(key.partition(".")[0], {})[key] = value
    largest_first = sorted(inner.items(), key=lambda item: -len(item[1]))
    parts = {f"{name}.{prefix}".strip("."): _without_prefix(part) for prefix, part in largest_first}
    return parts | {name: whole}


def _exact(state: dict[str, Tensor]) -> Recognised | None:
    """Return the format whose keys a state dict has, and its tensors under the names of the format."""
    for known in FORMATS:
        if len(state) < len(known.keys):
            continue
        renamed = {known.rename(key): value for key, value in state.items()}
        _, missing, unexpected = known.compare(renamed)
        if not missing and not unexpected:
            return known, renamed
    return None


def _equal(one: Recognised, other: Recognised) -> bool:
    return one[1].keys() == other[1].keys() and all(torch.equal(value, other[1][key]) for key, value in one[1].items())


def _unrecognised(
    content: Any, states: dict[str, dict[str, Tensor]], path: str | Path, inside: list[Source]
) -> CheckpointError:
    """Return the error for a file without a model of a known format; it says what the file is most like."""
    if not states:
        return _no_state_dict(content, path)
    name, state = max(states.items(), key=lambda item: len(item[1]))
    parts = list(_parts(name, state).values())
    compared = []
    for tensors in (parts[-1], parts[0]):
        for known in FORMATS:
            original = {known.rename(key): key for key in tensors}
            found, missing, unexpected = known.compare(original)
            share = len(found) / (len(found) + len(missing) + len(unexpected))
            compared.append((share, known, found, missing, [original[key] for key in unexpected]))
    _, known, found, missing, unexpected = max(compared, key=lambda item: item[0])
    named = next((str(source.get("model")) for source in inside if source.get("model") is not None), None)
    if named and not _is_named(known.title, plain(named)):
        origin = " of RecBole" if known.title.endswith("RecBole") else ""
        return CheckpointError(
            f"{path}: is {named}{origin}, which is not among those that are opened (so says its own configuration, and "
            f"it has keys such as {_some(unexpected or sorted(state), 3)}); opened are "
            f"{', '.join(each.title for each in FORMATS)}"
        )
    if len(found) < _PARTIAL * (len(found) + len(missing)):
        return CheckpointError(
            f"{path}: not a checkpoint of this toolkit, and its keys ({_some(list(state), 3)}) are of no known format; "
            f"known are {', '.join(each.title for each in FORMATS)}"
        )
    faults = [f"{what}: {_some(keys)}" for what, keys in (("missing", missing), ("unexpected", unexpected)) if keys]
    return CheckpointError(f"{path}: looks like {known.title}, but its keys differ; {'; '.join(faults)}")


def _no_state_dict(content: Any, path: str | Path) -> CheckpointError:
    if isinstance(content, dict) and {"state", "param_groups"} <= content.keys():
        return CheckpointError(
            f"{path}: is the state of an optimizer, not a checkpoint of a model; save model.state_dict() instead"
        )
    return CheckpointError(
        f"{path}: holds {_kind(content)}, not a checkpoint of this toolkit, nor the state_dict of a model; write one "
        "with python -m models.train, or torch.save(model.state_dict(), ...)"
    )


def _without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove the names of wrappers anywhere in the keys, and prefixes of all keys: `model.` and the like."""
    inner = {_WRAPPERS.sub("", key) if _WRAPPERS.search(key) else key: value for key, value in state.items()}
    while len(inner) > 1 and len({key.partition(".")[0] for key in inner}) == 1 and all("." in key for key in inner):
        inner = {key.partition(".")[2]: value for key, value in inner.items()}
    return inner


def _dataset(sources: list[Source], model: Recommender, recognised: Format) -> dict[str, Any]:
    """Return what is known about the data: its name if a configuration has it, and its source if we know it."""
    found = (source.values.get("dataset") for source in sources)
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
