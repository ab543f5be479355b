"""How smooth the hidden states of a sequence are along its positions, layer by layer.

Its names come from `measure`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.smoothing.measure import *

__getattr__, __dir__ = lazily_from("spectral.smoothing.measure")
