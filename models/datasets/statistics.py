"""The numbers that describe datasets."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from models.datasets.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = [
    *("name", "users", "items", "interactions", "average_length", "median_length"),
    *("density", "training_samples", "full_windows", "padding"),
]


def describe_sequences(sequences: Sequences, max_len: int) -> dict[str, Any]:
    """Return the numbers that describe a dataset, by the keys of the JSON output.

    `density` is interactions per cell of the user-item matrix, `training_samples` the number of prefixes at window
    length N = `max_len`, `full_windows` the share of users, in [0, 1], whose test input has N real items, and `padding`
    the share of positions of all test inputs that hold none.

    >>> from models.datasets import load
    >>> row = describe_sequences(load("synthetic:users=20,items=30"), max_len=10)
    >>> row["users"], row["items"], row["density"] == row["interactions"] / (20 * 30)
    (20, 30, True)
    """
    lengths = sequences.lengths
    real = np.minimum(lengths - 1, max_len)
    return {
        "name": sequences.name,
        "users": sequences.num_users,
        "items": sequences.num_items,
        "interactions": sequences.num_interactions,
        "skipped_users": sequences.skipped,
        "length": {
            "min": int(lengths.min()),
            "mean": float(lengths.mean()),
            "median": float(np.median(lengths)),
            "max": int(lengths.max()),
        },
        "density": sequences.density,
        "max_len": max_len,
        "training_samples": int(np.minimum(lengths - 2, max_len).sum()),
        "full_windows": float((real == max_len).mean()),
        "padding": float(1 - real.mean() / max_len),
        "fingerprint": sequences.fingerprint,
    }


def statistics_table(datasets: Iterable[Sequences], max_len: int = 50) -> "pd.DataFrame":
    """Return a table with one row per dataset, as papers print it.

    Columns: name, users, items, interactions, average_length, median_length, density (in [0, 1]), training_samples
    (prefixes at window length N = `max_len`), full_windows (share of users with at least N items before the last),
    padding (share of the positions of test inputs without an item).
    """
    import pandas as pd  # slow to import, and not needed to describe a single one

    rows = []
    for sequences in datasets:
        row = describe_sequences(sequences, max_len)
        row |= {"average_length": row["length"]["mean"], "median_length": row["length"]["median"]}
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def statistics_rows(table: "pd.DataFrame") -> list[list[str]]:
    """Return the rows of a `statistics_table` as text, with 4 significant digits.

    >>> import pandas as pd
    >>> statistics_rows(pd.DataFrame({"name": ["example"], "items": [12101], "density": [0.00073123]}))
    [['example', '12,101', '0.0007312']]
    """
    return [
        [
            f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
            for value in row
        ]
        for row in table.astype(object).to_numpy().tolist()
    ]
