"""The filters that models learn in the frequency domain, one number per frequency and dimension of each layer.

Its names come from `measure`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.learned_filters.measure import *

__getattr__, __dir__ = lazily_from("spectral.learned_filters.measure")
