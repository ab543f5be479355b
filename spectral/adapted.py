"""Models that an adapter loads, with the interface of ours: their layers are captured as `spectral.capture` does."""

import logging
from typing import Any

from torch import Tensor

from models.adapter import Adapted, ForeignModel
from models.errors import ConfigError
from models.recommender import Trace
from spectral.sources import called, hooked

logger = logging.getLogger("spectral")


class CapturedModel(ForeignModel):
    """A ForeignModel whose hidden states and attention come from its `trace`, its output, or hooks.

    Example:
        >>> import torch
        >>> network = torch.nn.Sequential(torch.nn.Embedding(20, 8), torch.nn.Linear(8, 8))
        >>> model = CapturedModel(Adapted(network, [[0, 0, 3, 1]], hidden=["0", "1"], attention=[]), "mine.py:load")
        >>> [tuple(x.shape) for x in model.trace(model.probe.input_ids).hidden]
        [(1, 4, 8), (1, 4, 8)]
    """

    def __init__(self, adapted: Adapted, source: str) -> None:
        super().__init__(adapted, source)
        self.without_attention = False  # whether the model was asked for attention, and has none

    def trace(self, input_ids: Tensor, causal: bool = True) -> Trace:
        """See Recommender. Raises ConfigError if the model gives neither states nor attention."""
        given = self.adapted
        named = not (isinstance(given.hidden, bool) and isinstance(given.attention, bool))
        if hasattr(self.inner, "trace") and given.call is None and not named:
            return super().trace(input_ids, causal)
        if not causal:
            raise ConfigError(f"{self.title} cannot be asked to drop its causal mask")
        mask = given.mask or (None if self.tokens else _items)
        batch = self.inputs(input_ids)
        if named:
            hidden, attention = (() if isinstance(names, bool) else names for names in (given.hidden, given.attention))
            return hooked(self.inner, batch, hidden, attention, given.call, mask)
        return self._called(batch, mask)

    def _called(self, batch: Any, mask: Any) -> Trace:
        """Return what the output of the model has; without attention if it does not give any."""
        call = self.adapted.call
        if not self.without_attention and self.adapted.attention:
            try:
                return called(self.inner, batch, True, call, mask)
            except ConfigError as error:
                found = called(self.inner, batch, False, call, mask)
                logger.warning("note: %s", error)
                self.without_attention = True
                return found
        return called(self.inner, batch, False, call, mask)


def _items(windows: Tensor) -> Tensor:
    return windows != 0
