"""What attention does to each frequency of a sequence: gain, cutoff, and how much passes above c modes.

Its names come from `measure`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.filter_response.measure import *

__getattr__, __dir__ = lazily_from("spectral.filter_response.measure")
