"""All measures of one or several checkpoints, side by side on one page.

Its names come from `contents`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.report.contents import *

__getattr__, __dir__ = lazily_from("spectral.report.contents")
