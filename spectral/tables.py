"""Tables of several models as one."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame


def stacked(tables: "Mapping[str, DataFrame]", name: str = "model") -> "DataFrame":
    """Return tables one below the other, with their keys in a first column, called `name`.

    Raises ValueError if there are no tables.
    """
    import pandas as pd

    return pd.concat(tables, names=[name]).reset_index(name).reset_index(drop=True)
