"""What a whole layer does to each frequency of its input: attention, values, residuals, norms and feed-forward.

Its names come from `measure`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.block_response.measure import *

__getattr__, __dir__ = lazily_from("spectral.block_response.measure")
