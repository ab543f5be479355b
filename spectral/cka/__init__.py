"""How alike the representations of users are in two layers, of one model or of two: linear CKA.

Its names come from `measure`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.cka.measure import *

__getattr__, __dir__ = lazily_from("spectral.cka.measure")
