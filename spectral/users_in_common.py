"""The users that several models can be compared on."""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.errors import ConfigError, DataError
from spectral.command_line import Subject


def windows_in_common(subjects: Mapping[str, Subject]) -> dict[str, Tensor]:
    """Return each model's windows (P, N) of the users that all of them have, in the same order.

    subjects: by model name. Users that a checkpoint holds only for their full windows are left out. Raises ConfigError
    if the models were trained or measured on different data, and DataError for fewer than two users.
    """
    first_name, first = next(iter(subjects.items()))
    for name, subject in subjects.items():
        if _data(subject) != _data(first):
            raise ConfigError(
                f"{name} is measured on {subject.dataset}, {first_name} on {first.dataset}, which are different data; "
                "compare models of one dataset"
            )
    rows = {name: _rows_by_user(subject) for name, subject in subjects.items()}
    users = [user for user in rows[first_name] if all(user in of_model for of_model in rows.values())]
    users = users[: first.max_users]
    if len(users) < 2:
        raise DataError(f"{first.dataset}: at least 2 users that all models have are needed, found {len(users)}")
    return {name: subject.windows[[rows[name][user] for user in users]] for name, subject in subjects.items()}


def _rows_by_user(subject: Subject) -> dict[int, int]:
    usable = subject.uniform & (subject.windows > 0).any(1)
    return {int(subject.names[row]): row for row in torch.nonzero(usable)[:, 0].tolist()}


def _data(subject: Subject) -> str:
    """Return the fingerprint of the data of the users, or their name if no checkpoint identifies them."""
    if subject.sequences is not None:
        return str(subject.sequences.fingerprint)
    checkpoint = subject.model.checkpoint
    return (checkpoint["dataset"]["fingerprint"] if checkpoint is not None else None) or subject.dataset
