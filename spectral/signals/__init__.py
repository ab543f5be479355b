"""Histories of single users as signals: low and high frequencies of their items' embeddings.

Its names come from `measure`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.signals.measure import *

__getattr__, __dir__ = lazily_from("spectral.signals.measure")
