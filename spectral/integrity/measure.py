"""Does a model do what its architecture promises? The checks of `models.integrity`, for a checkpoint with its users.

`python -m spectral.integrity ckpt.pt` prints them. The checks need nothing but a model and windows, so they are part of
`models`, where `models.evaluate --integrity` makes them too; here are the command, and the table for reports.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import models.integrity
from models.integrity import Check, item_frequency, verdict
from spectral.command_line import Subject
from spectral.tables import stacked

if TYPE_CHECKING:
    from pandas import DataFrame


def integrity(subject: Subject) -> list[Check]:
    """Return the checks of a model on its users, as `models.integrity.integrity` does.

    Without users, windows of random items are used, and what needs users is not checked. Item frequencies are those of
    the dataset, or of the users' windows if only these are known.
    """
    windows = subject.windows[subject.uniform & (subject.windows > 0).any(1)]
    if not len(windows):
        return models.integrity.integrity(subject.model)
    counted = windows if subject.sequences is None else torch.from_numpy(subject.sequences.history("test")[0])
    frequency = item_frequency(counted, subject.model.config.num_items)
    full = subject.windows[(subject.windows > 0).all(1)]
    return models.integrity.integrity(subject.model, windows[: subject.max_users], frequency, full=full)


def table(checks: Sequence[Check]) -> "DataFrame":
    """Return one row per check: name, claimed, passes, value, where, meaning. Places are text.

    Example:
        >>> checks = [Check("causal", True, False, 0.25, [[0, 3]], "outputs change when later items do")]
        >>> print(table(checks)[["name", "claimed", "passes", "where"]].to_string(index=False))
          name  claimed  passes  where
        causal     True   False [0, 3]
    """
    import pandas as pd

    return pd.DataFrame([check.record() | {"where": check.places()} for check in checks])


def of_models(networks: Mapping[str, Any], windows: Mapping[str, Tensor]) -> tuple[dict[str, str], "DataFrame"]:
    """Return what the checks of several models found in a few words, by name, and all checks as one table.

    windows: (P, N) test windows of the users, for each model. Item frequencies are those in these windows.
    """
    checks = {
        name: models.integrity.integrity(
            network, windows[name], item_frequency(windows[name], network.config.num_items)
        )
        for name, network in networks.items()
    }
    verdicts = {name: verdict(of_model) for name, of_model in checks.items()}
    return verdicts, stacked({name: table(of_model) for name, of_model in checks.items()})
