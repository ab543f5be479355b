"""What the fields of a checkpoint have to be: types, ranges, and text that is safe to print."""

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

MAX_TEXT = 4096  # characters of a text in a checkpoint
# The types of the fields of a checkpoint; those of the dataset that are not known may be missing.
KINDS: dict[str, Any] = {
    "model": str,
    **dict.fromkeys(("config", "dataset", "training", "metrics"), dict),
    "seed": int | None,
    **dict.fromkeys(("versions", "probe", "state_dict"), dict),
}
_DATASET_KINDS = {"name": str, "source": str, "fingerprint": str}
_DEVICES = ("/dev/", "/proc/", "/sys/")
_COUNTS = ("num_users", "num_items", "num_interactions")


def fault_of(content: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the types and ranges in the fields of a checkpoint, all of which are there, or None.

    >>> nothing = {field: {} for field in KINDS} | {"model": "sasrec", "seed": 42}
    >>> fault_of(nothing | {"config": {"alpha": [0.7]}})
    "config, 'alpha': a list instead of a number or text"
    """
    for field, kind in KINDS.items():
        if not isinstance(content[field], kind) or isinstance(content[field], bool):
            return f"{field} is a {type(content[field]).__name__}"
    for field in ("config", "training", "versions"):
        for name, value in content[field].items():
            if not isinstance(name, str) or not _is_plain(value):
                return f"{field}, {name!r}: a {type(value).__name__} instead of a number or text"
    for field in ("probe", "state_dict"):
        for name, value in content[field].items():
            if not isinstance(name, str) or not isinstance(value, Tensor):
                return f"{field}, {name!r}: a {type(value).__name__} instead of a tensor"
    return _dataset_fault(content["dataset"]) or _metrics_fault(content["metrics"])


def _dataset_fault(dataset: Mapping[Any, Any]) -> str | None:
    for name, kind in _DATASET_KINDS.items():
        value = dataset.get(name)
        if not isinstance(value, kind) or not _is_plain(value):
            return f"dataset, {name}: {str(value)[:40]!r} is no text of one line"
    if re.sub("^/+", "/", posixpath.normpath(dataset["source"])).startswith(_DEVICES):
        return f"dataset, source: {dataset['source']!r} is no file of sequences"
    for name in _COUNTS:
        if not isinstance(dataset.get(name, 0), int) or dataset.get(name, 0) < 0:
            return f"dataset, {name}: {str(dataset[name])[:40]!r} is no count"
    return None


def _metrics_fault(metrics: Mapping[Any, Any]) -> str | None:
    if not metrics:  # of a converted third-party checkpoint
        return None
    history, best = metrics.get("history"), metrics.get("best_epoch")
    if not isinstance(history, list) or type(best) is not int or not 0 <= best < len(history):
        return "metrics: its best_epoch is none of its history"
    tables = [metrics.get("valid"), metrics.get("test", {}), *history]
    if not all(isinstance(table, dict) and all(map(_is_number, table.values())) for table in tables):
        return "metrics: they are not all numbers"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_plain(value: Any) -> bool:
    """Return whether a value is a number of 64 bits, or text of one line that can be printed."""
    if isinstance(value, str):
        return len(value) <= MAX_TEXT and value.isprintable()
    return value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)
