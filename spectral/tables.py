"""One table from the tables of several models."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame


def stacked(tables: "Mapping[str, DataFrame]", name: str = "model") -> "DataFrame":
    """Return the tables one below the other, with their keys in a first column called `name`.

    Raises ValueError if there are no tables.

    Example:
        >>> import pandas as pd
        >>> print(stacked({"a": pd.DataFrame({"x": [1, 2]}), "b": pd.DataFrame({"x": [3]})}).to_string(index=False))
        model  x
            a  1
            a  2
            b  3
    """
    import pandas as pd

    return pd.concat(tables, names=[name]).reset_index(name).reset_index(drop=True)
