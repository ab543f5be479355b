"""How many directions users occupy: singular values of the n x D matrix of their representations.

Its names come from `measure`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.singular_values.measure import *

__getattr__, __dir__ = lazily_from("spectral.singular_values.measure")
