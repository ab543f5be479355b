"""How much of the recommendations is explained by the last item alone: the top k of a whole and of a one-item history.

Its names come from `measure`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.last_item.measure import *

__getattr__, __dir__ = lazily_from("spectral.last_item.measure")
