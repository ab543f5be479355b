"""How low- or high-frequency the history of each user is, and how well models rank for users of each kind.

Its names come from `measure`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.user_frequency.measure import *

__getattr__, __dir__ = lazily_from("spectral.user_frequency.measure")
