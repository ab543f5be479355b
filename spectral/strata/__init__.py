"""Every similarity by groups of users: those with short and long histories, or with popular and unpopular items.

Its names come from `measure`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.strata.measure import *

__getattr__, __dir__ = lazily_from("spectral.strata.measure")
