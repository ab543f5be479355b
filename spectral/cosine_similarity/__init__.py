"""Oversmoothing as similarity: how similar users become, and how similar the positions of one sequence become.

Its names come from `measure`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.cosine_similarity.measure import *

__getattr__, __dir__ = lazily_from("spectral.cosine_similarity.measure")
