"""How models change while they are trained: the files that `spectral.watch` writes, over epochs, runs and seeds.

Its names come from `measure`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.dynamics.measure import *

__getattr__, __dir__ = lazily_from("spectral.dynamics.measure")
