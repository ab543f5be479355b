"""Statistics of the attention maps of trained layers, head by head, in addition to their frequency response.

Its names come from `measure`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.attention_statistics.measure import *

__getattr__, __dir__ = lazily_from("spectral.attention_statistics.measure")
