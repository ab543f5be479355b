"""The model that is checked, and the windows that it is checked on."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.errors import ConfigError
from models.precision import precise

WINDOWS = 16  # full windows, drawn if there are not so many
HISTORIES = 64  # users for what is asked about their scores
# A change below this share of the largest one is rounding.
TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-4}


@dataclass(frozen=True, eq=False)
class Examined:
    """A model with `trace(windows)` and, if it can, scores `model(windows)`; see `models.recommender.Recommender`.

    Attributes:
        given: The model as it is.
        model: The same in float64 (`models.precision`).
        tolerance: Relative changes below this are rounding.
        windows: (W, N) windows without padding, of users as far as there are any, else of items drawn at random.
        histories: (P, N) windows of users, padded on the left; None if no users are known.
        frequency: (I + 1,) how often each item occurs; None if it is not known.
    """

    given: Any
    model: Any
    tolerance: float
    windows: Tensor
    histories: Tensor | None
    frequency: Tensor | None

    @classmethod
    def of(
        cls,
        model: Any,
        histories: Tensor | None = None,
        frequency: Tensor | None = None,
        full: Tensor | None = None,
        seed: int = 0,
    ) -> "Examined":
        """Make the copy, and draw the windows that are missing; the arguments are those of `integrity`."""
        known = [windows.long().cpu() for windows in (histories, full) if windows is not None]
        windows = _full_windows(model, torch.cat(known) if known else None, torch.Generator().manual_seed(seed))
        windows = windows.to(_device(model))
        copied, dtype = precise(model, lambda candidate: outputs_of(candidate, windows[:1].to(_device(candidate))))
        device = _device(copied)
        users = None if histories is None else histories[:HISTORIES].long().to(device)
        return cls(model, copied, TOLERANCE[dtype], windows.to(device), users, frequency)

    @property
    def padded(self) -> Tensor:
        """(W, N) the windows with padding instead of their first half."""
        padded = self.windows.clone()
        padded[:, : padded.shape[1] // 2] = 0
        return padded

    def states(self, windows: Tensor) -> list[Tensor]:
        """Return the hidden states of all layers, L + 1 of (B, N, D). Raises ConfigError if the model gives none."""
        with torch.no_grad():
            return list(self.model.trace(windows).hidden)

    def outputs(self, windows: Tensor) -> list[Tensor]:
        """Return what the model gives of its last states (B, N, D) and its scores (B, I + 1)."""
        with torch.no_grad():
            return outputs_of(self.model, windows)

    def ranking(self, windows: Tensor) -> Tensor:
        """Return the scores of all items (B, I + 1); of a model without scores its last state (B, D)."""
        last = self.outputs(windows)[-1]
        return last if last.ndim == 2 else last[:, -1]

    def scores(self, windows: Tensor) -> Tensor:
        """Return the scores (B, I + 1). Raises ConfigError if the model has none."""
        with torch.no_grad():
            return self.model(windows)

    def other_items(self, windows: Tensor) -> Tensor:
        """Return for each place of windows (...) another item than the one there, as far as there are two."""
        items = self.windows.unique()
        return items[(torch.searchsorted(items, windows) + 1) % len(items)]


def outputs_of(model: Any, windows: Tensor) -> list[Tensor]:
    """Return what a model gives of its last states (B, N, D) and its scores (B, I + 1), in this order.

    Raises ConfigError if it gives neither.
    """
    found, missing = [], []
    for output in (lambda: model.trace(windows).hidden[-1], lambda: model(windows)):
        try:
            found.append(output())
        except ConfigError as error:
            missing.append(str(error))
    if not found:
        raise ConfigError("; ".join(missing))
    return found


def _device(model: Any) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _full_windows(model: Any, known: Tensor | None, generator: torch.Generator) -> Tensor:
    """Return WINDOWS windows (W, N) without padding; what is missing is drawn from the items that are known."""
    if known is None:
        full, items = torch.zeros(0, model.config.max_len).long(), torch.arange(1, model.config.num_items + 1)
    else:
        full, items = known[(known > 0).all(1)].unique(dim=0)[:WINDOWS], known[known > 0].unique()
    drawn = torch.randint(len(items), (WINDOWS - len(full), full.shape[1]), generator=generator)
    return torch.cat([full, items[drawn]])


def relative_change(before: Tensor, after: Tensor) -> Tensor:
    """Return the largest change of each row, (B,), of (B, ...), divided by the largest absolute number of all.

    >>> relative_change(torch.tensor([[1.0, 2.0], [4.0, 0.0]]), torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
    tensor([0.0000, 0.2500])
    """
    scale = before.abs().max().clamp(min=torch.finfo(before.dtype).tiny)
    return (after - before).abs().flatten(1).amax(1) / scale
