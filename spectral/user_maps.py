"""Attention maps of single users: how much each of their items looks at each other one.

Contents: `UserMaps`, the maps of one user; and `user_maps`, those of some users of a checkpoint.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from models.errors import DataError
from spectral.capture import Capture, capture, in_batches, real_items
from spectral.command_line import Subject

USERS = 8
WEIGHTS = 250_000  # of all users together: two bytes each on a page


@dataclass(frozen=True, eq=False)
class UserMaps:
    """The attention of all layers and heads at the real positions of one user, n of the N positions of the window.

    Attributes:
        user: The dataset's id of the user.
        items: What is at each of the n positions, the oldest first, in words: "item 7", or "mask token".
        first: The number of the oldest of these positions in the window, N - n; positions count from 0.
        layers: (H, n, n) by layer, rows are queries.

    Example:
        >>> import torch
        >>> maps = UserMaps(4, ["item 7", "item 2"], 0, {1: torch.tensor([[[1.0, 0.0], [0.25, 0.75]]])})
        >>> maps.causal, maps.weights
        (True, 3)
    """

    user: int
    items: list[str]
    first: int
    layers: Mapping[int, Tensor]

    @cached_property
    def causal(self) -> bool:
        """Whether no position looks at a later one, in any layer."""
        return not any(bool(a.triu(1).any()) for a in self.layers.values())

    @property
    def weights(self) -> int:
        """The number of weights of all layers and heads, without those that a causal mask makes 0."""
        n = len(self.items)
        return sum(len(a) for a in self.layers.values()) * (n * (n + 1) // 2 if self.causal else n * n)


def user_maps(subject: Subject, users: int = USERS, weights: int = WEIGHTS) -> list[UserMaps]:
    """Return the attention of the users with the longest windows; of equally long ones the first.

    If attention also looks at padding, the maps have all positions of the window.

    Args:
        subject: A model and its users.
        users: How many users at most.
        weights: How many weights at most, of all users together; with a large window it allows for fewer users.

    Raises ConfigError for a model without attention, and DataError if no user has an item or if the maps of one user
    are too large.

    Example:
        >>> import numpy as np
        >>> import torch
        >>> from models.registry import build, configure
        >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8, num_layers=2, num_heads=2))
        >>> model.initialise(seed=0)
        >>> windows = torch.tensor([[0, 0, 3, 1], [5, 6, 7, 8]])
        >>> subject = Subject(model.eval(), "two", windows, np.array([10, 11]), torch.ones(2).bool(), None, 256)
        >>> [(maps.user, maps.items, maps.first, maps.layers[2].shape) for maps in user_maps(subject)][1]
        (10, ['item 3', 'item 1'], 2, torch.Size([2, 2, 2]))
    """
    subject.check_attention()
    windows = subject.windows[: subject.max_users]
    lengths = real_items(windows)
    rows = [row for row in lengths.argsort(descending=True, stable=True)[:users].tolist() if lengths[row]]
    if not rows:
        raise DataError(f"{subject.dataset}: no user has an item")
    found = list(_up_to(weights, _maps(subject, rows)))
    if not found:
        raise DataError(
            f"{subject.model.name}: the attention maps of one user have more than {weights:,} weights, too many to show"
        )
    return found


def _up_to(weights: int, maps: Iterator[UserMaps]) -> Iterator[UserMaps]:
    """Yield maps as long as they have no more weights than this, all together."""
    for of_user in maps:
        weights -= of_user.weights
        if weights < 0:
            return
        yield of_user


def _maps(subject: Subject, rows: list[int]) -> Iterator[UserMaps]:
    for row, window in zip(rows, in_batches(subject.windows[rows], batch_size=1), strict=True):
        [captured] = capture(subject.model, [window], hidden=False)
        yield _of_user(subject, int(subject.names[row]), window, captured)


def _of_user(subject: Subject, user: int, window: Tensor, captured: Capture) -> UserMaps:
    model, length = subject.model, captured.mask.shape[1]
    n = length if model.attends_padding else int(captured.mask.sum())
    layers = {layer: a[0].cpu() for layer, a in captured.last(n).attention_layers.items()}
    # Models with a mask token have another item at a position than the window that they are given.
    prepare = getattr(model, "prepare", lambda prepared: prepared)
    items = prepare(model.window(window.long().to(model.device)))[0, length - n :].tolist()
    return UserMaps(user, [_in_words(item, model) for item in items], length - n, layers)


def _in_words(item: int, model: Any) -> str:
    if item == 0:
        return "padding"
    if getattr(model, "tokens", False):  # of a tokenizer; windows hold their ids + 1, so that 0 is padding
        return f"token {item - 1}"
    return "mask token" if item > model.config.num_items else f"item {item}"
