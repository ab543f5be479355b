"""Theorem 1 in numbers: A^t x loses its high frequencies; at what rate, and when it does not.

Its names come from `measure`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.theorem1.measure import *

__getattr__, __dir__ = lazily_from("spectral.theorem1.measure")
