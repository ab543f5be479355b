"""Differences of spectral measures between systems, over users and seeds, from the spectral summaries of their runs.

Its names come from `comparison`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.compare.comparison import *

__getattr__, __dir__ = lazily_from("spectral.compare.comparison")
