"""How much of a block's output is its residual, and how much was added by attention and feed-forward network.

Its names come from `measure`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.mixing_ratio.measure import *

__getattr__, __dir__ = lazily_from("spectral.mixing_ratio.measure")
