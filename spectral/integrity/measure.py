"""Does a model do what its architecture promises? The checks of `models.integrity`, for a checkpoint with its users.

`python -m spectral.integrity ckpt.pt` prints them. The checks need nothing but a model and windows, so they are part of
`models`, where `models.evaluate --integrity` makes them too; here are the command, and the table for reports.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import models.integrity
from models.integrity import Check, item_frequency, verdict
from spectral.command_line import Subject
from spectral.result import Result
from spectral.tables import stacked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame


@dataclass(frozen=True, eq=False)
class Integrity(Result):
    """What the checks of a model found; iterating gives the checks.

    Attributes:
        checks: One for each of `models.integrity.CHECKS`.

    Example:
        >>> found = Integrity((Check("causal", True, False, 0.25, [[0, 3]], "outputs change when later items do"),))
        >>> print(found.table()[["name", "claimed", "passes", "where"]].to_string(index=False))
          name  claimed  passes  where
        causal     True   False [0, 3]
        >>> [text.get_text() for text in found.plot().texts]
        ['NO']
    """

    checks: tuple[Check, ...]

    def __iter__(self) -> Iterator[Check]:
        return iter(self.checks)

    def table(self) -> "DataFrame":
        """Return one row per check: name, claimed, passes, value, where, meaning. Places are text."""
        import pandas as pd

        return pd.DataFrame([check.record() | {"where": check.places()} for check in self.checks])

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the verdict of each check."""
        from spectral import plot

        return plot.integrity(self, ax=ax)


def integrity(subject: Subject) -> Integrity:
    """Return the checks of a model on its users, as `models.integrity.integrity` does.

    Without users, windows of random items are used, and what needs users is not checked. Item frequencies are those of
    the dataset, or of the users' windows if only these are known.
    """
    windows = subject.windows[subject.uniform & (subject.windows > 0).any(1)]
    if not len(windows):
        return Integrity(tuple(models.integrity.integrity(subject.model)))
    counted = windows if subject.sequences is None else torch.from_numpy(subject.sequences.history("test")[0])
    frequency = item_frequency(counted, subject.model.config.num_items)
    full = subject.windows[(subject.windows > 0).all(1)]
    return Integrity(
        tuple(models.integrity.integrity(subject.model, windows[: subject.max_users], frequency, full=full))
    )


def of_models(networks: Mapping[str, Any], windows: Mapping[str, Tensor]) -> tuple[dict[str, str], "DataFrame"]:
    """Return what the checks of several models found in a few words, by name, and all checks as one table.

    windows: (P, N) test windows of the users, for each model. Item frequencies are those in these windows.
    """
    found = {}
    for name, network in networks.items():
        frequency = item_frequency(windows[name], network.config.num_items)
        found[name] = Integrity(tuple(models.integrity.integrity(network, windows[name], frequency)))
    verdicts = {name: verdict(of_model.checks) for name, of_model in found.items()}
    return verdicts, stacked({name: of_model.table() for name, of_model in found.items()})
