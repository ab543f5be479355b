"""The claims ledger: which claims of the paper hold on the runs that are there, with evidence and a computed verdict.

Its names come from `verdicts`, which is imported when one of them is used; `__main__` is the command.
"""

from typing import TYPE_CHECKING

from spectral.lazy import lazily_from

if TYPE_CHECKING:
    from spectral.claims.verdicts import *

__getattr__, __dir__ = lazily_from("spectral.claims.verdicts")
