"""How far the hidden states of a sequence are from rank one: ||X - 1 x^T|| / ||X||, layer by layer and part by part.

Its names come from `measure`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.rank_one.measure import *

__getattr__, __dir__ = lazily_from("spectral.rank_one.measure")
