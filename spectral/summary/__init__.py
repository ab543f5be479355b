"""What a finished run does to its users' histories, in one small file. Its curves are drawn without the checkpoint.

Its names come from `measure`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.summary.measure import *

__getattr__, __dir__ = lazily_from("spectral.summary.measure")
