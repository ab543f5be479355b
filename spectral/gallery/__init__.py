"""The gallery: a note for every figure and table on what it shows and what it was made from, and pages of all of them.

Its names come from `folder`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.gallery.folder import *

__getattr__, __dir__ = lazily_from("spectral.gallery.folder")
