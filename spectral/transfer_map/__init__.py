"""Where the energy of each frequency leaves attention: at the frequency at which it entered, or at another one.

Its names come from `measure`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.transfer_map.measure import *

__getattr__, __dir__ = lazily_from("spectral.transfer_map.measure")
