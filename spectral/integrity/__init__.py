"""Does a model do what its architecture promises? The checks of `models.integrity`, for a checkpoint with its users.

Its names come from `measure`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.integrity.measure import *

__getattr__, __dir__ = lazily_from("spectral.integrity.measure")
